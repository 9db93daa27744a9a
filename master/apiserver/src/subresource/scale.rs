//! Scale: the number of replicas of a workload, whatever its kind.

use http::StatusCode;
use master_api::meta;
use master_api::selector::LabelSelector;
use master_api::status::{ApiError, Subject};
use master_registry::schema::Schema;
use serde_json::{Value, json};

use crate::call::{Call, Response};
use crate::rest::change::{Change, Rules, change};
use crate::rest::options::get_freshness;
use crate::rest::patch::Patch;
use crate::rest::update::replacement;
use crate::rest::{Target, answer_value, body, get};
use crate::server::Server;

const SCHEMA: &str = "io.k8s.api.autoscaling.v1.Scale";

/// Answers with the Scale.
pub async fn run(server: &Server, call: &mut Call, target: &Target) -> Result<Response, ApiError> {
    let entry = match &*call.info.verb {
        "get" => {
            get::wait(server, get_freshness(&call.query)?).await?;
            let entry = server.cacher.entry(&target.table, &target.key());
            entry.ok_or_else(|| target.not_found())?
        }
        "update" => {
            let sent = body::other(call, SCHEMA, "autoscaling/v1", "Scale").await?;
            if !meta::name(&sent).is_empty() && meta::name(&sent) != target.name {
                return Err(ApiError::bad_request("the name of the Scale does not match the URL"));
            }
            let produce = |old: &Value| scaled(target, old, &sent);
            let wanted = Change { subresource: "scale", rules: Rules::Whole, produce: &produce };
            change(server, call, target, &wanted).await?
        }
        "patch" => {
            let patch = Patch::read(call).await?;
            let schema = Schema::builtin(SCHEMA);
            let produce = |old: &Value| {
                let sent = patch.apply(&scale_of(old), &schema)?;
                scaled(target, old, &sent)
            };
            let wanted = Change { subresource: "scale", rules: Rules::Whole, produce: &produce };
            change(server, call, target, &wanted).await?
        }
        verb => {
            let subject = Subject::new(&*target.resource.group, &*target.resource.plural);
            return Err(ApiError::MethodNotAllowed { subject, action: verb.to_owned() });
        }
    };
    answer_value(call, StatusCode::OK, &scale_of(entry.value()))
}

/// The workload with the replicas of a Scale.
fn scaled(target: &Target, old: &Value, sent: &Value) -> Result<Value, ApiError> {
    let mut guard = old.clone();
    for field in ["uid", "resourceVersion"] {
        meta::set(&mut guard, field, sent["metadata"][field].clone());
    }
    let mut new = replacement(target, &guard, old)?;
    let replicas = meta::number(sent, &["spec", "replicas"]).unwrap_or(0);
    meta::object_mut(&mut new, &["spec"]).insert("replicas".into(), replicas.into());
    Ok(new)
}

/// A workload as a Scale.
pub fn scale_of(object: &Value) -> Value {
    let selector = &object["spec"]["selector"];
    // A ReplicationController's selector is a plain map.
    let parsed =
        if selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some() {
            LabelSelector::from_json(selector).unwrap_or_default()
        } else {
            LabelSelector::from_map(selector)
        };
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        metadata[field] = object["metadata"][field].clone();
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": { "replicas": meta::number(object, &["spec", "replicas"]).unwrap_or(1) },
        "status": {
            "replicas": meta::number(object, &["status", "replicas"]).unwrap_or(0),
            "selector": parsed.to_string(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workload_reads_as_a_scale() {
        let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 3,
            "selector": {"matchLabels": {"a": "b"}}}, "status": {"replicas": 2}});
        let scale = scale_of(&deployment);
        assert_eq!(scale["spec"]["replicas"], 3);
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "a=b"}));
        let controller = json!({"metadata": {}, "spec": {"selector": {"a": "b"}}});
        assert_eq!(scale_of(&controller)["status"]["selector"], "a=b");
    }
}
