//! One object as a [`Store`](super::Store) holds it: as the text it came in, until somebody wants to see it.
//!
//! A typed object takes several times its text. On a master that does not lead nobody looks at the copies: they are
//! there for the moment when it does.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use kube::core::ObjectMeta;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Watched, key_of};

/// What the store itself has to know of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Shared with the store's order of keys.
    pub(super) key: Arc<str>,
    pub(super) uid: Option<Box<str>>,
    pub(super) resource_version: Option<Box<str>>,
    /// The uid of the controlling owner.
    pub(super) controller: Option<Box<str>>,
}

/// An object.
#[derive(Debug)]
pub struct Held<K> {
    pub(super) head: Head,
    content: Content<K>,
}

#[derive(Debug)]
enum Content<K> {
    Text(Arc<str>),
    /// The text as a server in this process keeps it: without its resourceVersion.
    Shared(Bytes),
    Known(Arc<K>),
    /// Its text is no object of this kind.
    Malformed,
}

/// As much of an object as [`Head`] needs, and what nobody here reads.
#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<Box<str>>,
    resource_version: Option<Box<str>>,
    #[serde(default)]
    owner_references: Vec<Owner>,
    #[serde(borrow)]
    managed_fields: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Owner {
    uid: Box<str>,
    controller: Option<bool>,
}

/// An object as a server in this process keeps it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// `namespace/name`, or `name`.
    pub key: Arc<str>,
    /// As JSON, without its resourceVersion.
    pub text: Bytes,
}

/// Finds what a server in this process keeps under a key with a resourceVersion.
pub type Keeper = Arc<dyn Fn(&str, &str) -> Option<Kept> + Send + Sync>;

impl<K: Watched> Held<K> {
    /// Takes over an object's text; only its metadata is read. Where `keeper` has it, its text is not kept twice.
    pub(super) fn of_text(text: &str, keeper: Option<&Keeper>) -> Result<Self, serde_json::Error> {
        let Outline { metadata } = serde_json::from_str(text)?;
        let name = metadata.name.unwrap_or_default();
        let key = match metadata.namespace.filter(|namespace| !namespace.is_empty()) {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name,
        };
        let kept = keeper.zip(metadata.resource_version.as_deref());
        let kept = kept.and_then(|(keeper, version)| keeper(&key, version));
        let mut owners = metadata.owner_references.into_iter();
        let head = Head {
            key: kept.as_ref().map_or_else(|| key.into(), |kept| kept.key.clone()),
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            controller: owners.find(|owner| owner.controller == Some(true)).map(|owner| owner.uid),
        };
        let content = match (kept, metadata.managed_fields) {
            (Some(kept), _) => Content::Shared(kept.text),
            (None, Some(managed)) => Content::Text(without(text, managed.get()).into()),
            (None, None) => Content::Text(text.into()),
        };
        Ok(Self { head, content })
    }

    /// The object, decoded from its text when first asked for; `None` if it is malformed.
    pub(super) fn get(&mut self) -> Option<Arc<K>> {
        let decoded: Result<K, _> = match &self.content {
            Content::Text(text) => decode(text),
            Content::Shared(text) => decode_kept(text, self.head.resource_version.as_deref()),
            Content::Known(object) => return Some(object.clone()),
            Content::Malformed => return None,
        };
        match decoded {
            Ok(object) => {
                let object = Arc::new(object);
                self.content = Content::Known(object.clone());
                Some(object)
            }
            Err(error) => {
                tracing::error!(key = %self.head.key, %error, "object is not of its kind");
                self.content = Content::Malformed;
                None
            }
        }
    }

    /// Whether nobody has looked at it.
    #[cfg(test)]
    pub(super) fn is_text(&self) -> bool {
        matches!(self.content, Content::Text(_) | Content::Shared(_))
    }
}

impl<K: Watched> From<K> for Held<K> {
    fn from(object: K) -> Self {
        let meta: &ObjectMeta = object.meta();
        let mut owners = meta.owner_references.iter().flatten();
        let head = Head {
            key: key_of(&object).into(),
            uid: meta.uid.as_deref().map(Box::from),
            resource_version: meta.resource_version.as_deref().map(Box::from),
            controller: owners
                .find(|owner| owner.controller == Some(true))
                .map(|owner| owner.uid.as_str().into()),
        };
        Self { head, content: Content::Known(Arc::new(unmanaged(object))) }
    }
}

