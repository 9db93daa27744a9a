//! One version of one object, as it is served: bytes with the resourceVersion in place.
//!
//! The store keeps objects without a resourceVersion (it is the key's revision), with `metadata`
//! first; so the served form is made by one copy, without parsing. The decoded form is made when a
//! selector or a controller first asks, and shared from then on.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use store_handle::{KeyValue, Revision};

/// How stored objects begin; see [`encode`].
const HEAD: &[u8] = b"{\"metadata\":{";
const VERSION: &[u8] = b"\"resourceVersion\":\"";

/// One version of one object.
#[derive(Debug)]
pub struct Entry {
    /// The key after the resource's prefix: `namespace/name` or `name`.
    pub key: Arc<str>,
    /// The revision that wrote this version; it is the served resourceVersion.
    pub revision: Revision,
    /// The object as JSON, with its resourceVersion: ready to send.
    pub json: Bytes,
    /// Where the stored form goes on after the resourceVersion.
    rest_at: usize,
    value: OnceLock<Arc<Value>>,
}

impl Entry {
    /// The entry of a stored key and value; `key` is the part after the resource's prefix.
    pub fn new(key: Arc<str>, kv: &KeyValue) -> Self {
        Self::from_stored(key, &kv.value, kv.mod_revision)
    }

    /// The entry of a stored value at a revision.
    pub fn from_stored(key: Arc<str>, stored: &Bytes, revision: Revision) -> Self {
        let canonical;
        let stored = if stored.starts_with(HEAD) && stored.get(HEAD.len()) == Some(&b'"') {
            stored
        } else {
            canonical = recode(&key, stored);
            &canonical
        };
        let (json, rest_at) = splice(&stored[HEAD.len()..], revision);
        Self { key, revision, json, rest_at, value: OnceLock::new() }
    }

    /// The decoded object, with its resourceVersion. It is kept: decoded, an object is ten times as large.
    pub fn value(&self) -> &Arc<Value> {
        self.value.get_or_init(|| self.decode())
    }

    /// The same, not kept: for a version that is about to be replaced.
    pub fn value_once(&self) -> Arc<Value> {
        self.value.get().cloned().unwrap_or_else(|| self.decode())
    }

    fn decode(&self) -> Arc<Value> {
        Arc::new(serde_json::from_slice(&self.json).unwrap_or_else(|error| {
            tracing::error!(key = %self.key, revision = self.revision, %error, "stored object is no JSON");
            Value::Null
        }))
    }

    /// The same object with another resourceVersion, as sent when it is deleted.
    pub fn json_at(&self, revision: Revision) -> Bytes {
        splice(&self.json[self.rest_at..], revision).0
    }

    /// Whether a stored form is this very object.
    pub fn is_stored_as(&self, stored: &[u8]) -> bool {
        stored.get(HEAD.len()..) == Some(&self.json[self.rest_at..])
    }

    /// The object's metadata as an object of its own, as it is served; nothing is decoded for it.
    pub fn partial_json(&self) -> Bytes {
        partial_json(&self.json)
    }

    /// The namespace, empty for a cluster-scoped object.
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&*self.key, |(_, name)| name)
    }
}

/// An object's stored form: without resourceVersion, `metadata` first.
pub fn encode(object: &Value) -> Bytes {
    let empty = Map::new();
    let fields = object.as_object().unwrap_or(&empty);
    let mut out = BytesMut::with_capacity(512).writer();
    let mut write = |bytes: &[u8], value: Option<(&str, &Value)>| {
        out.get_mut().put_slice(bytes);
        if let Some((key, value)) = value {
            serde_json::to_writer(&mut out, key).expect("memory takes it");
            out.get_mut().put_u8(b':');
            serde_json::to_writer(&mut out, value).expect("memory takes it");
        }
    };
    write(HEAD, None);
    let metadata = fields.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let mut separator: &[u8] = b"";
    for (key, value) in metadata.iter().filter(|(key, _)| *key != "resourceVersion") {
        write(separator, Some((key, value)));
        separator = b",";
    }
    write(b"}", None);
    for (key, value) in fields.iter().filter(|(key, _)| *key != "metadata") {
        write(b",", Some((key, value)));
    }
    write(b"}", None);
    out.into_inner().freeze()
}

