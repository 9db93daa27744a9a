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

use super::apply::{Config, new_object};
use super::change::{Change, Rules, change};
use super::ownership::{self, Ownership};
use super::update::{may_create, replacement};
use super::{Target, answer, body, create};
use crate::call::{Call, Response};
use crate::server::Server;

/// How many times an apply turns from changing to creating because the object came or went meanwhile.
const TURNS_MAX: u32 = 8;

/// A patch as it was sent.
#[derive(Debug)]
pub struct Patch {
    sent: Sent,
    validation: FieldValidation,
    /// Found while applying; the last attempt's count.
    warnings: Mutex<Vec<String>>,
}

#[derive(Debug)]
enum Sent {
    Json(Value),
    Merge(Value),
    Strategic(Value),
    Apply(Config),
}

impl Patch {
    /// Reads the body.
    pub async fn read(
        server: &Server,
        call: &mut Call,
        target: &Target,
        rules: Rules,
    ) -> Result<Self, ApiError> {
        let kind = PatchType::parse(call.header(CONTENT_TYPE))?;
        let validation = body::validation(call);
        let bytes = body::read(call).await?;
        let value = || schema::parse(&bytes, MediaType::Json);
        let (sent, warnings) = match kind {
            PatchType::Json => value().map(|(value, found)| (Sent::Json(value), found)),
            PatchType::Merge => value().map(|(value, found)| (Sent::Merge(value), found)),
            PatchType::Strategic => value().map(|(value, found)| (Sent::Strategic(value), found)),
            PatchType::Apply => Config::read(server, call, target, rules, &bytes, validation)
                .map(|config| (Sent::Apply(config), Vec::new())),
        }?;
        Ok(Self { sent, validation, warnings: Mutex::new(warnings) })
    }

    /// What the patch makes its manager own.
    pub fn ownership(&self) -> Ownership {
        match self.sent {
            Sent::Apply(_) => Ownership::Noted,
            Sent::Json(_) | Sent::Merge(_) | Sent::Strategic(_) => Ownership::Changed,
        }
    }

    /// The patched object, in the shape of its kind.
    pub fn apply(&self, target: &Target, old: &Value) -> Result<Value, ApiError> {
        if let Sent::Apply(config) = &self.sent {
            let applied = config.apply(target, Some(old))?;
            *self.warnings.lock() = config.warnings()?;
            return Ok(applied);
        }
        self.lay_over(old, &target.resource.schema)
    }

    /// The object of `target` after a patch of its Scale; `scaled` puts a Scale's replicas into the object.
    pub fn apply_scale(
        &self,
        target: &Target,
        schema: &Schema,
        old: &Value,
        scale: &Value,
        scaled: impl Fn(&Value) -> Result<Value, ApiError>,
    ) -> Result<Value, ApiError> {
        if let Sent::Apply(config) = &self.sent {
            let applied = config.apply_scale(target, schema, old)?;
            *self.warnings.lock() = config.warnings()?;
            return replacement(target, &applied, old);
        }
        scaled(&self.lay_over(scale, schema)?)
    }

    fn lay_over(&self, old: &Value, schema: &Schema) -> Result<Value, ApiError> {
        let mut patched = match &self.sent {
            Sent::Json(patch) => json_patch(old.clone(), patch)?,
            Sent::Merge(patch) => merge_patch(old.clone(), patch),
            Sent::Strategic(patch) => {
                strategic_merge(old.clone(), patch.clone(), &patchmeta::types(schema))?
            }
            Sent::Apply(_) => unreachable!("an apply is no patch of the kind that is laid over"),
        };
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

    /// [`Patch::apply`], of which `take` chooses what counts: it builds on the old object.
    pub fn apply_part(
        &self,
        target: &Target,
        old: &Value,
        take: impl Fn(&Value) -> Result<Value, ApiError>,
    ) -> Result<Value, ApiError> {
        let patched = self.apply(target, old)?;
        let mut taken = take(&patched)?;
        ownership::put(&mut taken, ownership::of(&patched).clone());
        Ok(taken)
    }

    /// What the client should know.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock())
    }
}

/// Answers with the new version.
pub async fn run(
    server: &Server,
    call: &mut Call,
    target: &Target,
    rules: Rules,
) -> Result<Response, ApiError> {
    let patch = Patch::read(server, call, target, rules).await?;
    if target.resource.custom.is_some() && matches!(patch.sent, Sent::Strategic(_)) {
        let accepted = [
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
        ];
        let accepted = accepted.map(str::to_owned).to_vec();
        return Err(ApiError::UnsupportedMediaType { accepted });
    }
    let produce = |old: &Value| {
        let patched = patch.apply(target, old)?;
        same_name(target, &patched)?;
        replacement(target, &patched, old)
    };
    let subresource = call.info.subresource.clone();
    let wanted = Change {
        subresource: &subresource,
        rules,
        ownership: patch.ownership(),
        produce: &produce,
    };
    for _ in 0..TURNS_MAX {
        let creates = match (change(server, call, target, &wanted).await, &patch.sent) {
            (Err(ApiError::NotFound { .. }), Sent::Apply(config)) if rules == Rules::Whole => {
                config
            }
            (entry, _) => {
                let entry = entry?;
                call.warnings.extend(patch.take_warnings());
                return answer(server, call, StatusCode::OK, &target.resource, &entry);
            }
        };
        may_create(server, call)?;
        let object = new_object(creates, target)?;
        let warnings = creates.warnings()?;
        match create::create(server, call, target, object, Ownership::Noted).await {
            Err(ApiError::AlreadyExists { .. }) => {}
            entry => {
                let entry = entry?;
                call.warnings.extend(warnings);
                return answer(server, call, StatusCode::CREATED, &target.resource, &entry);
            }
        }
    }
    Err(target.modified())
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