fn decode<K: Watched>(text: &str) -> Result<K, serde_json::Error> {
    serde_json::from_str(text).map(unmanaged)
}

fn decode_kept<K: Watched>(
    text: &[u8],
    resource_version: Option<&str>,
) -> Result<K, serde_json::Error> {
    let text = str::from_utf8(text).map_err(serde::de::Error::custom)?;
    let Outline { metadata } = serde_json::from_str(text)?;
    let mut object: K = match metadata.managed_fields {
        // To decode them costs more than all the rest.
        Some(managed) => decode(&without(text, managed.get()))?,
        None => decode(text)?,
    };
    object.meta_mut().resource_version = resource_version.map(str::to_owned);
    Ok(object)
}

/// Without the owners of fields: nobody here reads them, and they are large.
fn unmanaged<K: Watched>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// `text` without its member `managedFields`, whose value is this part of it. Left in if it is not written as servers
/// write it: it only costs memory.
fn without<'a>(text: &'a str, value: &str) -> Cow<'a, str> {
    const KEY: &str = "\"managedFields\":";
    let start = value.as_ptr() as usize - text.as_ptr() as usize;
    let (before, after) = (&text[..start], &text[start + value.len()..]);
    match (before.strip_suffix(KEY), after.strip_prefix(',')) {
        (Some(before), Some(after)) => [before, after].concat().into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": []}, "metadata": {
        "name": name, "namespace": "d", "uid": "u", "resourceVersion": "7",
        "managedFields": [{"manager": "m", "fieldsV1": {"f:\"spec\"],": {}}}],
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "x"},
            {"apiVersion": "v1", "kind": "Y", "name": "y", "uid": "y", "controller": true},
        ]}})
    }

    #[test]
    fn text_and_object_are_known_by_the_same_head() {
        for object in [pod("p"), json!({"metadata": {"name": "cluster"}})] {
            let of_text = Held::<Pod>::of_text(&object.to_string(), None).unwrap();
            let of_object = Held::<Pod>::from(serde_json::from_value::<Pod>(object).unwrap());
            assert!(of_text.is_text() && !of_object.is_text());
            assert_eq!(of_text.head, of_object.head);
        }
    }

    #[test]
    fn text_is_kept_without_the_owners_of_fields_and_decodes_to_the_object() {
        for text in [pod("p").to_string(), format!("{:#}", pod("p"))] {
            let mut held = Held::<Pod>::of_text(&text, None).unwrap();
            let Content::Text(kept) = &held.content else { panic!("decoded too early") };
            assert_eq!(kept.contains("managedFields"), text.contains('\n'));
            let expected: Pod = serde_json::from_str(&text).unwrap();
            assert_eq!(*held.get().unwrap(), unmanaged(expected));
            assert!(!held.is_text());
        }
    }

    #[test]
    fn text_that_a_server_keeps_is_not_kept_twice_and_decodes_to_the_object() {
        let served = pod("p").to_string();
        let mut stored = pod("p");
        stored["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        let kept = Kept { key: "d/p".into(), text: stored.to_string().into() };
        let keeper: Keeper = {
            let kept = kept.clone();
            Arc::new(move |key, version| ((key, version) == ("d/p", "7")).then(|| kept.clone()))
        };
        let mut held = Held::<Pod>::of_text(&served, Some(&keeper)).unwrap();
        let Content::Shared(text) = &held.content else { panic!("kept twice") };
        assert_eq!(text.as_ptr(), kept.text.as_ptr());
        assert!(Arc::ptr_eq(&held.head.key, &kept.key));
        let mut own = Held::<Pod>::of_text(&served, None).unwrap();
        assert_eq!(held.head, own.head);
        assert_eq!(held.get(), own.get());
        // A server may have another version by now.
        let newer = served.replace(r#""resourceVersion":"7""#, r#""resourceVersion":"6""#);
        let held = Held::<Pod>::of_text(&newer, Some(&keeper)).unwrap();
        assert!(matches!(held.content, Content::Text(_)));
    }

    #[test]
    fn what_is_not_of_its_kind_is_no_object() {
        let mut held =
            Held::<Pod>::of_text(r#"{"metadata": {"name": "p"}, "spec": 7}"#, None).unwrap();
        assert!(held.get().is_none() && held.get().is_none());
        assert!(Held::<Pod>::of_text("{}", None).is_err());
    }
}