/// A `PartialObjectMetadata` of an object as it is served: what its `metadata` holds is copied as it stands.
pub fn partial_json(served: &[u8]) -> Bytes {
    const START: &[u8] =
        br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#;
    let from_metadata = &served[HEAD.len() - 1..];
    let mut values = serde_json::Deserializer::from_slice(from_metadata).into_iter::<IgnoredAny>();
    assert!(matches!(values.next(), Some(Ok(_))), "every entry begins with its metadata");
    let metadata = &from_metadata[..values.byte_offset()];
    let mut json = BytesMut::with_capacity(START.len() + metadata.len() + 1);
    json.put_slice(START);
    json.put_slice(metadata);
    json.put_u8(b'}');
    json.freeze()
}

/// `rest` is what follows the head of a stored object.
fn splice(rest: &[u8], revision: Revision) -> (Bytes, usize) {
    let digits = revision.to_string();
    let head = HEAD.len() + VERSION.len() + digits.len() + 2;
    let mut json = BytesMut::with_capacity(head + rest.len());
    json.put_slice(HEAD);
    json.put_slice(VERSION);
    json.put_slice(digits.as_bytes());
    json.put_slice(b"\",");
    json.put_slice(rest);
    (json.freeze(), head)
}

/// Brings a value that somebody else wrote into the stored form.
fn recode(key: &str, stored: &[u8]) -> Bytes {
    let mut value: Value = serde_json::from_slice(stored).unwrap_or(Value::Null);
    if !value.is_object() {
        tracing::error!(key, "stored value is no object");
        value = Value::Object(Map::new());
    }
    let name = key.split_once('/').map_or(key, |(_, name)| name);
    if value["metadata"]["name"].is_null() {
        value["metadata"] = serde_json::json!({ "name": name });
    }
    encode(&value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn partial_form_is_the_metadata_and_decodes_nothing() {
        let object = json!({"kind": "Pod", "apiVersion": "v1", "spec": {"a": 1},
            "metadata": {"name": "p}\"", "labels": {"a": "}"}, "managedFields": [{"manager": "m"}]}});
        let entry = Entry::from_stored("d/p".into(), &encode(&object), 8);
        let partial: Value = serde_json::from_slice(&entry.partial_json()).unwrap();
        let mut metadata = object["metadata"].clone();
        metadata["resourceVersion"] = "8".into();
        assert_eq!(
            partial,
            json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            })
        );
        assert!(entry.value.get().is_none());
    }

    #[test]
    fn stored_form_has_no_version_and_the_served_form_has_it() {
        let object = json!({"kind": "Pod", "apiVersion": "v1", "spec": {"a": 1},
            "metadata": {"name": "p", "resourceVersion": "77", "labels": {"a": "b"}}});
        let stored = encode(&object);
        assert!(!stored.windows(15).any(|w| w == b"resourceVersion"));
        let entry = Entry::from_stored("ns/p".into(), &stored, 9);
        let mut expected = object.clone();
        expected["metadata"]["resourceVersion"] = json!("9");
        assert_eq!(**entry.value(), expected);
        expected["metadata"]["resourceVersion"] = json!("1234");
        let later: Value = serde_json::from_slice(&entry.json_at(1234)).unwrap();
        assert_eq!(later, expected);
        assert_eq!((entry.namespace(), entry.name()), ("ns", "p"));
    }

    #[test]
    fn value_that_somebody_else_wrote_is_served_all_the_same() {
        for stored in [
            &b"{\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"}}"[..],
            b"garbage",
            b"{\"metadata\":{}}",
        ] {
            let entry = Entry::from_stored("p".into(), &Bytes::copy_from_slice(stored), 3);
            assert_eq!(entry.value()["metadata"]["name"], "p");
            assert_eq!(entry.value()["metadata"]["resourceVersion"], "3");
        }
    }
}
