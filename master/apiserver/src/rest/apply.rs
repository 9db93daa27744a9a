//! Server-side apply: a client says all that it wants of an object; what it does not mention any more goes.
//!
//! # Path
//! `rest/patch.rs` → here → `master_api::fields::apply`

use bytes::Bytes;
use master_api::fields::{self, Apply, Manager};
use master_api::meta;
use master_api::status::{ApiError, Subject};
use master_registry::schema::{self, FieldValidation, Schema};
use serde_json::{Value, json};

use super::change::Rules;
use super::{Target, metadata, ownership};
use crate::call::Call;
use crate::server::Server;
use crate::subresource::scale::put_replicas;

/// A configuration as it was sent.
#[derive(Debug)]
pub struct Config {
    value: Value,
    manager: Manager,
    rules: Rules,
    force: bool,
    validation: FieldValidation,
    /// Keys that the document has twice, in upstream's words.
    duplicates: Option<String>,
}

impl Config {
    /// Reads a document.
    pub fn read(
        server: &Server,
        call: &Call,
        target: &Target,
        rules: Rules,
        body: &Bytes,
        validation: FieldValidation,
    ) -> Result<Self, ApiError> {
        let (value, duplicates) = schema::parse_lenient(body)
            .map_err(|error| ApiError::BadRequest(format!("error decoding YAML: {error}")))?;
        // Nothing is an object of no kind.
        let value = if value.is_null() { Value::Object(Default::default()) } else { value };
        if !value.is_object() {
            let found = match value {
                Value::Array(_) => "array",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            return Err(ApiError::BadRequest(format!(
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
            )));
        }
        if !ownership::of(&value).is_null() {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        Ok(Self {
            value,
            manager: ownership::manager(server, call, target, &call.info.subresource),
            rules,
            force: call.query.flag("force"),
            validation,
            duplicates,
        })
    }

    /// What a client should know of the document; an error where it wants to be strict.
    pub fn warnings(&self) -> Result<Vec<String>, ApiError> {
        match (&self.duplicates, self.validation) {
            (Some(text), FieldValidation::Strict) => {
                Err(ApiError::BadRequest(format!("error strict decoding YAML: {text}")))
            }
            (Some(text), FieldValidation::Warn) => Ok(vec![text.clone()]),
            (None, _) | (_, FieldValidation::Ignore) => Ok(Vec::new()),
        }
    }

    /// The object with the configuration in it, and with its owners; `old` is `None` for a new one.
    pub fn apply(&self, target: &Target, old: Option<&Value>) -> Result<Value, ApiError> {
        let resource = &target.resource;
        is_of_kind(&self.value, &resource.api_version(), &resource.kind)?;
        self.merge(target, self.value.clone(), old)
    }

    /// The object with the replicas of a configuration that is a Scale.
    pub fn apply_scale(
        &self,
        target: &Target,
        scale: &Schema,
        old: &Value,
    ) -> Result<Value, ApiError> {
        is_of_kind(&self.value, "autoscaling/v1", "Scale")?;
        let sent = shaped(self.value.clone(), scale)?;
        let resource = &target.resource;
        let mut config = json!({"apiVersion": resource.api_version(), "kind": resource.kind});
        for field in ["name", "namespace", "uid", "resourceVersion"] {
            meta::set(&mut config, field, sent["metadata"][field].clone());
        }
        if let Some(replicas) = sent["spec"].get("replicas") {
            put_replicas(resource, &mut config, replicas.clone());
        }
        self.merge(target, config, Some(old))
    }

    fn merge(
        &self,
        target: &Target,
        config: Value,
        old: Option<&Value>,
    ) -> Result<Value, ApiError> {
        let schema = &target.resource.schema;
        let config = shaped(config, schema)?;
        let parts = old.map(ownership::split);
        let (live, managed) = match &parts {
            Some((live, managed)) => (Some(live), managed.clone()),
            None => (None, Default::default()),
        };
        let wanted = Apply {
            manager: &self.manager,
            scope: ownership::scope(target, self.rules),
            force: self.force,
            live,
            config: &config,
        };
        let mut applied = fields::apply(schema.divided(), &wanted, managed)?;
        metadata::place(&mut applied.object, target)?;
        schema::check_patched(&mut applied.object, schema, FieldValidation::Ignore)?;
        ownership::put(&mut applied.object, applied.managed.into_value());
        Ok(applied.object)
    }
}

/// A configuration in the shape of its schema, but with what it leaves empty: who applies `{}` or null owns that, too.
/// Fields that nobody declared are refused whatever the client says of validation: nobody could own them.
fn shaped(mut config: Value, schema: &Schema) -> Result<Value, ApiError> {
    let sent = has_empty(&config).then(|| config.clone());
    if let Err(problem) = fields::validate(schema.divided(), &config) {
        return Err(untyped(&config, &problem.to_string()));
    }
    if let Err(error) = schema::check(&mut config, schema, FieldValidation::Ignore) {
        let text = error.to_string();
        let problem = text.split_once(": ").map_or(text.as_str(), |(_, problem)| problem);
        return Err(untyped(&config, problem));
    }
    if let Some(sent) = &sent {
        put_back_empty(&mut config, sent);
    }
    Ok(config)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn has_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.values().any(|value| is_empty(value) || has_empty(value)),
        Value::Array(items) => items.iter().any(has_empty),
        _ => false,
    }
}

/// Puts the empty values of `sent` where they were left out of it.
fn put_back_empty(shaped: &mut Value, sent: &Value) {
    match (shaped, sent) {
        (Value::Object(shaped), Value::Object(sent)) => {
            for (name, value) in sent {
                match shaped.get_mut(name) {
                    Some(shaped) => put_back_empty(shaped, value),
                    None if is_empty(value) => drop(shaped.insert(name.clone(), value.clone())),
                    None => {}
                }
            }
        }
        (Value::Array(shaped), Value::Array(sent)) if shaped.len() == sent.len() => {
            for (shaped, sent) in shaped.iter_mut().zip(sent) {
                put_back_empty(shaped, sent);
            }
        }
        _ => {}
    }
}

fn untyped(config: &Value, problem: &str) -> ApiError {
    let (group, version) = meta::split_api_version(meta::api_version(config));
    ApiError::Untyped(format!(
        "failed to create typed patch object ({}/{}; {group}/{version}, Kind={}): {problem}",
        meta::namespace(config),
        meta::name(config),
        meta::kind(config),
    ))
}

fn is_of_kind(config: &Value, api_version: &str, kind: &str) -> Result<(), ApiError> {
    let (sent_version, sent_kind) = (meta::api_version(config), meta::kind(config));
    if (sent_version, sent_kind) == (api_version, kind) {
        return Ok(());
    }
    let (group, version) = meta::split_api_version(sent_version);
    let is_other_version = sent_kind == kind
        && master_registry::builtin()
            .iter()
            .any(|it| it.kind == kind && it.api_version() == sent_version);
    Err(ApiError::BadRequest(if is_other_version {
        format!(
            "Incorrect version specified in apply patch. Specified patch version: {sent_version}, expected: {api_version}"
        )
    } else {
        format!("invalid object type: {group}/{version}, Kind={sent_kind}")
    }))
}

/// What is to be created, since nothing is there to be changed.
pub fn new_object(config: &Config, target: &Target) -> Result<Value, ApiError> {
    let mut object = config.apply(target, None)?;
    // What is not there has no version that could be meant.
    meta::set(&mut object, "resourceVersion", Value::Null);
    let uid = meta::uid(&object);
    if !uid.is_empty() {
        let subject = Subject::new(&*target.resource.group, &*target.resource.plural);
        let message = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(ApiError::Conflict { subject, name: target.name.clone(), message });
    }
    Ok(object)
}
