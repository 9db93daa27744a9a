//! Scale: the number of replicas of a workload, whatever its kind.

use http::StatusCode;
use master_api::meta;
use master_api::selector::LabelSelector;
use master_api::status::{ApiError, FieldError};
use master_registry::Resource;
use master_registry::custom::ScalePaths;
use master_registry::schema::Schema;
use serde_json::{Value, json};

use crate::call::{Call, Response};
use crate::rest::change::{Change, Rules, change};
use crate::rest::options::get_freshness;
use crate::rest::ownership::Ownership;
use crate::rest::patch::Patch;
use crate::rest::update::replacement;
use crate::rest::{Target, answer_value, body, get, metadata};
use crate::server::Server;

const SCHEMA: &str = "io.k8s.api.autoscaling.v1.Scale";

/// Answers with the Scale.
pub async fn run(server: &Server, call: &mut Call, target: &Target) -> Result<Response, ApiError> {
    let entry = match &*call.info.verb {
        "get" => {
            get::wait(server, get_freshness(&call.query)?).await?;
            let entry = server.cacher.entry(&target.table, &target.key());
            target.shown(entry.ok_or_else(|| target.not_found())?)
        }
        "update" => {
            let mut sent = body::other(call, SCHEMA, "autoscaling/v1", "Scale").await?;
            metadata::place(&mut sent, target)?;
            let produce = |old: &Value| scaled(target, old, &sent);
            let wanted = whole(Ownership::Changed, &produce);
            change(server, call, target, &wanted).await?
        }
        "patch" => {
            let patch = Patch::read(server, call, target, Rules::Whole).await?;
            let schema = Schema::builtin(SCHEMA);
            let produce = |old: &Value| {
                let scaled = |sent: &Value| scaled(target, old, sent);
                let scale = scale_of(&target.resource, old)?;
                patch.apply_scale(target, &schema, old, &scale, scaled)
            };
            let wanted = whole(patch.ownership(), &produce);
            let entry = change(server, call, target, &wanted).await?;
            call.warnings.extend(patch.take_warnings());
            entry
        }
        _ => return Err(ApiError::NoSuchMethod),
    };
    answer_value(call, StatusCode::OK, &scale_of(&target.resource, entry.value())?)
}

fn whole<'a>(
    ownership: Ownership,
    produce: &'a (dyn Fn(&Value) -> Result<Value, ApiError> + Send + Sync),
) -> Change<'a> {
    Change { subresource: "scale", rules: Rules::Whole, ownership, produce }
}

/// The workload with the replicas of a Scale.
fn scaled(target: &Target, old: &Value, sent: &Value) -> Result<Value, ApiError> {
    let mut guard = old.clone();
    for field in ["uid", "resourceVersion"] {
        // What a Scale does not say is not demanded.
        if let Some(said) = sent["metadata"].get(field).filter(|value| !value.is_null()) {
            meta::set(&mut guard, field, said.clone());
        }
    }
    let mut new = replacement(target, &guard, old)?;
    let replicas = meta::number(sent, &["spec", "replicas"]).unwrap_or(0);
    if replicas < 0 {
        let detail = "must be greater than or equal to 0";
        let error = FieldError::invalid("spec.replicas", replicas, detail);
        return Err(ApiError::invalid("autoscaling", "Scale", &target.name, vec![error]));
    }
    put_replicas(&target.resource, &mut new, replicas.into());
    Ok(new)
}

/// Puts a number of replicas where the kind has it.
pub fn put_replicas(resource: &Resource, object: &mut Value, replicas: Value) {
    let path = match paths(resource) {
        Some(paths) => paths.spec_replicas.iter().map(String::as_str).collect(),
        None => vec!["spec", "replicas"],
    };
    if let Some((field, above)) = path.split_last() {
        meta::object_mut(object, above).insert((*field).to_owned(), replicas);
    }
}

/// Where a kind that a user defined has its numbers.
fn paths(resource: &Resource) -> Option<&ScalePaths> {
    resource.custom.as_ref()?.kind.scale.as_ref()
}

/// An object as a Scale.
fn scale_of(resource: &Resource, object: &Value) -> Result<Value, ApiError> {
    match paths(resource) {
        Some(paths) => custom_scale(paths, object),
        None => Ok(workload_scale(object)),
    }
}

fn custom_scale(paths: &ScalePaths, object: &Value) -> Result<Value, ApiError> {
    let at = |path: &[String]| path.iter().try_fold(object, |value, name| value.get(name));
    let wanted = at(&paths.spec_replicas).and_then(Value::as_i64).ok_or_else(|| {
        let path = paths.spec_replicas.join(".");
        ApiError::internal(format!("the spec replicas field \".{path}\" does not exist"))
    })?;
    let current = at(&paths.status_replicas).and_then(Value::as_i64).unwrap_or(0);
    let selector = paths.selector.as_deref().and_then(at).and_then(Value::as_str);
    let mut status = json!({ "replicas": current });
    if let Some(selector) = selector {
        status["selector"] = selector.into();
    }
    Ok(scale(object, wanted, status))
}

/// A workload as a Scale.
pub fn workload_scale(object: &Value) -> Value {
    let selector = &object["spec"]["selector"];
    // A ReplicationController's selector is a plain map.
    let parsed =
        if selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some() {
            LabelSelector::from_json(selector).unwrap_or_default()
        } else {
            LabelSelector::from_map(selector)
        };
    let wanted = meta::number(object, &["spec", "replicas"]).unwrap_or(1);
    let status = json!({
        "replicas": meta::number(object, &["status", "replicas"]).unwrap_or(0),
        "selector": parsed.to_string(),
    });
    scale(object, wanted, status)
}

fn scale(object: &Value, replicas: i64, status: Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    // Of no replicas upstream's type says nothing.
    let spec = if replicas == 0 { json!({}) } else { json!({ "replicas": replicas }) };
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": spec, "status": status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workload_reads_as_a_scale() {
        let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 3,
            "selector": {"matchLabels": {"a": "b"}}}, "status": {"replicas": 2}});
        let scale = workload_scale(&deployment);
        assert_eq!(scale["spec"]["replicas"], 3);
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "a=b"}));
        let controller = json!({"metadata": {}, "spec": {"selector": {"a": "b"}}});
        assert_eq!(workload_scale(&controller)["status"]["selector"], "a=b");
    }
}
