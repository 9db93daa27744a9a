//! Request bodies: JSON or YAML bytes to a checked value.
//!
//! # Path
//! `rest/create.rs` → here → `Strategy::default`

use std::cell::RefCell;
use std::fmt;

use master_api::go;
use master_api::status::ApiError;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

use super::Schema;

/// How many keys given twice are named.
const DUPLICATES_MAX: usize = 100;

/// What happens with fields that a kind does not have, or has twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    /// The server's default where the client says nothing.
    #[default]
    Warn,
    Strict,
}

/// The notations of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    Json,
    Yaml,
}

impl MediaType {
    /// Reads a `Content-Type`; absent means JSON.
    pub fn parse(content_type: &str) -> Result<Self, ApiError> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match &*essence.to_ascii_lowercase() {
            "" | "application/json" | "*/*" => Ok(Self::Json),
            "application/yaml" | "application/apply-patch+yaml" => Ok(Self::Yaml),
            _ => Err(ApiError::UnsupportedMediaType {
                accepted: vec!["application/json".to_owned(), "application/yaml".to_owned()],
            }),
        }
    }
}

/// Reads a body into the shape of a kind. Also returns warnings for the client.
///
/// # Errors
/// `BadRequest` for what cannot be parsed or has a wrong type (and, when strict, unknown or
/// duplicate fields); `UnsupportedMediaType`.
pub fn decode(
    body: &[u8],
    content_type: &str,
    schema: &Schema,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), ApiError> {
    let kind = schema.name().rsplit('.').next().unwrap_or_default();
    Sent::read(body, content_type, kind)?.fit(schema, validation)
}

/// A body that could be read and says, or leaves open, what it is.
#[derive(Debug)]
pub struct Sent<'a> {
    pub value: Value,
    body: &'a [u8],
    media: MediaType,
    /// What is wrong with keys that are there twice.
    duplicates: Vec<String>,
}

impl<'a> Sent<'a> {
    /// Reads a body that is to be of some kind.
    ///
    /// # Errors
    /// `BadRequest` for what cannot be parsed, or does not say in text what it is; `UnsupportedMediaType`.
    pub fn read(body: &'a [u8], content_type: &str, kind: &str) -> Result<Self, ApiError> {
        let media = MediaType::parse(content_type)?;
        let (value, duplicates) = match media {
            MediaType::Json => json(body),
            MediaType::Yaml => sloppy_yaml(body),
        }
        .map_err(|problem| unrecognized(kind, &problem, body))?;
        match without_type(&value) {
            None if value.is_null() => {
                Ok(Self { value: Value::Object(Map::new()), body, media, duplicates })
            }
            None => Ok(Self { value, body, media, duplicates }),
            Some(problem) => Err(unrecognized(kind, &json_error(&problem), body)),
        }
    }

