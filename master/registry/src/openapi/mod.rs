//! OpenAPI v3: an index and one document for each group and version. OpenAPI v2: one document of all.
//!
//! What stock kubectl reads of it: types for `explain`, merge keys for `apply`, and the query
//! parameter `fieldValidation` to learn that the server validates.

mod components;
mod custom;
mod paths;
mod proto;
mod v2;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::resource::Resource;

/// Bytes to serve as `application/json`, and what identifies them.
#[derive(Clone, Debug)]
pub struct Document {
    pub bytes: Bytes,
    /// Hexadecimal hash of the bytes: the `ETag`, and `hash=` in the index.
    pub hash: Arc<str>,
}

impl Document {
    fn of(bytes: Vec<u8>) -> Self {
        let hash = Sha256::digest(&bytes).into_iter().map(|byte| format!("{byte:02X}"));
        let hash: Arc<str> = hash.collect::<String>().into();
        Self { bytes: bytes.into(), hash }
    }
}

/// The documents of a set of resources, made when first asked for.
#[derive(Debug)]
pub struct OpenApi {
    builtin: Arc<Builtin>,
    /// By path; of kinds that did not change it is the same value in every set.
    custom: BTreeMap<String, Arc<custom::Lazy>>,
    /// Of everything, in the older notation: as JSON, and as protobuf.
    v2: OnceLock<[Document; 2]>,
}

#[derive(Debug)]
struct Builtin {
    resources: Vec<Arc<Resource>>,
    documents: OnceLock<BTreeMap<String, Document>>,
}

impl OpenApi {
    fn of(builtin: Arc<Builtin>) -> Self {
        Self { builtin, custom: BTreeMap::new(), v2: OnceLock::new() }
    }

    pub fn new(resources: Vec<Arc<Resource>>) -> Self {
        let builtin = Arc::new(Builtin { resources, documents: OnceLock::new() });
        Self::of(builtin)
    }

    /// The documents of built-in resources and of those that users define; `before` is the last such
    /// set, of which everything that still holds is kept.
    pub fn with_custom(
        builtin: &[Arc<Resource>],
        custom: &[Arc<Resource>],
        before: Option<&Self>,
    ) -> Self {
        let mut api = match before {
            Some(before) => Self::of(before.builtin.clone()),
            None => Self::new(builtin.to_vec()),
        };
        let known = before.map(|before| &before.custom);
        api.custom = custom::documents(custom, known);
        api
    }

    /// The body of `/openapi/v3`.
    pub fn v3_index(&self) -> Value {
        let custom = self.custom.iter().map(|(path, lazy)| (path, lazy.document()));
        let entries = self.documents().iter().chain(custom).map(|(path, document)| {
            let url = format!("/openapi/v3/{path}?hash={}", document.hash);
            (path.clone(), json!({ "serverRelativeURL": url }))
        });
        json!({ "paths": entries.collect::<Map<String, Value>>() })
    }

    /// The body of `/openapi/v3/<path>`, where the path is `api/v1` or `apis/<group>/<version>`.
    pub fn v3(&self, path: &str) -> Option<Document> {
        let path = path.trim_matches('/');
        match self.custom.get(path) {
            Some(lazy) => Some(lazy.document().clone()),
            None => self.documents().get(path).cloned(),
        }
    }

    /// The body of `/openapi/v2`, of a server that calls itself `version`.
    pub fn v2(&self, version: &str) -> Document {
        self.both(version)[0].clone()
    }

    /// The same in protobuf.
    pub fn v2_protobuf(&self, version: &str) -> Document {
        self.both(version)[1].clone()
    }

    fn both(&self, version: &str) -> &[Document; 2] {
        self.v2.get_or_init(|| {
            let document = v2::document(&self.builtin.resources, &self.custom, version);
            let protobuf = Document::of(proto::document(&document));
            [Document::of(document.to_string().into_bytes()), protobuf]
        })
    }

    fn documents(&self) -> &BTreeMap<String, Document> {
        self.builtin.documents.get_or_init(|| build(&self.builtin.resources))
    }
}

/// `api/v1`, `apis/apps/v1`.
pub fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn build(resources: &[Arc<Resource>]) -> BTreeMap<String, Document> {
    let definitions = components::all(resources);
    let mut groups: BTreeMap<String, Vec<&Resource>> = BTreeMap::new();
    for resource in resources {
        let path = path_of(&resource.group, &resource.version);
        groups.entry(path).or_default().push(resource);
    }
    groups
        .into_iter()
        .map(|(path, resources)| {
            let document = Document::of(document(&path, &resources, &definitions));
            (path, document)
        })
        .collect()
}

fn document(path: &str, resources: &[&Resource], definitions: &Map<String, Value>) -> Vec<u8> {
    let mut paths = Map::new();
    for resource in resources {
        paths::of(resource, path, &mut paths);
    }
    let paths = Value::Object(paths);
    let mut needed = BTreeSet::new();
    collect(&paths, definitions, &mut needed);
    let schemas: Map<String, Value> = needed
        .into_iter()
        .filter_map(|name| Some((name.clone(), definitions.get(&name)?.clone())))
        .collect();
    let document = json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerToken": {
                "type": "apiKey", "name": "authorization", "in": "header",
                "description": "Bearer Token authentication",
            }},
        },
    });
    document.to_string().into_bytes()
}

/// The names of all types that a value refers to, directly or through other types.
fn collect(value: &Value, definitions: &Map<String, Value>, needed: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                let name = reference.rsplit('/').next().unwrap_or_default();
                if needed.insert(name.to_owned())
                    && let Some(definition) = definitions.get(name)
                {
                    collect(definition, definitions, needed);
                }
            }
            fields.values().for_each(|value| collect(value, definitions, needed));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, definitions, needed)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
