//! `kctl explain`: what a field is, from the server's OpenAPI v3.

use clap::Args;
use serde_json::Value;

use crate::api::Api;
use crate::api::discovery::Resource;
use crate::error::{Result, said};
use crate::flags::Global;
use crate::object::{items, text};
use crate::{outln, term};

const WIDTH: usize = 80;
/// References are followed so deep with --recursive.
const DEPTH_MAX: usize = 12;

/// Get documentation for a kind or a field
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// TYPE or TYPE.FIELD.FIELD, such as pods.spec.containers
    #[arg(value_name = "TYPE[.FIELD]")]
    path: String,
    /// All fields below, without their descriptions
    #[arg(long)]
    recursive: bool,
    /// Of this version, such as apps/v1
    #[arg(long, value_name = "GROUP/VERSION")]
    api_version: Option<String>,
}

/// Runs it.
pub async fn run(args: &ExplainArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let (resource, fields) = locate(&api, args).await?;
    let document = document(&api, &resource).await?;
    let schemas = &document["components"]["schemas"];
    let is_meant = |schema: &Value| {
        items(&schema["x-kubernetes-group-version-kind"]).iter().any(|gvk| {
            text(&gvk["kind"]) == resource.kind
                && text(&gvk["group"]) == resource.group
                && text(&gvk["version"]) == resource.version
        })
    };
    let root = schemas.as_object().and_then(|all| all.values().find(|schema| is_meant(schema)));
    let root =
        root.ok_or_else(|| said(format!("couldn't find resource for {:?}", resource.qualified())))?;
    let explainer = Explainer { schemas };
    let mut schema = root;
    let mut described = root;
    for field in &fields {
        let inner = explainer.inner(schema);
        let property = inner["properties"]
            .get(field)
            .ok_or_else(|| said(format!("field {field:?} does not exist")))?;
        described = property;
        schema = property;
    }
    if !resource.group.is_empty() {
        outln!("GROUP:      {}", resource.group);
    }
    outln!("KIND:       {}\nVERSION:    {}\n", resource.kind, resource.version);
    if let Some(last) = fields.last() {
        outln!("FIELD: {last} <{}>\n", explainer.type_name(described));
    }
    let own = text(&described["description"]);
    let inner = explainer.inner(schema);
    outln!("DESCRIPTION:");
    // What the field is for, then what its type is.
    let general = text(&inner["description"]);
    let mut parts: Vec<&str> = [own, general].into_iter().filter(|part| !part.is_empty()).collect();
    parts.dedup();
    term::out(&if parts.is_empty() {
        wrapped("<empty>", 4)
    } else {
        wrapped(&parts.join("\n\n"), 4)
    });
    if inner["properties"].is_object() {
        outln!("\nFIELDS:");
        term::out(&explainer.fields(inner, 2, args.recursive, 0));
    }
    outln!();
    Ok(())
}

async fn locate(api: &Api, args: &ExplainArgs) -> Result<(Resource, Vec<String>)> {
    let known = api.discovery().await?;
    let parts: Vec<&str> = args.path.trim_end_matches('.').split('.').collect();
    // `deployments.apps.spec` and `deployments.spec` both are written: the longest name that is a kind.
    for count in (1..=parts.len()).rev() {
        let Ok(found) = known.find(&parts[..count].join(".")) else { continue };
        let is_group_said = count == 1 || found.qualified() == parts[..count].join(".");
        if !is_group_said {
            continue;
        }
        let mut resource = found.clone();
        if let Some(wanted) = &args.api_version {
            let other = known
                .resources
                .iter()
                .find(|one| one.plural == resource.plural && one.api_version() == *wanted);
            resource = other
                .ok_or_else(|| {
                    said(format!("couldn't find resource for {wanted}, {}", resource.kind))
                })?
                .clone();
        }
        return Ok((resource, parts[count..].iter().map(|&part| part.to_owned()).collect()));
    }
    Err(known.find(parts[0]).err().unwrap_or_else(|| said("the server doesn't have such a kind")))
}