    /// Brings the object into the shape of its kind. Also returns warnings for the client.
    ///
    /// # Errors
    /// `BadRequest` for a wrong type and, when strict, unknown or duplicate fields.
    pub fn fit(
        self,
        schema: &Schema,
        validation: FieldValidation,
    ) -> Result<(Value, Vec<String>), ApiError> {
        let Self { mut value, body, media, mut duplicates } = self;
        let in_order = |findings: Vec<String>| match media {
            MediaType::Json if schema.custom.is_none() && findings.len() > 1 => {
                in_order(body, findings)
            }
            _ => findings,
        };
        // Upstream's parser of YAML tells all such keys in one sentence, of which warnings are the lines.
        if media == MediaType::Yaml && validation == FieldValidation::Strict {
            duplicates = match duplicates.as_slice() {
                [] => Vec::new(),
                lines => vec![format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "))],
            };
        }
        let warnings = super::walk::finish(&mut value, schema, validation, duplicates, in_order)?;
        Ok((value, warnings))
    }
}

/// What is wrong with a value, or with the fields that say what it is.
fn without_type(value: &Value) -> Option<String> {
    let found = |value: &Value| match value {
        Value::Null | Value::Object(_) => "",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
    };
    let Some(fields) = value.as_object() else {
        let found = found(value);
        return (!found.is_empty()).then(|| format!(
            "json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        ));
    };
    ["apiVersion", "kind"].into_iter().find_map(|field| {
        let value = fields.get(field).filter(|value| !value.is_null() && !value.is_string())?;
        let found = if value.is_object() { "object" } else { found(value) };
        Some(format!("json: cannot unmarshal {found} into Go struct field .{field} of type string"))
    })
}

fn json_error(problem: &str) -> String {
    format!("couldn't get version/kind; json parse error: {problem}")
}

fn unrecognized(kind: &str, problem: &str, body: &[u8]) -> ApiError {
    let body = go::summary(body);
    ApiError::BadRequest(format!(
        "the object provided is unrecognized (must be of type {kind}): {problem} ({body})"
    ))
}

/// Findings as they come in the text, which is how upstream's decoder meets them.
fn in_order(body: &[u8], findings: Vec<String>) -> Vec<String> {
    let trail = Trail { sought: RefCell::new(findings), ..Trail::default() };
    // It could be read before.
    drop(Seed(&trail).deserialize(&mut serde_json::Deserializer::from_slice(body)));
    let mut found = trail.found.into_inner();
    found.append(&mut trail.sought.into_inner());
    found
}

/// Reads bytes without a schema. Also returns `duplicate field "…"` for keys given twice, of which
/// the last counts.
///
/// # Errors
/// `BadRequest` that names the line.
pub fn parse(body: &[u8], media: MediaType) -> Result<(Value, Vec<String>), ApiError> {
    match media {
        MediaType::Json => json(body).map_err(ApiError::BadRequest),
        MediaType::Yaml => yaml(body),
    }
}

/// [`parse`] for what is to be an object that may say what it is.
///
/// # Errors
/// `BadRequest` for other values, too.
pub fn parse_object(body: &[u8], media: MediaType) -> Result<Value, ApiError> {
    let (value, _) = parse(body, media)?;
    match without_type(&value) {
        None => Ok(value),
        Some(problem) => Err(ApiError::BadRequest(json_error(&problem))),
    }
}

fn json(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    let trail = Trail::default();
    let mut parser = serde_json::Deserializer::from_slice(body);
    let value = Seed(&trail).deserialize(&mut parser).and_then(|value| {
        parser.end()?;
        Ok(value)
    });
    match value {
        Ok(value) => Ok((value, trail.duplicates.into_inner())),
        Err(error) => {
            // What only this parser refuses (how deep a text goes) it says itself.
            let problem = go::json_problem(body).unwrap_or_else(|| error.to_string());
            Err(json_error(&problem))
        }
    }
}

/// Reads a document of which the last of several equal keys counts. Also returns what is wrong with such keys, in the
/// words of upstream's strict parser.
///
/// # Errors
/// `BadRequest` that names the line.
pub fn parse_lenient(body: &[u8]) -> Result<(Value, Option<String>), ApiError> {
    let (value, lines) =
        sloppy_yaml(body).map_err(|problem| ApiError::BadRequest(converting(&problem)))?;
    let text = match lines.as_slice() {
        [] => None,
        lines if lines[0].starts_with("line ") => {
            let lines = lines.join("\n  ");
            Some(converting(&format!("yaml: unmarshal errors:\n  {lines}")))
        }
        lines => Some(lines.join(", ")),
    };
    Ok((value, text))
}

/// A document of which the last of several equal keys counts, and a line for each such key.
fn sloppy_yaml(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    let text = utf8(body)?;
    let strict = match yaml_problem(body) {
        Ok(found) => return Ok(found),
        Err(problem) => problem,
    };
    let mut findings = Vec::new();
    let mut lines: Vec<&str> = text.lines().collect();
    // Each finding's line is left out for the search of the next.
    for _ in 0..DUPLICATES_MAX {
        let found = deserialize(&lines.join("\n"), DuplicateKeyPolicy::Error);
        let Err(serde_saphyr::Error::DuplicateMappingKey { key, location }) = found else { break };
        let line = usize::try_from(location.line()).unwrap_or_default();
        let Some(place) = lines.get_mut(line.saturating_sub(1)) else { break };
        findings.push(format!("line {line}: key {:?} already set in map", key.unwrap_or_default()));
        *place = "";
    }
    match deserialize(text, DuplicateKeyPolicy::LastWins) {
        Ok(value) if !findings.is_empty() => Ok((value, findings)),
        _ => Err(strict),
    }
}

fn utf8(body: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(body).map_err(|_| "yaml: invalid UTF-8".to_owned())
}

fn converting(problem: &str) -> String {
    format!("error converting YAML to JSON: {problem}")
}

fn yaml(body: &[u8]) -> Result<(Value, Vec<String>), ApiError> {
    yaml_problem(body).map_err(|problem| ApiError::BadRequest(converting(&problem)))
}

fn yaml_problem(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    let text = utf8(body)?;
    // A document may also be JSON, which is quicker and tells duplicates apart.
    if text.trim_start().starts_with('{')
        && let Ok(found) = json(body)
    {
        return Ok(found);
    }
    deserialize(text, DuplicateKeyPolicy::Error).map(|value| (value, Vec::new())).map_err(|error| {
        let line = error.location().map(|at| format!("line {}: ", at.line())).unwrap_or_default();
        let text = error.to_string();
        let cause = text.lines().next().unwrap_or_default();
        // The parser says the place once more.
        let cause = cause.rsplit_once(" at line ").map_or(cause, |(cause, _)| cause);
        format!("yaml: {line}{cause}")
    })
}

fn deserialize(
    text: &str,
    duplicate_keys: DuplicateKeyPolicy,
) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        duplicate_keys: duplicate_keys,
        strict_booleans: true,
        with_snippet: false,
    };
    let trail = Trail::default();
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        Seed(&trail).deserialize(deserializer)
    })
}

