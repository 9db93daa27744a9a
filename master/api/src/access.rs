//! Who asks, for what, and how rooms read objects without knowing the store.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use serde_json::Value;

/// Who sent a request, after authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// For instance `system:node:node-1`.
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    /// Further facts, for instance the pod a service-account token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What a request wants to do, as authorizers see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub identity: Identity,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for a path
    /// that is no resource, the HTTP method in lower case.
    pub verb: String,
    pub group: String,
    pub version: String,
    /// The plural; empty for a path that is no resource.
    pub resource: String,
    pub subresource: String,
    /// Empty for a cluster-wide request.
    pub namespace: String,
    pub name: String,
    pub path: String,
}

/// Reads the objects of this master's memory: as of the latest applied revision, without waiting.
pub trait Reader: Send + Sync + Debug {
    /// One object. `namespace` is empty for a cluster-scoped kind.
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;

    /// All objects of a resource, in one namespace or (`None`) everywhere, ordered by key.
    fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>>;
}
