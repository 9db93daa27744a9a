//! Binding: a pod is given to a node, once.

use http::StatusCode;
use master_api::status::{self, ApiError, FieldError, aggregate};
use master_api::{meta, time};
use serde_json::{Value, json};

use crate::call::{Call, Response};
use crate::rest::change::{Change, Rules, change};
use crate::rest::ownership::Ownership;
use crate::rest::{Target, admit_below, answer_value, body};
use crate::server::Server;

/// Answers with a Status.
pub async fn run(server: &Server, call: &mut Call, target: &Target) -> Result<Response, ApiError> {
    let binding = body::other(call, "io.k8s.api.core.v1.Binding", "v1", "Binding").await?;
    bind(server, call, target, &binding).await?;
    answer_value(call, StatusCode::CREATED, &status::done(StatusCode::CREATED.as_u16()))
}

/// Binds the pod of `target` as a Binding says.
pub async fn bind(
    server: &Server,
    call: &mut Call,
    target: &Target,
    binding: &Value,
) -> Result<(), ApiError> {
    let node = meta::text(binding, &["target", "name"]);
    let kind = meta::text(binding, &["target", "kind"]);
    if meta::name(binding) != target.name {
        let message = "name in URL does not match name in Binding object";
        return Err(ApiError::BadRequest(message.into()));
    }
    let mut errors = Vec::new();
    if !kind.is_empty() && kind != "Node" {
        errors.push(FieldError::not_supported("target.kind", kind, &["Node", "<empty>"]));
    }
    if node.is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    if !errors.is_empty() {
        // Upstream has no reason for it.
        return Err(ApiError::Untyped(aggregate(&errors)));
    }
    admit_below(server, call, target, "binding", binding).await?;
    let now = server.now();
    let produce = |old: &Value| bound(target, old, binding, node, now);
    let wanted = Change {
        subresource: "binding",
        rules: Rules::Metadata,
        ownership: Ownership::Kept,
        produce: &produce,
    };
    change(server, call, target, &wanted).await.map(drop)
}

fn bound(
    target: &Target,
    old: &Value,
    binding: &Value,
    node: &str,
    now: jiff::Timestamp,
) -> Result<Value, ApiError> {
    let wanted_uid = meta::uid(binding);
    if !wanted_uid.is_empty() && wanted_uid != meta::uid(old) {
        return Err(target.conflict(format!(
            "Precondition failed: UID in precondition: {wanted_uid}, UID in object meta: {}",
            meta::uid(old)
        )));
    }
    let wanted_version = meta::resource_version(binding);
    if !wanted_version.is_empty() && wanted_version != meta::resource_version(old) {
        return Err(target.modified());
    }
    let name = &target.name;
    let refused = |why: String| Err(ApiError::conflict("", "pods/binding", name, why));
    if meta::is_terminating(old) {
        return refused(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let assigned = meta::text(old, &["spec", "nodeName"]);
    if !assigned.is_empty() {
        return refused(format!("pod {name} is already assigned to node {assigned:?}"));
    }
    if !meta::items(old, &["spec", "schedulingGates"]).is_empty() {
        return refused(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut new = old.clone();
    meta::object_mut(&mut new, &["spec"]).insert("nodeName".into(), node.into());
    for (field, given) in
        [("annotations", meta::annotations(binding)), ("labels", meta::labels(binding))]
    {
        for (key, value) in given {
            meta::object_mut(&mut new, &["metadata", field]).insert(key, value.into());
        }
    }
    let status = meta::object_mut(&mut new, &["status"]);
    // A wish of the scheduler's, which is fulfilled or past.
    status.remove("nominatedNodeName");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|condition| condition["type"] != "PodScheduled");
        conditions.push(json!({
            "type": "PodScheduled", "status": "True", "lastProbeTime": null,
            "lastTransitionTime": time::seconds(now),
        }));
    }
    Ok(new)
}