/// The path of the value being read, and the keys met twice on the way.
#[derive(Debug, Default)]
struct Trail {
    path: RefCell<Vec<String>>,
    duplicates: RefCell<Vec<String>>,
    /// Findings whose order is asked for; each is moved to those found when its key is met.
    sought: RefCell<Vec<String>>,
    found: RefCell<Vec<String>>,
}

impl Trail {
    fn text(&self) -> String {
        let mut text = String::new();
        for step in self.path.borrow().iter() {
            if !text.is_empty() && !step.starts_with('[') {
                text.push('.');
            }
            text.push_str(step);
        }
        text
    }

    /// A key, the last step of the path, before its value is read.
    fn meet(&self, is_again: bool) {
        if is_again {
            self.duplicates.borrow_mut().push(format!("duplicate field {:?}", self.text()));
        }
        let mut sought = self.sought.borrow_mut();
        if sought.is_empty() {
            return;
        }
        let what = if is_again { "duplicate" } else { "unknown" };
        let finding = format!("{what} field {:?}", self.text());
        if let Some(at) = sought.iter().position(|one| *one == finding) {
            self.found.borrow_mut().push(sought.remove(at));
        }
    }
}

#[derive(Clone, Copy)]
struct Seed<'a>(&'a Trail);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number is not finite"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            self.0.path.borrow_mut().push(format!("[{}]", items.len()));
            let item = access.next_element_seed(self);
            self.0.path.borrow_mut().pop();
            match item? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = access.next_key_seed(Key)? {
            let is_again = fields.contains_key(&key);
            self.0.path.borrow_mut().push(key);
            self.0.meet(is_again);
            let value = access.next_value_seed(self);
            let key = self.0.path.borrow_mut().pop().expect("pushed three lines above");
            fields.insert(key, value?);
        }
        Ok(Value::Object(fields))
    }
}

/// Keys of YAML may be numbers or booleans; in JSON they are their text.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        match (Seed(&Trail::default())).deserialize(deserializer)? {
            Value::String(text) => Ok(text),
            Value::Bool(value) => Ok(value.to_string()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(D::Error::custom("a key must be text")),
        }
    }
}
