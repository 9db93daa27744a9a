//! Holds a JSON value against a schema: wrong types refused, unknown fields found, nulls and empty lists and maps dropped.
//!
//! Upstream's types do not tell an empty list from none: it is gone from what they write, and no client sees `[]`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use master_api::status::{ApiError, FieldError};
use master_api::{go, meta, quantity, time};
use serde_json::{Map, Value};

use super::decode::FieldValidation;
use super::{Index, Instead, Node, OBJECT_META, Schema, Struct, Table, catalog, go_names};
use crate::custom::embedded::{self, Malformed};
use crate::custom::structural::Structural;
use crate::custom::{default, prune};

/// How many unknown fields are named at most.
const FINDINGS_MAX: usize = 100;

/// Brings `value` into the schema's shape: drops nulls, unknown fields, and empty lists and maps that need not be there;
/// writes numbers that stand for quantities as text.
///
/// Returns warnings (only with [`FieldValidation::Warn`]).
///
/// # Errors
/// `BadRequest` for a wrong type, or with [`FieldValidation::Strict`] for unknown fields.
pub fn check(
    value: &mut Value,
    schema: &Schema,
    validation: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    finish(value, schema, validation, Vec::new(), |findings| findings)
}

/// [`check`] for the outcome of a patch, which upstream refuses with `Invalid` instead.
///
/// # Errors
/// `Invalid` for a wrong type or, when strict, unknown fields.
pub fn check_patched(
    value: &mut Value,
    schema: &Schema,
    validation: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    check(value, schema, validation).map_err(|error| {
        let text = error.to_string();
        let cause = text.split_once(": ").map_or(text.as_str(), |(_, cause)| cause);
        let finding = FieldError::invalid("patch", value.to_string(), cause);
        ApiError::invalid("", "", "", vec![finding])
    })
}

/// [`check`], with findings of the parser (duplicate fields) put before its own, then all `in_order`.
pub(super) fn finish(
    value: &mut Value,
    schema: &Schema,
    validation: FieldValidation,
    mut findings: Vec<String>,
    in_order: impl FnOnce(Vec<String>) -> Vec<String>,
) -> Result<Vec<String>, ApiError> {
    if let Some(structural) = &schema.custom {
        findings.extend(custom(value, structural).map_err(|error| refused(value, &error))?);
    } else if let Some((table, root)) = schema.root() {
        let mut walk = Walk { table, findings: Vec::new() };
        walk.value(value, root, &Place::ROOT, "").map_err(|error| refused(value, &error))?;
        findings.extend(walk.findings.iter().map(|path| format!("unknown field {path:?}")));
    }
    findings.truncate(FINDINGS_MAX);
    if validation != FieldValidation::Ignore {
        findings = in_order(findings);
    }
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(findings),
        FieldValidation::Strict if findings.is_empty() => Ok(findings),
        FieldValidation::Strict => {
            Err(refused(value, &format!("strict decoding error: {}", findings.join(", "))))
        }
    }
}

/// Of a custom object only the metadata has types that decoding insists on, and that of objects within it; the rest is
/// validated later.
fn custom(value: &mut Value, structural: &Structural) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    if let Some(own) = value.get_mut("metadata").filter(|it| !it.is_null()) {
        metadata(own, "metadata", &mut unknown)?;
    }
    unknown.extend(prune::prune(value, structural));
    default::drop_nulls(value, structural);
    unknown.extend(embedded::coerce(value, structural, Malformed::Refused)?);
    Ok(unknown.into_iter().map(|path| format!("unknown field {path:?}")).collect())
}

/// Brings metadata at a path into shape; the paths of unknown fields that it had join `unknown`.
///
/// # Errors
/// What is of a wrong type. Upstream decodes metadata by itself, and tells places from there.
pub(crate) fn metadata(
    value: &mut Value,
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    let table = catalog::table();
    let Some(index) = table.named.get(OBJECT_META) else { return Ok(()) };
    let mut walk = Walk { table, findings: Vec::new() };
    let from_there = |problem: String| {
        let problem = problem.replace(&format!("ObjectMeta.{path}."), "ObjectMeta.");
        let whole = format!("Go struct field .{path} of type");
        problem.replace(&whole, "Go value of type")
    };
    walk.value(value, *index, &Place::ROOT.key(path), "").map_err(from_there)?;
    unknown.append(&mut walk.findings);
    Ok(())
}

fn refused(value: &Value, problem: &str) -> ApiError {
    let kind = meta::kind(value);
    let (_, version) = meta::split_api_version(meta::api_version(value));
    ApiError::BadRequest(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: {problem}"
    ))
}

/// Where the walk is; a list on the stack, written out only for a finding.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Key(&'a str),
    /// A field, of a type.
    Field(&'a str, &'a str),
    /// The key of a map, which Go's decoder does not mention.
    Entry(&'a str),
    Item(usize),
}

impl<'a> Place<'a> {
    const ROOT: Self = Self { parent: None, step: Step::Root };

    fn key(&'a self, key: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Key(key) }
    }