async fn document(api: &Api, resource: &Resource) -> Result<Value> {
    let index = api.get("/openapi/v3").await?;
    let key = match resource.group.as_str() {
        "" => format!("api/{}", resource.version),
        group => format!("apis/{group}/{}", resource.version),
    };
    let path = index["paths"][&key]["serverRelativeURL"].as_str().map(str::to_owned);
    api.get(&path.unwrap_or_else(|| format!("/openapi/v3/{key}"))).await
}

struct Explainer<'a> {
    schemas: &'a Value,
}

impl Explainer<'_> {
    /// What a schema refers to, directly or as `allOf` with a default beside it.
    fn resolve<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
        match reference {
            Some(reference) => {
                let name = reference.rsplit('/').next().unwrap_or_default();
                &self.schemas[name]
            }
            None => schema,
        }
    }

    /// The object that a field's value, or each of its elements, is.
    fn inner<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let schema = self.resolve(schema);
        match text(&schema["type"]) {
            "array" => self.inner(&schema["items"]),
            "object" if schema["additionalProperties"].is_object() => {
                self.inner(&schema["additionalProperties"])
            }
            _ => schema,
        }
    }

    fn type_name(&self, schema: &Value) -> String {
        let target = self.resolve(schema);
        if !std::ptr::eq(target, schema) && target["properties"].is_object() {
            let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
            let name = reference.and_then(|reference| reference.rsplit('.').next());
            return name.unwrap_or("Object").to_owned();
        }
        match text(&target["type"]) {
            "array" => format!("[]{}", self.type_name(&target["items"])),
            "object" if target["additionalProperties"].is_object() => {
                format!("map[string]{}", self.type_name(&target["additionalProperties"]))
            }
            "" => "Object".into(),
            "object" => "Object".into(),
            name => name.to_owned(),
        }
    }

    fn fields(&self, schema: &Value, indent: usize, recursive: bool, depth: usize) -> String {
        let required: Vec<_> = items(&schema["required"]).iter().map(text).collect();
        let mut out = String::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let mark = if required.contains(&name.as_str()) { " -required-" } else { "" };
            out.push_str(&format!("{:indent$}{name}\t<{}>{mark}\n", "", self.type_name(property)));
            if recursive {
                let inner = self.inner(property);
                if inner["properties"].is_object() && depth < DEPTH_MAX {
                    out.push_str(&self.fields(inner, indent + 2, true, depth + 1));
                }
                continue;
            }
            let own = text(&property["description"]);
            let description =
                if own.is_empty() { text(&self.inner(property)["description"]) } else { own };
            out.push_str(&wrapped(
                if description.is_empty() { "<no description>" } else { description },
                indent + 2,
            ));
            out.push('\n');
        }
        out
    }
}

/// Words in lines, indented.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    for paragraph in text.split("\n\n") {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > WIDTH
            {
                out.push_str(&format!("{:indent$}{line}\n", ""));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        if !line.is_empty() {
            out.push_str(&format!("{:indent$}{line}\n", ""));
        }
    }
    term::safe(&out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_follow_references() {
        let schemas = json!({
            "io.k8s.api.core.v1.PodSpec": {"type": "object", "required": ["containers"], "properties": {
                "containers": {"type": "array", "items": {"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}, "description": "They run."},
                "nodeSelector": {"type": "object", "additionalProperties": {"type": "string"}}}},
            "io.k8s.api.core.v1.Container": {"type": "object", "properties": {"name": {"type": "string"}}},
        });
        let explainer = Explainer { schemas: &schemas };
        let spec = json!({"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}]});
        assert_eq!(explainer.type_name(&spec), "PodSpec");
        let inner = explainer.inner(&spec);
        assert_eq!(
            explainer.fields(inner, 2, false, 0),
            "  containers\t<[]Container> -required-\n    They run.\n\n  nodeSelector\t<map[string]string>\n    <no description>\n\n"
        );
        assert_eq!(
            explainer.fields(inner, 2, true, 0),
            "  containers\t<[]Container> -required-\n    name\t<string>\n  nodeSelector\t<map[string]string>\n"
        );
    }
}
