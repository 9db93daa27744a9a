//! Patch: what a client wants changed, laid over whatever version is there.
//!
//! Without a resourceVersion in it, a patch that lost a race is laid over the winner's version.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use master_api::patch::{PatchType, json_patch, merge_patch, strategic_merge};
use master_api::status::{ApiError, FieldError};
use master_api::{go, meta};
use master_registry::patchmeta;
use master_registry::schema::{self, FieldValidation, MediaType, Schema};
use parking_lot::Mutex;
use serde_json::Value;

use super::apply::{Config, new_object};
use super::change::{Change, Rules, change};
use super::ownership::{self, Ownership};
use super::update::{may_create, replacement, successor};
use super::{Target, answer, body, create, metadata};
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
        let value = || {
            let read = go::json_problem(&bytes).map_or_else(
                || schema::parse(&bytes, MediaType::Json),
                |it| Err(ApiError::BadRequest(it)),
            );
            read.map(|(value, found)| (nothing_for_null(kind, value), found))
        };
        let is_tolerant = validation == FieldValidation::Ignore;
        let kept = |found: Vec<String>| if is_tolerant { Vec::new() } else { found };
        let (sent, warnings) = match kind {
            PatchType::Json => value()
                .and_then(|(value, found)| Ok((Sent::Json(of_form(value, true)?), kept(found))))
                .map_err(decoding),
            PatchType::Merge => value()
                .and_then(|(value, found)| Ok((Sent::Merge(of_form(value, false)?), kept(found))))
                .map_err(decoding),
            PatchType::Strategic => value().and_then(|(value, found)| {
                Ok((Sent::Strategic(of_form(value, false)?), kept(found)))
            }),
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
            if patched[field] == old[field] {
                continue;
            }
            // A strategic merge looks at fields of the object only.
            if matches!(self.sent, Sent::Strategic(_)) {
                patched[field] = old[field].clone();
                continue;
            }
            let (version, kind) = (meta::api_version(&patched), meta::kind(&patched));
            let cause = body::misfit(version, kind, meta::api_version(old), meta::kind(old));
            let finding = FieldError::invalid("patch", patched.to_string(), cause);
            return Err(ApiError::invalid("", "", "", vec![finding]));
        }
        let found = schema::check_patched(&mut patched, schema, self.validation)?;
        let mut warnings = self.warnings.lock();
        // Keys that the patch has twice were found when it was read.
        warnings.retain(|warning| warning.starts_with("duplicate field"));
        warnings.extend(found);
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

/// A patch of nothing changes nothing, where there is a form for that.
fn nothing_for_null(kind: PatchType, value: Value) -> Value {
    match (kind, value) {
        (PatchType::Json, Value::Null) => Value::Array(Vec::new()),
        (PatchType::Strategic, Value::Null) => Value::Object(Default::default()),
        (_, value) => value,
    }
}

/// A patch is a list of operations, or an object.
fn of_form(value: Value, is_list: bool) -> Result<Value, ApiError> {
    let found = match &value {
        Value::Array(_) if is_list => return Ok(value),
        Value::Object(_) if !is_list => return Ok(value),
        Value::Null => return Err(ApiError::bad_request("Invalid JSON Patch")),
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
    };
    let wanted = if is_list { "[]handlers.jsonPatchOp" } else { "map[string]interface {}" };
    let text = format!("json: cannot unmarshal {found} into Go value of type {wanted}");
    Err(ApiError::BadRequest(text))
}

/// What is wrong with the bytes of a patch, as upstream tells it of most kinds of patches.
fn decoding(error: ApiError) -> ApiError {
    match error {
        ApiError::BadRequest(text) if text != "Invalid JSON Patch" => {
            ApiError::BadRequest(format!("error decoding patch: {text}"))
        }
        other => other,
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
        metadata::same_namespace(&patched, target)?;
        successor(target, &patched, old)
    };
    let subresource = call.info.subresource.clone();
    let wanted = Change {
        subresource: &subresource,
        rules,
        ownership: patch.ownership(),
        produce: &produce,
    };
    for _ in 0..TURNS_MAX {
        let before = call.warnings.len();
        let creates = match (change(server, call, target, &wanted).await, &patch.sent) {
            (Err(ApiError::NotFound { .. }), Sent::Apply(config)) if rules == Rules::Whole => {
                config
            }
            (entry, _) => {
                let entry = entry?;
                // What was sent is judged before what has come of it.
                call.warnings.splice(before..before, patch.take_warnings());
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