    fn field(&'a self, owner: &'a str, name: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Field(owner, name) }
    }

    /// The innermost field, and the type that has it.
    fn innermost(&self) -> Option<(&'a str, &'a str)> {
        match self.step {
            Step::Field(owner, name) => Some((owner, name)),
            _ => self.parent.and_then(Place::innermost),
        }
    }

    fn entry(&'a self, key: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Entry(key) }
    }

    fn item(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Item(index) }
    }

    /// `spec.containers[0].image`, or without what is not a field as Go's decoder writes it.
    fn write(&self, is_whole: bool, text: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(is_whole, text);
        }
        match self.step {
            Step::Entry(_) if !is_whole => {}
            Step::Field(owner, name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                // Go's decoder tells the types that a field comes through.
                if !is_whole {
                    text.push_str(go_names::of(owner, name).through);
                }
                text.push_str(name);
            }
            Step::Key(key) | Step::Entry(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) | Step::Entry(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Item(index) if is_whole => text.push_str(&format!("[{index}]")),
            Step::Root | Step::Item(_) => {}
        }
    }

    fn text(&self, is_whole: bool) -> String {
        let mut text = String::new();
        self.write(is_whole, &mut text);
        text
    }
}

struct Walk<'t> {
    table: &'t Table,
    /// Paths of unknown fields.
    findings: Vec<String>,
}

impl Walk<'_> {
    /// `owner` is the innermost type with fields, which messages name.
    fn value(
        &mut self,
        value: &mut Value,
        index: Index,
        place: &Place<'_>,
        owner: &str,
    ) -> Result<(), String> {
        let table = self.table;
        let node = &table.nodes[index];
        match (node, &mut *value) {
            (Node::Any | Node::Builtin(_), _)
            | (Node::Text | Node::IntOrString, Value::String(_))
            | (Node::Bool, Value::Bool(_))
            | (Node::Float, Value::Number(_)) => Ok(()),
            (Node::SchemaOr(inner, _), Value::Object(_)) => {
                self.untold(|walk| walk.value(value, *inner, place, owner))
            }
            (Node::SchemaOr(inner, Instead::List), Value::Array(items)) => {
                self.untold(|walk| walk.items(items, *inner, place, owner))
            }
            (Node::SchemaOr(_, Instead::Bool), other) if !other.is_boolean() => {
                Err("boolean or JSON schema expected".to_owned())
            }
            (Node::SchemaOr(..), _) => Ok(()),
            (Node::Struct(kind), Value::Object(fields)) => self.fields(fields, kind, place),
            (Node::Map(inner), Value::Object(entries)) => {
                self.entries(entries, *inner, place, owner)
            }
            (Node::List(inner), Value::Array(items)) => self.items(items, *inner, place, owner),
            (Node::Int32 | Node::Int64 | Node::IntOrString, Value::Number(_)) => {
                integer(value, node).ok_or_else(|| self.mismatch(value, index, place, owner))
            }
            (Node::Bytes, Value::String(text)) => base64(text),
            (Node::Time, Value::String(text)) => moment(text),
            (Node::Quantity, Value::String(text)) => {
                *text = amount(text)?;
                Ok(())
            }
            (Node::Quantity, Value::Number(number)) => {
                *value = Value::String(amount(&number.to_string())?);
                Ok(())
            }
            _ => Err(self.mismatch(value, index, place, owner)),
        }
    }

    fn fields(
        &mut self,
        fields: &mut Map<String, Value>,
        kind: &Struct,
        place: &Place<'_>,
    ) -> Result<(), String> {
        let mut failure = Ok(());
        fields.retain(|key, value| {
            if failure.is_err() || value.is_null() {
                return failure.is_err();
            }
            let place = place.field(&kind.name, key);
            match kind.fields.get(key.as_str()) {
                Some(index) => {
                    failure = self.value(value, *index, &place, &kind.name);
                    !self.is_nothing(value, *index) || kind.required.iter().any(|it| **it == *key)
                }
                None if kind.keeps_unknown => true,
                None => {
                    if self.findings.len() < FINDINGS_MAX {
                        self.findings.push(place.text(true));
                    }
                    false
                }
            }
        });
        failure
    }

    /// Walks what upstream decodes in a way of its own: unknown fields of it are dropped without a word.
    fn untold(&mut self, walk: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let told = self.findings.len();
        let outcome = walk(self);
        self.findings.truncate(told);
        outcome
    }

    /// Whether a value is a list or map without anything in it.
    fn is_nothing(&self, value: &Value, index: Index) -> bool {
        match (value, &self.table.nodes[index]) {
            (Value::Array(items), Node::List(_)) => items.is_empty(),
            (Value::Object(entries), Node::Map(_)) => entries.is_empty(),
            _ => false,
        }
    }

    fn entries(
        &mut self,
        entries: &mut Map<String, Value>,
        inner: Index,
        place: &Place<'_>,
        owner: &str,
    ) -> Result<(), String> {
        let zero = self.zero(inner);
        for (key, value) in entries {
            if value.is_null() {
                *value = zero.clone();
            }
            if !value.is_null() {
                self.value(value, inner, &place.entry(key), owner)?;
            }
        }
        Ok(())
    }

    fn items(
        &mut self,
        items: &mut [Value],
        inner: Index,
        place: &Place<'_>,
        owner: &str,
    ) -> Result<(), String> {
        let zero = self.zero(inner);
        for (at, value) in items.iter_mut().enumerate() {
            if value.is_null() {
                *value = zero.clone();
            }
            if !value.is_null() {
                self.value(value, inner, &place.item(at), owner)?;
            }
        }
        Ok(())
    }

    /// What Go makes of a null in a list or map.
    fn zero(&self, index: Index) -> Value {
        match &self.table.nodes[index] {
            Node::Text => "".into(),
            Node::Int32 | Node::Int64 => 0.into(),
            Node::Bool => false.into(),
            Node::Quantity => "0".into(),
            Node::Bytes => "".into(),
            Node::Struct(_) => Value::Object(Map::new()),
            _ => Value::Null,
        }
    }

    fn mismatch(&self, value: &Value, index: Index, place: &Place<'_>, owner: &str) -> String {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number)
                if matches!(self.table.nodes[index], Node::Int32 | Node::Int64)
                    || is_odd_port(number, &self.table.nodes[index]) =>
            {
                format!("number {number}")
            }
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let go_type = match value {
            Value::Number(number) if is_odd_port(number, &self.table.nodes[index]) => {
                "int32".to_owned()
            }
            _ => self.go_type_there(index, place),
        };
        match place.text(false) {
            path if path.is_empty() => {
                format!("json: cannot unmarshal {found} into Go value of type {go_type}")
            }
            path => {
                let owner = owner.rsplit('.').next().unwrap_or_default();
                format!(
                    "json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {go_type}"
                )
            }
        }
    }

    /// The type of what is at a place, by the name that its field gives it.
    fn go_type_there(&self, index: Index, place: &Place<'_>) -> String {
        let named = place.innermost().map(|(owner, name)| go_names::of(owner, name).kind);
        let named = named.filter(|kind| !kind.is_empty());
        match (&self.table.nodes[index], named) {
            (Node::Text, Some(kind)) => kind.to_owned(),
            (Node::List(inner), Some(kind)) if matches!(self.table.nodes[*inner], Node::Text) => {
                format!("[]{kind}")
            }
            _ => self.go_type(index),
        }
    }

    fn go_type(&self, index: Index) -> String {
        match &self.table.nodes[index] {
            Node::Struct(kind) => {
                let mut parts = kind.name.rsplit('.');
                let (name, version) = (parts.next().unwrap_or_default(), parts.next());
                version.map_or_else(|| name.to_owned(), |version| format!("{version}.{name}"))
            }
            Node::Map(inner) if matches!(self.table.nodes[*inner], Node::Quantity) => {
                "v1.ResourceList".to_owned()
            }
            Node::Map(inner) => format!("map[string]{}", self.go_type(*inner)),
            Node::List(inner) => format!("[]{}", self.go_type(*inner)),
            Node::Text | Node::Time => "string".to_owned(),
            Node::Bytes => "[]uint8".to_owned(),
            Node::Int32 => "int32".to_owned(),
            Node::Int64 => "int64".to_owned(),
            Node::Float => "float64".to_owned(),
            Node::Bool => "bool".to_owned(),
            Node::IntOrString => "intstr.IntOrString".to_owned(),
            Node::Quantity => "resource.Quantity".to_owned(),
            Node::Any | Node::SchemaOr(..) | Node::Builtin(_) => "interface {}".to_owned(),
        }
    }
}

