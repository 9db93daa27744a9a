//! What may change of a running pod's specification: ephemeral containers are added, resources resized.

use http::StatusCode;
use master_api::meta;
use master_api::status::{ApiError, FieldError};
use master_registry::Subresource;
use master_registry::core::pods::{validate_ephemeral, validate_resize};
use serde_json::Value;

use crate::call::{Call, Response};
use crate::rest::change::{Change, Rules, change};
use crate::rest::ownership::Ownership;
use crate::rest::patch::Patch;
use crate::rest::update::replacement;
use crate::rest::{Target, answer, body, metadata};
use crate::server::Server;

/// Answers with the new version of the pod.
pub async fn run(
    server: &Server,
    call: &mut Call,
    target: &Target,
    subresource: Subresource,
) -> Result<Response, ApiError> {
    let take = |sent: &Value, old: &Value| -> Result<Value, ApiError> {
        let mut sent = replacement(target, sent, old)?;
        target.resource.strategy.default(&mut sent);
        let (new, errors) = match subresource {
            Subresource::EphemeralContainers => with_ephemeral(&sent, old),
            _ => resized(&sent, old),
        };
        if errors.is_empty() {
            return Ok(new);
        }
        Err(ApiError::invalid("", "Pod", &target.name, errors))
    };
    let name = subresource.name();
    let entry = match &*call.info.verb {
        "update" => {
            let mut sent = body::object(call, &target.resource).await?;
            metadata::place(&mut sent, target)?;
            let produce = |old: &Value| take(&sent, old);
            let wanted = Change {
                subresource: name,
                rules: Rules::Metadata,
                ownership: Ownership::Changed,
                produce: &produce,
            };
            change(server, call, target, &wanted).await?
        }
        "patch" => {
            let patch = Patch::read(server, call, target, Rules::Metadata).await?;
            let produce = |old: &Value| patch.apply_part(target, old, |patched| take(patched, old));
            let wanted = Change {
                subresource: name,
                rules: Rules::Metadata,
                ownership: patch.ownership(),
                produce: &produce,
            };
            change(server, call, target, &wanted).await?
        }
        _ => return Err(ApiError::NoSuchMethod),
    };
    answer(server, call, StatusCode::OK, &target.resource, &entry)
}

/// The old pod with the new one's ephemeral containers; the registry says what may change of them.
fn with_ephemeral(sent: &Value, old: &Value) -> (Value, Vec<FieldError>) {
    const FIELD: &str = "ephemeralContainers";
    let mut new = old.clone();
    let containers = meta::items(sent, &["spec", FIELD]).to_vec();
    let spec = meta::object_mut(&mut new, &["spec"]);
    if containers.is_empty() {
        spec.remove(FIELD);
    } else {
        spec.insert(FIELD.into(), containers.into());
    }
    let errors = validate_ephemeral(&new, old);
    moved(&mut new, old);
    (new, errors)
}

/// The old pod with the new one's resources, container by container; the registry says what may change of them.
fn resized(sent: &Value, old: &Value) -> (Value, Vec<FieldError>) {
    let mut new = old.clone();
    let names = |pod: &Value, kind: &str| -> Vec<Value> {
        meta::items(pod, &["spec", kind])
            .iter()
            .map(|container| container["name"].clone())
            .collect()
    };
    for kind in ["containers", "initContainers"] {
        let is = meta::items(sent, &["spec", kind]);
        if names(sent, kind) != names(old, kind) {
            // Not to be taken, but to be told of.
            meta::object_mut(&mut new, &["spec"]).insert(kind.into(), is.to_vec().into());
            continue;
        }
        let containers = new["spec"].get_mut(kind).and_then(Value::as_array_mut);
        for (container, sent) in containers.into_iter().flatten().zip(is) {
            let Some(fields) = container.as_object_mut() else { continue };
            for field in ["resources", "resizePolicy"] {
                match sent.get(field) {
                    Some(value) => drop(fields.insert(field.into(), value.clone())),
                    None => drop(fields.remove(field)),
                }
            }
        }
    }
    let errors = validate_resize(&new, old);
    moved(&mut new, old);
    (new, errors)
}

/// The generation follows the specification.
fn moved(new: &mut Value, old: &Value) {
    if new["spec"] != old["spec"] && meta::generation(old) > 0 {
        meta::set(new, "generation", meta::generation(old) + 1);
    }
}

#[cfg(test)]
mod tests {
    use master_registry::core::pods::Pods;
    use master_registry::strategy::Strategy;
    use serde_json::json;

    use super::*;

    fn pod(containers: Value) -> Value {
        let mut pod = json!({"metadata": {"generation": 1}, "spec": {"containers": containers}});
        Pods.default(&mut pod);
        pod
    }

    fn findings(sent: &Value, old: &Value) -> Vec<String> {
        resized(sent, old).1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_resources_change_by_a_resize() {
        let with = |cpu: &str, image: &str| {
            pod(json!([{"name": "c", "image": image, "resources": {"limits": {"cpu": cpu}}}]))
        };
        let old = with("1", "i");
        let (new, errors) = resized(&with("2", "evil"), &old);
        assert_eq!(errors, []);
        let mut expected = with("2", "i");
        meta::set(&mut expected, "generation", 2);
        assert_eq!(new, expected);
    }

    /// In the words of kube-apiserver 1.36.3.
    #[test]
    fn a_resize_that_cannot_be_done_is_refused() {
        let one =
            |resources: Value| pod(json!([{"name": "c", "image": "i", "resources": resources}]));
        let plain = one(json!({}));
        let limited = one(json!({"limits": {"cpu": "1", "example.com/x": "1"}}));
        let mut running = plain.clone();
        running["status"] = json!({"qosClass": "BestEffort", "containerStatuses": [{"name": "c", "state": {"running": {}}}]});
        let two = pod(json!([{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]));
        let renamed = pod(json!([{"name": "d", "image": "i"}]));
        #[rustfmt::skip]
        let cases = [
            (&running, one(json!({"requests": {"cpu": "100m"}})), vec![
                "spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing",
                "spec: Forbidden: Pod running on node without support for resize",
            ]),
            (&plain, two, vec!["spec.containers: Forbidden: containers may not be added or removed on resize"]),
            (&plain, renamed, vec!["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"]),
            (&limited, one(json!({"limits": {"cpu": "2"}})), vec![
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
                "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
                "spec: Forbidden: only cpu and memory resources are mutable",
            ]),
        ];
        for (old, sent, expected) in cases {
            assert_eq!(findings(&sent, old), expected);
        }
    }
}
