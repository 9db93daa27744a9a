//! What commands do with an object: place it, create it, change it, say what came of it.

use serde_json::{Map, Value, json};

use crate::api::discovery::Resource;
use crate::api::find::Found;
use crate::api::{Api, with_query};
use crate::error::{Result, said};
use crate::flags::{Change, Global};
use crate::manifest::Manifest;
use crate::patch::{self, Style};
use crate::print::{Format, without_managed_fields};
use crate::{outln, term};

/// An object from a file with the kind and the namespace that it belongs to.
#[derive(Clone, Debug)]
pub struct Placed {
    pub resource: Resource,
    pub namespace: String,
    pub name: String,
    pub object: Value,
    pub source: String,
}

impl Placed {
    /// The object's own path.
    pub fn path(&self) -> String {
        self.resource.object(&self.namespace, &self.name)
    }
}

/// Finds an object's kind, and puts it into the namespace of the flags unless it names its own.
pub async fn place(api: &Api, flags: &Global, manifest: Manifest) -> Result<Placed> {
    let Manifest { source, mut object } = manifest;
    let known = api.discovery().await?;
    let resource = known.of_object(&object).map_err(|error| {
        said(format!(
            "resource mapping not found for name: {:?} namespace: {:?} from {source:?}: {}",
            text(&object["metadata"]["name"]),
            text(&object["metadata"]["namespace"]),
            error.to_string().trim_start_matches("error: ")
        ))
    })?;
    let resource = resource.clone();
    let mut namespace = text(&object["metadata"]["namespace"]).to_owned();
    if resource.is_namespaced {
        if namespace.is_empty() {
            namespace.clone_from(&api.namespace);
            object["metadata"]["namespace"] = namespace.clone().into();
        } else if flags.namespace.is_some() && namespace != api.namespace {
            return Err(said(format!(
                "the namespace from the provided object {namespace:?} does not match the namespace {:?}. You must pass '--namespace={namespace}' to perform this operation.",
                api.namespace
            )));
        }
    }
    let name = text(&object["metadata"]["name"]).to_owned();
    Ok(Placed { resource, namespace, name, object, source })
}

/// POSTs an object, unless only its client side was asked for, and says so.
pub async fn create(api: &Api, change: &Change, placed: &Placed) -> Result {
    let object = if change.is_client_dry_run()? {
        placed.object.clone()
    } else {
        let path = placed.resource.collection(Some(&placed.namespace));
        api.post(&with_query(&path, &change.query()), &placed.object).await?
    };
    report(change, &placed.resource, &object, "created")
}

/// Creates an object that a command made up itself.
pub async fn create_made(api: &Api, flags: &Global, change: &Change, object: Value) -> Result {
    let manifest = Manifest { source: "arguments".into(), object };
    let mut placed = place(api, flags, manifest).await?;
    if change.is_client_dry_run()? && flags.namespace.is_none() {
        // What is printed can then be applied anywhere.
        if let Some(metadata) = placed.object["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
    }
    create(api, change, &placed).await.map_err(|error| match error {
        crate::error::Error::Server { status, doing: None } if status.reason == "AlreadyExists" => {
            let text = format!(
                "failed to create {}: {}",
                placed.resource.singular_qualified(),
                status.message
            );
            said(text)
        }
        other => other,
    })
}

/// Sends what turns a found object into `modified`. Gives the object as it is then; `None` if there was
/// nothing to change.
pub async fn change_to(
    api: &Api,
    change: &Change,
    found: &Found,
    modified: &Value,
) -> Result<Option<Value>> {
    let style = Style::of_group(&found.resource.group);
    let patch = patch::two_way(&found.object, modified, style);
    if patch::is_empty(&patch) {
        return Ok(None);
    }
    if change.is_client_dry_run()? {
        return Ok(Some(modified.clone()));
    }
    let path = with_query(&found.path(), &change.query());
    api.patch(&path, style.content_type(), &patch).await.map(Some)
}

/// Says what became of an object: `deployment.apps/web scaled`, or the object in the asked-for format.
pub fn report(change: &Change, resource: &Resource, object: &Value, verb: &str) -> Result {
    if change.output.is_none() {
        let name = text(&object["metadata"]["name"]);
        outln!("{} {verb}{}", resource.named(name), change.suffix());
        return Ok(());
    }
    let format = Format::parse(change.output.as_deref())?;
    let mut object = object.clone();
    without_managed_fields(&mut object);
    let text = match format {
        Format::Table(_) => {
            return Err(said("-o wide is for `kctl get`; use yaml, json, name or jsonpath here"));
        }
        format => format.show(&object, resource),
    };
    term::out(&text);
    Ok(())
}

/// The pod specification inside a workload, by the path to it.
pub fn pod_spec_path(kind: &str) -> Result<&'static [&'static str]> {
    match kind {
        "Pod" => Ok(&["spec"]),
        "PodTemplate" => Ok(&["template", "spec"]),
        "Deployment"
        | "ReplicaSet"
        | "StatefulSet"
        | "DaemonSet"
        | "ReplicationController"
        | "Job" => Ok(&["spec", "template", "spec"]),
        "CronJob" => Ok(&["spec", "jobTemplate", "spec", "template", "spec"]),
        other => Err(said(format!("a {other} has no pod template"))),
    }
}

/// The value at a path, made if it is not there.
pub fn at_mut<'v>(object: &'v mut Value, path: &[&str]) -> &'v mut Value {
    path.iter().fold(object, |value, step| {
        if !value.is_object() {
            *value = Value::Object(Map::new());
        }
        &mut value[*step]
    })
}

/// The value at a path, or null.
pub fn at<'v>(object: &'v Value, path: &[&str]) -> &'v Value {
    path.iter().fold(object, |value, step| &value[*step])
}

/// A string, or nothing.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The elements of a list; of anything else, none.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// `key=value` pairs, as an object.
pub fn pairs(words: &[String], what: &str) -> Result<Map<String, Value>> {
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), json!(value))),
        _ => Err(said(format!("{what} {word:?} must have the form KEY=VALUE"))),
    };
    words.iter().map(pair).collect()
}

/// The label selector of a workload, as a query; empty if it selects nothing by labels.
pub fn selector_query(selector: &Value) -> String {
    let is_label_selector =
        selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    let labels = if is_label_selector { &selector["matchLabels"] } else { selector };
    let mut parts: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    for rule in items(&selector["matchExpressions"]) {
        let key = text(&rule["key"]);
        let values: Vec<_> = items(&rule["values"]).iter().map(text).collect();
        let values = values.join(",");
        match text(&rule["operator"]) {
            "In" => parts.push(format!("{key} in ({values})")),
            "NotIn" => parts.push(format!("{key} notin ({values})")),
            "Exists" => parts.push(key.to_owned()),
            "DoesNotExist" => parts.push(format!("!{key}")),
            _ => {}
        }
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_become_queries() {
        #[rustfmt::skip]
        let cases = [
            (json!({"app": "web"}),                                                        "app=web"),
            (json!({"matchLabels": {"a": "b", "c": "d"}}),                                 "a=b,c=d"),
            (json!({"matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}]}), "k in (x,y)"),
            (json!({"matchExpressions": [{"key": "k", "operator": "DoesNotExist"}]}),      "!k"),
            (json!({}),                                                                    ""),
        ];
        for (selector, query) in cases {
            assert_eq!(selector_query(&selector), query);
        }
    }

    #[test]
    fn pairs_need_a_key() {
        assert_eq!(pairs(&["a=b=c".into()], "label").unwrap()["a"], "b=c");
        assert!(pairs(&["=b".into()], "label").is_err());
    }
}
