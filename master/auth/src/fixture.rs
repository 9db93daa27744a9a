//! Objects for tests: a reader over a map, with the words that the tests use for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use master_api::access::{Attributes, Identity, Reader};
use parking_lot::RwLock;
use serde_json::{Value, json};

use crate::json::text;

type Key = (String, String, String, String);

/// A reader whose objects tests may change.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    objects: RwLock<BTreeMap<Key, Arc<Value>>>,
}

impl Objects {
    /// What every cluster begins with.
    pub(crate) fn of_a_new_cluster() -> Arc<Self> {
        let objects = Self::default();
        for object in crate::policy::objects() {
            objects.put(object);
        }
        Arc::new(objects)
    }

    pub(crate) fn with(objects: impl IntoIterator<Item = Value>) -> Arc<Self> {
        let reader = Self::default();
        for object in objects {
            reader.put(object);
        }
        Arc::new(reader)
    }

    pub(crate) fn put(&self, object: Value) {
        self.objects.write().insert(key(&object), Arc::new(object));
    }

    pub(crate) fn remove(&self, object: &Value) {
        self.objects.write().remove(&key(object));
    }
}

impl Reader for Objects {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = (group.to_owned(), resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.read().get(&key).cloned()
    }

    fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let objects = self.objects.read();
        let wanted = objects.iter().filter(|((g, r, n, _), _)| {
            g == group && r == resource && namespace.is_none_or(|namespace| n == namespace)
        });
        wanted.map(|(_, object)| Arc::clone(object)).collect()
    }
}

fn key(object: &Value) -> Key {
    let group = text(object, "/apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
    let kind = text(object, "/kind").to_lowercase();
    let plural = match (kind.strip_suffix("ss"), kind.strip_suffix('y')) {
        (Some(_), _) => format!("{kind}es"),
        (None, Some(stem)) if stem.ends_with('c') => format!("{stem}ies"),
        _ => format!("{kind}s"),
    };
    let field = |name: &str| text(object, &format!("/metadata/{name}")).to_owned();
    (group.to_owned(), plural, field("namespace"), field("name"))
}

/// An object of the core group: `core("Pod", "ns/name")`, with uid `uid-of-name`.
pub(crate) fn core(kind: &str, full_name: &str) -> Value {
    let (namespace, name) = full_name.split_once('/').unwrap_or(("", full_name));
    let mut object = json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": { "name": name, "uid": format!("uid-of-{name}") },
    });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

/// A pod on a node (empty: on none) that runs as service account `runner`.
pub(crate) fn pod(full_name: &str, node: &str) -> Value {
    let mut pod = core("Pod", full_name);
    pod["spec"] = json!({
        "serviceAccountName": "runner",
        "containers": [{ "name": "main", "image": "image" }],
    });
    if !node.is_empty() {
        pod["spec"]["nodeName"] = json!(node);
    }
    pod
}

/// `user group group`.
pub(crate) fn identity(words: &str) -> Identity {
    let mut words = words.split_whitespace().map(str::to_owned);
    Identity {
        user: words.next().unwrap_or_default(),
        groups: words.collect(),
        ..Identity::default()
    }
}

/// The identity of a node's agent.
pub(crate) fn node(name: &str) -> Identity {
    identity(&format!("system:node:{name} system:nodes system:authenticated"))
}

/// `verb group resource[/sub] [namespace/name]` or `verb /path`; `core` is the core group; in place of
/// the name, `ns/` is a namespace and `/name` or `name` an object of the cluster.
pub(crate) fn request(who: &Identity, line: &str) -> Attributes {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut request = Attributes {
        identity: who.clone(),
        verb: words[0].into(),
        version: "v1".into(),
        ..Attributes::default()
    };
    if words[1].starts_with('/') {
        request.path = words[1].into();
        return request;
    }
    let (resource, subresource) = words[2].split_once('/').unwrap_or((words[2], ""));
    let full_name = words.get(3).copied().unwrap_or_default();
    let is_cluster_scoped = resource == "signers"; // whose names have a slash
    let full_name =
        full_name.split_once('/').filter(|_| !is_cluster_scoped).unwrap_or(("", full_name));
    let (namespace, name) = full_name;
    request.group = if words[1] == "core" { "" } else { words[1] }.into();
    request.resource = resource.into();
    request.subresource = subresource.into();
    request.namespace = namespace.into();
    request.name = name.into();
    request
}
