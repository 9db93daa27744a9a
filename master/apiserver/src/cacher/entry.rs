//! One version of one object: the store's own bytes, and what is read off them once.
//!
//! The store keeps objects without a resourceVersion (it is the key's revision), with `metadata`
//! first; so the served form is made by one copy, without parsing, and nothing of it is kept. What
//! selectors look at is kept; the decoded form is kept for the current version, if somebody asked.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use store_handle::{KeyValue, Revision};

/// How stored objects begin; see [`encode`].
const HEAD: &[u8] = b"{\"metadata\":{";
const VERSION: &[u8] = b"\"resourceVersion\":\"";
/// Bytes of a revision in digits, at most.
const REVISION_MAX: usize = 20;

/// The revision of what was only tried: it is served without a resourceVersion.
pub const UNSTORED: Revision = 0;

/// One version of one object.
#[derive(Debug)]
pub struct Entry {
    /// The key after the resource's prefix: `namespace/name` or `name`.
    pub key: Arc<str>,
    /// The revision that wrote this version; it is the served resourceVersion.
    pub revision: Revision,
    /// The object without its resourceVersion, shared with the store.
    stored: Bytes,
    value: OnceLock<Arc<Value>>,
    /// Apart: most objects are never asked for by a selector, and there may be a hundred thousand.
    seen: OnceLock<Box<Seen>>,
}

/// What selectors look at; a hundredth of a decoded object.
#[derive(Clone, Debug, Default)]
struct Seen {
    labels: OnceLock<BTreeMap<String, String>>,
    fields: OnceLock<BTreeMap<String, String>>,
}

/// As much of an object's metadata as selectors by label need.
#[derive(Deserialize)]
struct Labelled {
    labels: Option<BTreeMap<String, String>>,
}

impl Entry {
    /// The entry of a stored key and value; `key` is the part after the resource's prefix.
    pub fn new(key: Arc<str>, kv: &KeyValue) -> Self {
        Self::from_stored(key, &kv.value, kv.mod_revision)
    }

    /// The entry of a stored value at a revision.
    pub fn from_stored(key: Arc<str>, stored: &Bytes, revision: Revision) -> Self {
        let stored = if stored.starts_with(HEAD) && stored.get(HEAD.len()) == Some(&b'"') {
            stored.clone()
        } else {
            recode(&key, stored)
        };
        Self { key, revision, stored, value: OnceLock::new(), seen: OnceLock::new() }
    }

    /// The same version once it is replaced: what was decoded for it is let go.
    pub fn replaced(self: Arc<Self>) -> Arc<Self> {
        if self.value.get().is_none() {
            return self;
        }
        let (key, stored, seen) = (self.key.clone(), self.stored.clone(), self.seen.clone());
        Arc::new(Self { key, revision: self.revision, stored, value: OnceLock::new(), seen })
    }

    /// The object as JSON, with its resourceVersion.
    pub fn json(&self) -> Bytes {
        self.json_at(self.revision)
    }

    /// The same object with another resourceVersion, as sent when it is deleted.
    pub fn json_at(&self, revision: Revision) -> Bytes {
        let mut json = BytesMut::with_capacity(self.json_len_max());
        self.write_json(&mut json, revision);
        json.freeze()
    }

    /// Writes the object as JSON with this resourceVersion.
    pub fn write_json(&self, out: &mut BytesMut, revision: Revision) {
        write_head(out, revision);
        out.put_slice(&self.stored[HEAD.len()..]);
    }

    /// Writes how the object as JSON begins; returns how it goes on: the store's own bytes.
    pub fn write_head(&self, out: &mut BytesMut) -> Bytes {
        write_head(out, self.revision);
        self.stored.slice(HEAD.len()..)
    }

    /// The length of the object as JSON, or a little more.
    pub fn json_len_max(&self) -> usize {
        self.stored.len() + VERSION.len() + REVISION_MAX + 2
    }

    /// The decoded object, with its resourceVersion. It is kept: decoded, an object is ten times as large.
    pub fn value(&self) -> &Arc<Value> {
        self.value.get_or_init(|| self.decode())
    }

    /// The same, not kept: for a version that is about to be replaced, or one of many.
    pub fn value_once(&self) -> Arc<Value> {
        self.value.get().cloned().unwrap_or_else(|| self.decode())
    }

    #[cfg(test)]
    pub(super) fn is_decoded(&self) -> bool {
        self.value.get().is_some()
    }

    fn decode(&self) -> Arc<Value> {
        let mut value: Value = serde_json::from_slice(&self.stored).unwrap_or_else(|error| {
            tracing::error!(key = %self.key, revision = self.revision, %error, "stored object is no JSON");
            Value::Null
        });
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
            && self.revision != UNSTORED
        {
            metadata.insert("resourceVersion".to_owned(), self.revision.to_string().into());
        }
        Arc::new(value)
    }

