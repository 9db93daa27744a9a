//! How objects are printed: `-o yaml|json|name|jsonpath=…|custom-columns=…|wide`.

pub mod columns;
pub mod human;
pub mod json;
pub mod table;
pub mod tabs;

use master_api::jsonpath::Template;
use master_client::yaml;
use serde_json::{Value, json};

use crate::api::discovery::Resource;
use crate::error::{Result, said};
use columns::Columns;
use tabs::Tabs;

/// What `-o` asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// A table; `true`: with the columns that are hidden otherwise.
    Table(bool),
    Yaml,
    Json,
    Name,
    JsonPath(Template),
    JsonPathAsJson(Template),
    Columns(Columns),
}

impl Format {
    /// Reads the value of `-o`; nothing is a table.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        let text = text.unwrap_or_default();
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        match name {
            "" => Ok(Self::Table(false)),
            "wide" => Ok(Self::Table(true)),
            "yaml" => Ok(Self::Yaml),
            "json" => Ok(Self::Json),
            "name" => Ok(Self::Name),
            "jsonpath" if value.is_empty() => {
                Err(said("template format specified but no template given"))
            }
            "jsonpath" => Template::parse(value).map(Self::JsonPath).map_err(said),
            "jsonpath-file" => {
                Template::parse(read(value)?.trim_end()).map(Self::JsonPath).map_err(said)
            }
            "jsonpath-as-json" => Template::parse(value).map(Self::JsonPathAsJson).map_err(said),
            "custom-columns" => Columns::parse(value).map(Self::Columns),
            "custom-columns-file" => Columns::from_file(&read(value)?).map(Self::Columns),
            _ => Err(said(format!(
                "unable to match a printer suitable for the output format {name:?}, allowed formats are: custom-columns,custom-columns-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,wide,yaml"
            ))),
        }
    }

    /// One object (or list) as text. Tables are the server's business: see [`table`].
    pub fn show(&self, object: &Value, resource: &Resource) -> String {
        match self {
            Self::Table(_) => String::new(),
            Self::Yaml => yaml::to_string(object),
            Self::Json => json::to_string(object),
            Self::JsonPath(template) => template.text(object),
            Self::JsonPathAsJson(template) => {
                let found = template.values(object).into_iter().cloned().collect();
                json::to_string(&Value::Array(found))
            }
            Self::Name => {
                objects(object).iter().map(|one| format!("{}\n", named(one, resource))).collect()
            }
            Self::Columns(columns) => columns.table(&objects(object), true, &mut Tabs::of_tables()),
        }
    }
}

/// The objects in a list, or the object itself.
pub fn objects(object: &Value) -> Vec<Value> {
    match object["items"].as_array() {
        Some(items) if object["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => {
            items.clone()
        }
        _ => vec![object.clone()],
    }
}

/// Several objects as the one list that kubectl prints.
pub fn list_of(items: Vec<Value>) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "" }, "items": items })
}

/// Leaves out who manages which field: nobody reads that unless they ask for it.
pub fn without_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        without_managed_fields(item);
    }
}

/// `pod/x`, `deployment.apps/x`; by the object's own kind where it says one.
fn named(object: &Value, resource: &Resource) -> String {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match (object["kind"].as_str(), object["apiVersion"].as_str()) {
        (Some(kind), Some(api_version)) if kind != resource.kind => {
            let group = api_version.split_once('/').map(|(group, _)| format!(".{group}"));
            format!("{}{}/{name}", kind.to_lowercase(), group.unwrap_or_default())
        }
        _ => resource.named(name),
    }
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| said(format!("{path}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_format_names_the_known_ones() {
        let error = Format::parse(Some("xml")).unwrap_err().to_string();
        assert!(
            error.contains("output format \"xml\", allowed formats are: custom-columns"),
            "{error}"
        );
    }

    #[test]
    fn json_is_sorted_and_four_deep() {
        let text = json::to_string(&json!({"b": [1], "a": {}}));
        assert_eq!(text, "{\n    \"a\": {},\n    \"b\": [\n        1\n    ]\n}\n");
    }
}
