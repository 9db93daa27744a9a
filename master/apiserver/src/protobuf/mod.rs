//! Request bodies in Kubernetes' protobuf, read into the JSON that the rest of the server knows.
//!
//! client-go's typed clients send it unasked since v1.32 and have no other way when it is refused. Answers
//! are JSON, which every client takes. The numbers of fields are facts (`facts.txt`, one line a field:
//! number, JSON name, flags, type), taken from the struct tags of k8s.io/api, k8s.io/apimachinery,
//! k8s.io/apiextensions-apiserver and k8s.io/kube-aggregator v0.36.
//!
//! Flags: `*` list, `%` map, `?` pointer (a zero counts), `!` a zero is written out, `^` the fields belong
//! to the message around it.

mod wire;
pub mod zero;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use master_api::status::ApiError;
use serde_json::{Map, Value, json};

use wire::{Datum, Reader};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";
/// As deep as JSON may be (a schema nests as its objects do); a body that nests deeper is an attack.
const DEPTH_MAX: usize = 128;
const SCHEMA: &str = "apiextensions/v1.JSONSchemaProps";

/// One field of a message.
#[derive(Clone, Copy, Debug)]
struct Field {
    name: &'static str,
    is_list: bool,
    is_map: bool,
    is_pointer: bool,
    keeps_zero: bool,
    is_inline: bool,
    kind: &'static str,
}

type Message = BTreeMap<u64, Field>;

/// What is wrong with a body.
#[derive(Debug)]
struct Malformed(String);

impl From<Malformed> for ApiError {
    fn from(Malformed(what): Malformed) -> Self {
        Self::BadRequest(format!("couldn't read the protobuf body: {what}"))
    }
}

fn messages() -> &'static BTreeMap<&'static str, Message> {
    static MESSAGES: OnceLock<BTreeMap<&'static str, Message>> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let mut all: BTreeMap<&'static str, Message> = BTreeMap::new();
        let mut current = "";
        for line in include_str!("facts.txt").lines() {
            if !line.starts_with(' ') {
                current = line;
                continue;
            }
            let mut words = line.split_whitespace();
            let mut word = || words.next().expect("the facts have four columns");
            let (number, name, flags, kind) = (word(), word(), word(), word());
            let has = |flag: char| flags.contains(flag);
            let field = Field {
                name,
                is_list: has('*'),
                is_map: has('%'),
                is_pointer: has('?'),
                keeps_zero: has('!'),
                is_inline: has('^'),
                kind,
            };
            let number = number.parse().expect("the facts begin with a number");
            all.entry(current).or_default().insert(number, field);
        }
        all
    })
}