/// Whether a number is none where a number or text may stand.
fn is_odd_port(number: &serde_json::Number, node: &Node) -> bool {
    matches!(node, Node::IntOrString)
        && number.as_i64().is_none_or(|number| i32::try_from(number).is_err())
}

/// Accepts whole numbers in range; `1.0` becomes `1`.
fn integer(value: &mut Value, node: &Node) -> Option<()> {
    let number = match value.as_i64() {
        Some(number) => number,
        None => {
            let float =
                value.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9e15)?;
            *value = (float as i64).into();
            float as i64
        }
    };
    (matches!(node, Node::Int64) || i32::try_from(number).is_ok()).then_some(())
}

fn base64(text: &str) -> Result<(), String> {
    // Line breaks are allowed, as Go's decoder skips them.
    let decoded = if text.contains(['\n', '\r']) {
        STANDARD.decode(text.replace(['\n', '\r'], ""))
    } else {
        STANDARD.decode(text)
    };
    decoded.map(drop).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _)
            | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            _ => text.len() - text.len() % 4,
        };
        format!("illegal base64 data at input byte {at}")
    })
}

fn moment(text: &str) -> Result<(), String> {
    if time::parse(text).is_some() {
        return Ok(());
    }
    let problem = go::time_problem(text);
    Err(problem.unwrap_or_else(|| format!("parsing time {text:?}: out of range")))
}

/// The canonical form of a quantity: `1000m` is `1`.
fn amount(text: &str) -> Result<String, String> {
    quantity::Quantity::parse(text).map(|amount| amount.to_string()).map_err(|e| e.to_string())
}
