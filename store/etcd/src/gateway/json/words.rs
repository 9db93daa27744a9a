//! What is wrong with a request's JSON, in the words of etcd's gateway.
//!
//! It is looked for only once the request has been refused; what is good is never read twice.

use std::fmt;

use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

/// The keys and values of an object, in their order.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

/// Why this is no message of that kind; `otherwise` if it cannot be said.
pub(super) fn explain(kind: &MessageDescriptor, json: &[u8], otherwise: &str) -> String {
    let Ok(text) = std::str::from_utf8(json) else { return "proto: invalid UTF-8".into() };
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    match values.next() {
        Some(Ok(value)) => in_message(kind, value, text),
        Some(Err(error)) => syntax(text, &error),
        None => None,
    }
    .unwrap_or_else(|| otherwise.to_owned())
}

/// As Go's scanner says it.
fn syntax(text: &str, error: &serde_json::Error) -> Option<String> {
    if error.classify() == Category::Eof {
        return Some("unexpected EOF".into());
    }
    let line = text.lines().nth(error.line().checked_sub(1)?)?;
    let found = line.get(error.column().checked_sub(1)?..)?.chars().next()?;
    let said = error.to_string();
    let places = [
        ("expected value", "looking for beginning of value"),
        ("key must be a string", "looking for beginning of object key string"),
        ("trailing comma", "looking for beginning of object key string"),
        ("expected `:`", "after object key"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
    ];
    let (_, place) = places.iter().find(|(theirs, _)| said.starts_with(theirs))?;
    Some(format!("invalid character {found:?} {place}"))
}

/// As protobuf's reader says it: the first value that does not fit.
fn in_message(kind: &MessageDescriptor, value: &RawValue, text: &str) -> Option<String> {
    if !value.get().starts_with('{') {
        return Some(unexpected(value, text));
    }
    let Pairs(pairs) = serde_json::from_str(value.get()).ok()?;
    pairs.into_iter().find_map(|(key, value)| {
        let field = kind.get_field_by_json_name(&key).or_else(|| kind.get_field_by_name(&key))?;
        in_field(kind, &field, &key, value, text)
    })
}

fn in_field(
    of: &MessageDescriptor,
    field: &FieldDescriptor,
    key: &str,
    value: &RawValue,
    text: &str,
) -> Option<String> {
    if value.get() == "null" || is_good(of, &format!("{{{key:?}:{}}}", value.get())) {
        return None;
    }
    let mut values = vec![value];
    if field.is_list() {
        match serde_json::from_str(value.get()) {
            Ok(all) => values = all,
            Err(_) => return Some(unexpected(value, text)),
        }
    }
    values.into_iter().find_map(|value| match field.kind() {
        Kind::Message(kind) => in_message(&kind, value, text),
        kind => {
            let listed =
                if field.is_list() { format!("[{}]", value.get()) } else { value.get().into() };
            let is_bad = !is_good(of, &format!("{{{key:?}:{listed}}}"));
            is_bad.then(|| {
                let (place, token, name) = (place(value, text), token(value), field.json_name());
                format!("proto: {place}: invalid value for {} field {name}: {token}", named(&kind))
            })
        }
    })
}

fn is_good(kind: &MessageDescriptor, json: &str) -> bool {
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let mut reader = serde_json::Deserializer::from_str(json);
    DynamicMessage::deserialize_with_options(kind.clone(), &mut reader, &options).is_ok()
}

fn unexpected(value: &RawValue, text: &str) -> String {
    format!("proto: syntax error {}: unexpected token {}", place(value, text), token(value))
}

/// A value, or what it begins with.
fn token(value: &RawValue) -> &str {
    let text = value.get();
    if text.starts_with(['{', '[']) { &text[..1] } else { text }
}

/// Both count from one.
fn place(value: &RawValue, text: &str) -> String {
    // A value is a part of the text it was read from.
    let at = (value.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("(line {line}:{column})")
}

/// As the protocol's files name it.
fn named(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bytes => "bytes",
        Kind::String => "string",
        Kind::Bool => "bool",
        Kind::Int64 => "int64",
        Kind::Uint64 => "uint64",
        Kind::Int32 => "int32",
        Kind::Uint32 => "uint32",
        Kind::Enum(_) => "enum",
        Kind::Double => "double",
        Kind::Float => "float",
        Kind::Sint32 => "sint32",
        Kind::Sint64 => "sint64",
        Kind::Fixed32 => "fixed32",
        Kind::Fixed64 => "fixed64",
        Kind::Sfixed32 => "sfixed32",
        Kind::Sfixed64 => "sfixed64",
        Kind::Message(_) => "message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_in_the_gateways_words() {
        let method = super::super::method("/etcdserverpb.KV/Txn").unwrap();
        let range = super::super::method("/etcdserverpb.KV/Range").unwrap();
        // As etcd 3.6.16 answers them.
        #[rustfmt::skip]
        let cases = [
            (&range,  r#"{"key":"Zm9v","range_end":"!!"}"#,       r#"proto: (line 1:27): invalid value for bytes field rangeEnd: "!!""#),
            (&range,  r#"{"key":5}"#,                             "proto: (line 1:8): invalid value for bytes field key: 5"),
            (&range,  r#"{"key":"Zm9v","limit":"x"}"#,            r#"proto: (line 1:23): invalid value for int64 field limit: "x""#),
            (&range,  r#"{"key":"Zm9v","limit":1.5}"#,            "proto: (line 1:23): invalid value for int64 field limit: 1.5"),
            (&range,  r#"{"key":"Zm9v","serializable":"yes"}"#,   r#"proto: (line 1:30): invalid value for bool field serializable: "yes""#),
            (&range,  "[1]",                                      "proto: syntax error (line 1:1): unexpected token ["),
            (&range,  r#"{"key":"Zm9v""#,                         "unexpected EOF"),
            (&range,  "hello",                                    "invalid character 'h' looking for beginning of value"),
            (&range,  "{\"key\":\n {}}",                          "proto: (line 2:2): invalid value for bytes field key: {"),
            (&method, r#"{"success":[{"request_put":{"key":7}}]}"#, "proto: (line 1:35): invalid value for bytes field key: 7"),
            (&method, r#"{"success":5}"#,                         "proto: syntax error (line 1:12): unexpected token 5"),
        ];
        for (method, json, expected) in cases {
            assert_eq!(explain(&method.input(), json.as_bytes(), "?"), expected, "{json}");
        }
    }
}
