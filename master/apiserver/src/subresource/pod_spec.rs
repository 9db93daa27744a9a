//! What may change of a running pod's specification: ephemeral containers are added, resources resized.

use http::StatusCode;
use master_api::meta;
use master_api::status::{ApiError, FieldError};
use master_registry::Subresource;
use master_registry::core::pods::validate_ephemeral;
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
    meta::object_mut(&mut new, &["spec"]).insert(FIELD.into(), containers.into());
    let errors = validate_ephemeral(&new, old);
    moved(&mut new, old);
    (new, errors)
}

/// The old pod with the new one's resources, container by container.
fn resized(sent: &Value, old: &Value) -> (Value, Vec<FieldError>) {
    let mut new = old.clone();
    let mut errors = Vec::new();
    for kind in ["containers", "initContainers"] {
        let is = meta::items(sent, &["spec", kind]);
        let Some(containers) = new["spec"].get_mut(kind).and_then(Value::as_array_mut) else {
            continue;
        };
        if containers.len() != is.len() {
            let detail = "containers may not be added or removed";
            errors.push(FieldError::forbidden(format!("spec.{kind}"), detail));
            continue;
        }
        for (container, sent) in containers.iter_mut().zip(is) {
            let Some(fields) = container.as_object_mut() else { continue };
            for field in ["resources", "resizePolicy"] {
                match sent.get(field) {
                    Some(value) => drop(fields.insert(field.into(), value.clone())),
                    None => drop(fields.remove(field)),
                }
            }
        }
    }
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
    use serde_json::json;

    use super::*;

    #[test]
    fn only_resources_change_by_a_resize() {
        let old = json!({"metadata": {"generation": 1}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let sent = json!({"spec": {"containers": [
            {"name": "c", "image": "evil", "resources": {"limits": {"cpu": "1"}}}]}});
        let (new, errors) = resized(&sent, &old);
        assert!(errors.is_empty());
        assert_eq!(
            new,
            json!({"metadata": {"generation": 2}, "spec": {"containers": [
            {"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}}}]}})
        );
    }
}