/// Reads a body: the envelope, then the object it holds.
pub fn decode(body: &[u8]) -> Result<Value, ApiError> {
    let envelope = body.strip_prefix(MAGIC);
    let envelope = envelope.ok_or_else(|| Malformed("it does not begin with \"k8s\\0\"".into()))?;
    let (mut api_version, mut kind, mut raw): (String, String, &[u8]) = Default::default();
    for field in Reader::new(envelope) {
        match field? {
            (1, Datum::Bytes(meta)) => {
                for field in Reader::new(meta) {
                    match field? {
                        (1, Datum::Bytes(text)) => api_version = string(text)?,
                        (2, Datum::Bytes(text)) => kind = string(text)?,
                        _ => {}
                    }
                }
            }
            (2, Datum::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let name = message_name(&api_version, &kind);
    let found = messages().get(name.as_str());
    let found = found.ok_or_else(|| {
        ApiError::bad_request(format!("no kind {kind:?} is registered for version {api_version:?}"))
    })?;
    let mut object = message(found, raw, 0)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

/// `rbac.authorization.k8s.io/v1`, `Role` → `rbac/v1.Role`.
fn message_name(api_version: &str, kind: &str) -> String {
    if matches!(kind, "DeleteOptions" | "CreateOptions" | "UpdateOptions" | "PatchOptions") {
        return format!("meta/v1.{kind}");
    }
    let (group, version) = master_api::meta::split_api_version(api_version);
    let group = match group.split('.').next().unwrap_or("") {
        "" => "core",
        "flowcontrol" => "flowcontrol",
        short => short,
    };
    format!("{group}/{version}.{kind}")
}

fn message(fields: &Message, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, Malformed> {
    if depth > DEPTH_MAX {
        return Err(Malformed("it nests too deeply".into()));
    }
    let mut object = Map::new();
    for datum in Reader::new(bytes) {
        let (number, datum) = datum?;
        let Some(field) = fields.get(&number) else { continue };
        if field.is_inline {
            let inner = value(field.kind, datum, depth)?;
            if let Value::Object(inner) = inner {
                object.extend(inner);
            }
        } else if field.is_map {
            let (key, item) = entry(field.kind, datum, depth)?;
            let map = object.entry(field.name).or_insert_with(|| json!({}));
            if let Some(map) = map.as_object_mut() {
                map.insert(key, item);
            }
        } else if field.is_list {
            let items = items(field.kind, datum, depth)?;
            let list = object.entry(field.name).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.extend(items);
            }
        } else {
            let item = value(field.kind, datum, depth)?;
            if field.is_pointer || field.keeps_zero || !is_zero(&item) {
                object.insert(field.name.into(), item);
            }
        }
    }
    Ok(object)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// One element of a list, or several numbers packed together.
fn items(kind: &str, datum: Datum<'_>, depth: usize) -> Result<Vec<Value>, Malformed> {
    match (kind, datum) {
        ("int32" | "int64" | "bool", Datum::Bytes(packed)) => wire::varints(packed)?
            .map(|n| n.and_then(|n| value(kind, Datum::Varint(n), depth)))
            .collect(),
        (_, datum) => Ok(vec![value(kind, datum, depth)?]),
    }
}

fn entry(kind: &str, datum: Datum<'_>, depth: usize) -> Result<(String, Value), Malformed> {
    let Datum::Bytes(bytes) = datum else {
        return Err(Malformed("a map's entry is no message".into()));
    };
    let (mut key, mut item) = (String::new(), None);
    for field in Reader::new(bytes) {
        match field? {
            (1, Datum::Bytes(text)) => key = string(text)?,
            (2, datum) => item = Some(value(kind, datum, depth)?),
            _ => {}
        }
    }
    let empty = || match kind {
        "items" => json!([]),
        "string" | "bytes" | "quantity" => json!(""),
        _ => Value::Null,
    };
    Ok((key, item.unwrap_or_else(empty)))
}

fn value(kind: &str, datum: Datum<'_>, depth: usize) -> Result<Value, Malformed> {
    match (kind, datum) {
        ("bool", Datum::Varint(number)) => Ok((number != 0).into()),
        // Truncation is the encoding: negative numbers come as 64 bits.
        ("int32", Datum::Varint(number)) => Ok((number as u32 as i32).into()),
        ("int64", Datum::Varint(number)) => Ok((number as i64).into()),
        ("double", Datum::Fixed64(bits)) => Ok(f64::from_bits(bits).into()),
        ("string", Datum::Bytes(bytes)) => Ok(string(bytes)?.into()),
        ("bytes", Datum::Bytes(bytes)) => Ok(STANDARD.encode(bytes).into()),
        ("time", Datum::Bytes(bytes)) => time(bytes, false),
        ("microtime", Datum::Bytes(bytes)) => time(bytes, true),
        ("quantity", Datum::Bytes(bytes)) => first_string(bytes),
        ("raw", Datum::Bytes(bytes)) => raw(bytes),
        ("intorstring", Datum::Bytes(bytes)) => int_or_string(bytes),
        ("items", Datum::Bytes(bytes)) => strings(bytes),
        ("schemaorarray" | "schemaorbool" | "schemaorstrings", Datum::Bytes(bytes)) => {
            schema_or(kind, bytes, depth + 1)
        }
        (name, Datum::Bytes(bytes)) => match messages().get(name) {
            Some(fields) => Ok(Value::Object(message(fields, bytes, depth + 1)?)),
            None => Ok(json!({})),
        },
        (name, _) => Err(Malformed(format!("a {name} has another encoding"))),
    }
}

fn string(bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("a string is no UTF-8".into()))
}

fn time(bytes: &[u8], micros: bool) -> Result<Value, Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in Reader::new(bytes) {
        match field? {
            (1, Datum::Varint(number)) => seconds = number as i64,
            (2, Datum::Varint(number)) => nanos = number as u32 as i32,
            _ => {}
        }
    }
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let at = jiff::Timestamp::new(seconds, nanos);
    let at = at.map_err(|error| Malformed(format!("a time is out of range: {error}")))?;
    let text = if micros { master_api::time::micros(at) } else { master_api::time::seconds(at) };
    Ok(text.into())
}

fn first_string(bytes: &[u8]) -> Result<Value, Malformed> {
    for field in Reader::new(bytes) {
        if let (1, Datum::Bytes(text)) = field? {
            return Ok(string(text)?.into());
        }
    }
    Ok("0".into())
}

fn strings(bytes: &[u8]) -> Result<Value, Malformed> {
    let mut items = Vec::new();
    for field in Reader::new(bytes) {
        if let (1, Datum::Bytes(text)) = field? {
            items.push(Value::String(string(text)?));
        }
    }
    Ok(items.into())
}

/// A schema, or what may stand in its place: a list of schemas or of names, or whether anything goes.
fn schema_or(kind: &str, bytes: &[u8], depth: usize) -> Result<Value, Malformed> {
    let (mut allows, mut schema, mut list) = (false, None, Vec::new());
    for field in Reader::new(bytes) {
        match (kind, field?) {
            ("schemaorbool", (1, Datum::Varint(number))) => allows = number != 0,
            ("schemaorbool", (2, datum)) | (_, (1, datum)) => {
                schema = Some(value(SCHEMA, datum, depth)?);
            }
            ("schemaorarray", (2, datum)) => list.push(value(SCHEMA, datum, depth)?),
            (_, (2, datum)) => list.push(value("string", datum, depth)?),
            _ => {}
        }
    }
    Ok(match schema {
        _ if !list.is_empty() => list.into(),
        Some(schema) => schema,
        None if kind == "schemaorbool" => allows.into(),
        None => Value::Null,
    })
}

/// JSON within protobuf.
fn raw(bytes: &[u8]) -> Result<Value, Malformed> {
    for field in Reader::new(bytes) {
        if let (1, Datum::Bytes(json)) = field? {
            return serde_json::from_slice(json)
                .map_err(|error| Malformed(format!("a raw field is no JSON: {error}")));
        }
    }
    Ok(Value::Null)
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Malformed> {
    let (mut is_string, mut number, mut text) = (false, 0, String::new());
    for field in Reader::new(bytes) {
        match field? {
            (1, Datum::Varint(kind)) => is_string = kind == 1,
            (2, Datum::Varint(value)) => number = value as u32 as i32,
            (3, Datum::Bytes(value)) => text = string(value)?,
            _ => {}
        }
    }
    Ok(if is_string { text.into() } else { number.into() })
}

#[cfg(test)]
mod tests;
