//! The last word of controllers: a namespace's own finalizers, a certificate request's approval.

use http::StatusCode;
use jiff::Timestamp;
use master_api::meta;
use master_api::status::ApiError;
use master_registry::Subresource;
use master_registry::certificates::certificatesigningrequests;
use serde_json::Value;

use crate::call::{Call, Response};
use crate::rest::change::{Change, Rules, change};
use crate::rest::ownership::Ownership;
use crate::rest::patch::Patch;
use crate::rest::update::replacement;
use crate::rest::{Target, answer, body, metadata};
use crate::server::Server;

/// Answers with the new version.
pub async fn run(
    server: &Server,
    call: &mut Call,
    target: &Target,
    subresource: Subresource,
) -> Result<Response, ApiError> {
    let path: [&str; 2] = match subresource {
        Subresource::Approval => ["status", "conditions"],
        _ => ["spec", "finalizers"],
    };
    let resource = &target.resource;
    let name = subresource.name();
    let now = server.now();
    let entry = match &*call.info.verb {
        "update" => {
            let mut sent = body::object(call, resource).await?;
            metadata::place(&mut sent, target)?;
            let produce =
                |old: &Value| taken(target, &replacement(target, &sent, old)?, old, path, now);
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
            let produce = |old: &Value| {
                patch.apply_part(target, old, |patched| {
                    taken(target, &replacement(target, patched, old)?, old, path, now)
                })
            };
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
    answer(server, call, StatusCode::OK, resource, &entry)
}

/// The old object with one field of the new one, its labels and its annotations.
fn taken(
    target: &Target,
    new: &Value,
    old: &Value,
    [part, field]: [&str; 2],
    now: Timestamp,
) -> Result<Value, ApiError> {
    let mut kept = old.clone();
    for field in ["labels", "annotations"] {
        meta::set(&mut kept, field, new["metadata"][field].clone());
    }
    let fields = meta::object_mut(&mut kept, &[part]);
    match new[part].get(field) {
        Some(value) => drop(fields.insert(field.to_owned(), value.clone())),
        None => drop(fields.remove(field)),
    }
    if let Some(conditions) = fields.get_mut(field).and_then(Value::as_array_mut)
        && field == "conditions"
    {
        certificatesigningrequests::stamp(conditions, now);
        let errors = certificatesigningrequests::verdict_problems(&kept, old);
        if !errors.is_empty() {
            let resource = &target.resource;
            return Err(ApiError::invalid(&resource.group, &resource.kind, &target.name, errors));
        }
    }
    Ok(kept)
}
