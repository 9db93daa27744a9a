//! One object as a [`Store`](super::Store) holds it: as the text it came in, until somebody wants to see it.
//!
//! A typed pod takes 15 KiB, its text one or two. On a master that does not lead nobody looks at the copies: they are
//! there for the moment when it does. Where a store says so, the text stays beside the typed object, which is let go
//! when others were looked at since.

use std::sync::Arc;

use kube::core::ObjectMeta;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Watched, key_of};

/// What the store itself has to know of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) key: String,
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
    /// The uid of the controlling owner.
    pub(super) controller: Option<String>,
}

/// An object.
#[derive(Debug)]
pub(super) struct Held<K> {
    pub(super) head: Head,
    content: Content<K>,
}

#[derive(Debug)]
enum Content<K> {
    Text(Arc<str>),
    Known(Arc<K>),
    /// The typed object, and the text that it can be made of again.
    Both(Arc<K>, Arc<str>),
    /// Its text is no object of this kind.
    Malformed,
}

/// An object that is looked at, or what it is made of.
#[derive(Debug)]
pub(super) enum Look<K> {
    Known(Arc<K>),
    Text(Arc<str>),
}

impl<K: Watched> Look<K> {
    /// The object; `None` if it is malformed.
    pub(super) fn into_object(self, trim: fn(&mut K)) -> Option<Arc<K>> {
        match self {
            Self::Known(object) => Some(object),
            Self::Text(text) => decode(&text, trim).map(Arc::new).ok(),
        }
    }
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
    uid: Option<String>,
    resource_version: Option<String>,
    #[serde(default)]
    owner_references: Vec<Owner>,
    #[serde(borrow)]
    managed_fields: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Owner {
    uid: String,
    controller: Option<bool>,
}

impl<K: Watched> Held<K> {
    /// Takes over an object's text; only its metadata is read.
    pub(super) fn of_text(text: &str) -> Result<Self, serde_json::Error> {
        let Outline { metadata } = serde_json::from_str(text)?;
        let name = metadata.name.unwrap_or_default();
        let key = match metadata.namespace.filter(|namespace| !namespace.is_empty()) {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name,
        };
        let mut owners = metadata.owner_references.into_iter();
        let head = Head {
            key,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            controller: owners.find(|owner| owner.controller == Some(true)).map(|owner| owner.uid),
        };
        let text: Arc<str> = match metadata.managed_fields {
            Some(managed) => without(text, managed.get()),
            None => text.into(),
        };
        Ok(Self { head, content: Content::Text(text) })
    }

    /// The object, decoded from its text and trimmed when first asked for; `None` if it is malformed. A text of the
    /// trimmed object is kept beside it where `keeps_text`.
    pub(super) fn get(&mut self, trim: fn(&mut K), keeps_text: bool) -> Option<Arc<K>> {
        if let Content::Text(text) = &self.content {
            self.content = match decode(text, trim).map(Arc::new) {
                Ok(object) if keeps_text => {
                    // Without what was trimmed: shorter than what came.
                    let text = serde_json::to_string(&*object).map_or(text.clone(), Arc::from);
                    Content::Both(object, text)
                }
                Ok(object) => Content::Known(object),
                Err(error) => {
                    tracing::error!(key = self.head.key, %error, "object is not of its kind");
                    Content::Malformed
                }
            };
        }
        match &self.content {
            Content::Known(object) | Content::Both(object, _) => Some(object.clone()),
            Content::Text(_) | Content::Malformed => None,
        }
    }

    /// The object, or the text to make it of, of which nothing is kept here.
    pub(super) fn look(&self) -> Option<Look<K>> {
        match &self.content {
            Content::Known(object) | Content::Both(object, _) => Some(Look::Known(object.clone())),
            Content::Text(text) => Some(Look::Text(text.clone())),
            Content::Malformed => None,
        }
    }

    /// Lets go of the typed object, if there is a text to make it of.
    pub(super) fn forget(&mut self) {
        if let Content::Both(_, text) = &self.content {
            self.content = Content::Text(text.clone());
        }
    }

    /// Whether nobody has looked at it, or not lately.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.content, Content::Text(_))
    }
}

impl<K: Watched> From<K> for Held<K> {
    fn from(object: K) -> Self {
        let meta: &ObjectMeta = object.meta();
        let mut owners = meta.owner_references.iter().flatten();
        let head = Head {
            key: key_of(&object),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            controller: owners
                .find(|owner| owner.controller == Some(true))
                .map(|owner| owner.uid.clone()),
        };
        Self { head, content: Content::Known(Arc::new(unmanaged(object))) }
    }
}

fn decode<K: Watched>(text: &str, trim: fn(&mut K)) -> Result<K, serde_json::Error> {
    let mut object = unmanaged(serde_json::from_str(text)?);
    trim(&mut object);
    Ok(object)
}

/// Without the owners of fields: nobody here reads them, and they are large.
fn unmanaged<K: Watched>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// `text` without its member `managedFields`, whose value is this part of it. Left in if it is not written as servers
/// write it: it only costs memory.
fn without(text: &str, value: &str) -> Arc<str> {
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
            let of_text = Held::<Pod>::of_text(&object.to_string()).unwrap();
            let of_object = Held::<Pod>::from(serde_json::from_value::<Pod>(object).unwrap());
            assert!(of_text.is_text() && !of_object.is_text());
            assert_eq!(of_text.head, of_object.head);
        }
    }

    #[test]
    fn text_is_kept_without_the_owners_of_fields_and_decodes_to_the_object() {
        for text in [pod("p").to_string(), format!("{:#}", pod("p"))] {
            let mut held = Held::<Pod>::of_text(&text).unwrap();
            let Content::Text(kept) = &held.content else { panic!("decoded too early") };
            assert_eq!(kept.contains("managedFields"), text.contains('\n'));
            let expected: Pod = serde_json::from_str(&text).unwrap();
            assert_eq!(*held.get(|_| {}, false).unwrap(), unmanaged(expected));
            assert!(!held.is_text());
        }
    }

    #[test]
    fn object_is_let_go_where_its_text_was_kept() {
        let trim: fn(&mut Pod) = |pod| pod.spec = None;
        for keeps_text in [true, false] {
            let mut held = Held::<Pod>::of_text(&pod("p").to_string()).unwrap();
            let first = held.get(trim, keeps_text).unwrap();
            held.forget();
            assert_eq!(held.is_text(), keeps_text);
            let looked = held.look().unwrap().into_object(trim).unwrap();
            assert_eq!((&looked, held.is_text()), (&first, keeps_text), "looking keeps nothing");
            assert!(looked.spec.is_none());
        }
    }

    #[test]
    fn what_is_not_of_its_kind_is_no_object() {
        let mut held = Held::<Pod>::of_text(r#"{"metadata": {"name": "p"}, "spec": 7}"#).unwrap();
        assert!(held.get(|_| {}, false).is_none() && held.get(|_| {}, false).is_none());
        assert!(Held::<Pod>::of_text("{}").is_err());
    }
}
