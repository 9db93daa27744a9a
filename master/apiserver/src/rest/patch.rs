//! Patch: what a client wants changed, laid over whatever version is there.
//!
//! Without a resourceVersion in it, a patch that lost a race is laid over the winner's version.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use master_api::meta;
use master_api::patch::{PatchType, json_patch, merge_patch, strategic_merge};
use master_api::status::ApiError;
use master_registry::patchmeta;
use master_registry::schema::{self, FieldValidation, MediaType, Schema};
use parking_lot::Mutex;
use serde_json::Value;

use super::change::{Change, Rules, change};
use super::update::replacement;
use super::{Target, answer, body};
use crate::call::{Call, Response};
use crate::server::Server;

/// A patch as it was sent.
#[derive(Debug)]
pub struct Patch {
    kind: PatchType,
    value: Value,
    validation: FieldValidation,
    /// Found while applying; the last attempt's count.
    warnings: Mutex<Vec<String>>,
}

impl Patch {
    /// Reads the body.
    pub async fn read(call: &mut Call) -> Result<Self, ApiError> {
        let kind = PatchType::parse(call.header(CONTENT_TYPE))?;
        if kind == PatchType::Apply {
            // Better refused than merged without its conflicts: the client falls back or says so.
            return Err(ApiError::UnsupportedMediaType {
                accepted: vec![
                    "application/json-patch+json".into(),
                    "application/merge-patch+json".into(),
                    "application/strategic-merge-patch+json (server-side apply is not served yet: \
                     use kubectl apply without --server-side)"
                        .into(),
                ],
            });
        }
        let validation = body::validation(call)?;
        let bytes = body::read(call).await?;
        let (value, duplicates) = schema::parse(&bytes, MediaType::Json)?;
        Ok(Self { kind, value, validation, warnings: Mutex::new(duplicates) })
    }

    /// The patched object, in the shape of `schema`.
    pub fn apply(&self, old: &Value, schema: &Schema) -> Result<Value, ApiError> {
        let patched = match self.kind {
            PatchType::Json => json_patch(old.clone(), &self.value)?,
            PatchType::Merge => merge_patch(old.clone(), &self.value),
            PatchType::Strategic | PatchType::Apply => {
                strategic_merge(old.clone(), self.value.clone(), &patchmeta::types(schema))?
            }
        };
        let mut patched = patched;
        for field in ["kind", "apiVersion"] {
            if patched[field] != old[field] {
                return Err(ApiError::bad_request(format!(
                    "{field} cannot be changed by a patch: {} does not match {}",
                    patched[field], old[field]
                )));
            }
        }
        *self.warnings.lock() = schema::check(&mut patched, schema, self.validation)?;
        Ok(patched)
    }

    /// What the client should know.
    pub fn into_warnings(self) -> Vec<String> {
        self.warnings.into_inner()
    }
}

/// Answers with the new version.
pub async fn run(
    server: &Server,
    call: &mut Call,
    target: &Target,
    rules: Rules,
) -> Result<Response, ApiError> {
    let patch = Patch::read(call).await?;
    if target.resource.custom.is_some() && patch.kind == PatchType::Strategic {
        let accepted = ["application/json-patch+json", "application/merge-patch+json"];
        let accepted = accepted.map(str::to_owned).to_vec();
        return Err(ApiError::UnsupportedMediaType { accepted });
    }
    let produce = |old: &Value| {
        let patched = patch.apply(old, &target.resource.schema)?;
        same_name(target, &patched)?;
        replacement(target, &patched, old)
    };
    let subresource = call.info.subresource.clone();
    let wanted = Change { subresource: &subresource, rules, produce: &produce };
    let entry = change(server, call, target, &wanted).await?;
    call.warnings.extend(patch.into_warnings());
    answer(server, call, StatusCode::OK, &target.resource, &entry)
}

fn same_name(target: &Target, patched: &Value) -> Result<(), ApiError> {
    let name = meta::name(patched);
    if name == target.name {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "the name of the object ({name}) does not match the name on the URL ({})",
        target.name
    )))
}