    fn seen(&self) -> &Seen {
        self.seen.get_or_init(Box::default)
    }

    /// The labels; nothing else is decoded for them.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        self.seen().labels.get_or_init(|| {
            let mut metadata = serde_json::Deserializer::from_slice(&self.stored[HEAD.len() - 1..]);
            let labelled = Labelled::deserialize(&mut metadata);
            labelled.ok().and_then(|labelled| labelled.labels).unwrap_or_default()
        })
    }

    /// The fields that this kind of object can be selected by: `read` reads them off the decoded object.
    /// To be asked for by one way of reading only.
    pub fn fields(
        &self,
        read: impl FnOnce(&Value) -> BTreeMap<String, String>,
    ) -> &BTreeMap<String, String> {
        self.seen().fields.get_or_init(|| read(&self.value_once()))
    }

    /// The object as it is stored: without its resourceVersion.
    pub fn stored(&self) -> &Bytes {
        &self.stored
    }

    /// Whether a stored form is this very object.
    pub fn is_stored_as(&self, stored: &[u8]) -> bool {
        self.stored == stored
    }

    /// The object's metadata as an object of its own, as it is served; nothing is decoded for it.
    pub fn partial_json(&self) -> Bytes {
        self.partial_json_at(self.revision)
    }

    /// The same with another resourceVersion.
    pub fn partial_json_at(&self, revision: Revision) -> Bytes {
        const START: &[u8] =
            br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"#;
        let from_metadata = &self.stored[HEAD.len() - 1..];
        let mut values =
            serde_json::Deserializer::from_slice(from_metadata).into_iter::<IgnoredAny>();
        assert!(matches!(values.next(), Some(Ok(_))), "every entry begins with its metadata");
        let metadata = &from_metadata[1..values.byte_offset()];
        let mut json = BytesMut::with_capacity(START.len() + metadata.len() + 64);
        json.put_slice(START);
        write_version(&mut json, revision);
        json.put_slice(metadata);
        json.put_u8(b'}');
        json.freeze()
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

/// An object's stored form: without resourceVersion, `metadata` first. Exactly as long as it is: it is kept.
pub fn encode(object: &Value) -> Bytes {
    let empty = Map::new();
    let fields = object.as_object().unwrap_or(&empty);
    let mut out = Vec::with_capacity(2048);
    let mut write = |bytes: &[u8], value: Option<(&str, &Value)>| {
        out.extend_from_slice(bytes);
        if let Some((key, value)) = value {
            serde_json::to_writer(&mut out, key).expect("memory takes it");
            out.push(b':');
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
    Bytes::copy_from_slice(&out)
}

/// How an object at this revision begins as it is served; what follows the head of its stored form follows.
fn write_head(out: &mut BytesMut, revision: Revision) {
    if revision == UNSTORED {
        out.put_slice(HEAD);
        return;
    }
    out.put_slice(HEAD);
    write_version(out, revision);
}

fn write_version(out: &mut BytesMut, revision: Revision) {
    out.put_slice(VERSION);
    out.put_slice(revision.to_string().as_bytes());
    out.put_slice(b"\",");
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
    fn what_selectors_look_at_keeps_no_decoded_object() {
        let object = json!({"kind": "Pod", "spec": {"nodeName": "n"},
            "metadata": {"name": "p", "labels": {"a": "b"}}});
        let entry = Entry::from_stored("d/p".into(), &encode(&object), 8);
        assert_eq!(entry.labels(), &BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        let node = |pod: &Value| [("n".to_owned(), pod["spec"]["nodeName"].to_string())].into();
        assert_eq!(entry.fields(node)["n"], "\"n\"");
        assert!(entry.value.get().is_none());
        let bare =
            Entry::from_stored("d/q".into(), &encode(&json!({"metadata": {"name": "q"}})), 8);
        assert!(bare.labels().is_empty());
    }

    #[test]
    fn replaced_version_lets_go_of_what_was_decoded() {
        let object = json!({"metadata": {"name": "p", "labels": {"a": "b"}}});
        let entry = Arc::new(Entry::from_stored("d/p".into(), &encode(&object), 8));
        assert_eq!(entry.value()["metadata"]["resourceVersion"], "8");
        let replaced = entry.clone().replaced();
        assert!(replaced.value.get().is_none());
        assert_eq!((replaced.json(), replaced.labels()), (entry.json(), entry.labels()));
    }

    #[test]
    fn head_and_rest_are_the_object() {
        let stored = encode(&json!({"metadata": {"name": "p"}, "spec": {}}));
        let entry = Entry::from_stored("d/p".into(), &stored, 8);
        let mut head = BytesMut::new();
        let rest = entry.write_head(&mut head);
        assert_eq!([&head[..], &rest[..]].concat(), entry.json());
        assert!(stored.as_ptr_range().contains(&rest.as_ptr()), "the store's own bytes");
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
