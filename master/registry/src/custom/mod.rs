//! Kinds that users define: from a CustomResourceDefinition to resources like any other.
//!
//! Compiled once for each change of a definition. Knows nothing of where definitions are kept.
//!
//! # Path
//! `apiserver/catalog.rs` → here → `Resource`, whose strategy is [`Kind`]

mod before;
pub mod columns;
pub mod default;
pub mod embedded;
pub mod format;
mod kind;
pub mod pattern;
pub mod prune;
pub mod rules;
pub mod structural;
mod unique;
pub mod validate;
pub mod version;

use std::sync::Arc;

use master_api::meta;
use serde_json::Value;

pub use kind::{Kind, ScalePaths};
use structural::Structural;

use crate::resource::{Resource, Subresource, Text};
use crate::schema::Schema;

/// What can be done with objects of a defined kind, in the order in which upstream's discovery has it.
const VERBS: [&str; 8] =
    ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// The group and plural of definitions themselves.
pub const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");

/// What a custom resource has beyond a built-in one.
#[derive(Clone, Debug)]
pub struct Custom {
    pub kind: Arc<Kind>,
    /// The version of the definition that this was made from: writes happen at it or not at all.
    pub revision: i64,
    /// The definition is being deleted: nothing new is taken.
    pub is_terminating: bool,
}

impl Custom {
    /// Whether two resources are of the same specification, whatever else changed of the definition.
    pub fn is_same_kind(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kind, &other.kind)
    }
}

/// Whether what a definition defines is to be served.
pub fn is_established(definition: &Value) -> bool {
    has_condition(definition, "Established")
}

/// Whether a condition is true.
pub fn has_condition(definition: &Value, kind: &str) -> bool {
    let conditions = meta::items(definition, &["status", "conditions"]);
    conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// Compiles the served versions of a definition. `revision` is the definition's.
pub fn compile(definition: &Arc<Value>, revision: i64) -> Vec<Arc<Kind>> {
    let versions = meta::items(definition, &["spec", "versions"]);
    let Some(storage) = versions.iter().find(|version| version["storage"] == true) else {
        return Vec::new();
    };
    let stored = Arc::new(Structural::of_version(storage));
    // Conversion webhooks are not asked: what is not stored cannot be made, and so is not served.
    let needs_webhook = definition["spec"]["conversion"]["strategy"] == "Webhook";
    let is_served = |version: &&Value| {
        version["served"] == true && (!needs_webhook || name(version) == name(storage))
    };
    let mut served: Vec<&Value> = versions.iter().filter(is_served).collect();
    served.sort_by(|left, right| version::compare(name(left), name(right)));
    let kind = |version: &Value| {
        let schema = if name(version) == name(storage) {
            stored.clone()
        } else {
            Arc::new(Structural::of_version(version))
        };
        Arc::new(Kind::new(definition, version, (name(storage), &stored), schema, revision))
    };
    served.into_iter().map(kind).collect()
}

fn name(version: &Value) -> &str {
    version["name"].as_str().unwrap_or_default()
}

/// Whether two versions of a definition define the same.
pub fn is_unchanged(left: &Value, right: &Value) -> bool {
    let names = |definition: &Value| definition["status"].get("acceptedNames").cloned();
    meta::uid(left) == meta::uid(right)
        && left["spec"] == right["spec"]
        && names(left) == names(right)
}

/// The resource of a compiled kind, as of a version of its definition.
pub fn resource(kind: &Arc<Kind>, definition: &Value, revision: i64) -> Resource {
    let names = &definition["status"]["acceptedNames"];
    let list = |field: &str| -> Vec<Text> {
        let items = names[field].as_array().into_iter().flatten();
        items.filter_map(|name| name.as_str()).map(|name| Text::from(name.to_owned())).collect()
    };
    let mut subresources = Vec::new();
    if kind.scale.is_some() {
        subresources.push(Subresource::Scale);
    }
    if kind.has_status {
        subresources.push(Subresource::Status);
    }
    Resource {
        group: kind.group.clone().into(),
        version: kind.version.clone().into(),
        kind: kind.name.clone().into(),
        plural: kind.plural.clone().into(),
        singular: meta::text(names, &["singular"]).to_owned().into(),
        short: list("shortNames"),
        categories: list("categories"),
        namespaced: definition["spec"]["scope"] == "Namespaced",
        verbs: VERBS.map(Into::into).to_vec(),
        subresources,
        schema: Arc::new(Schema::custom(&kind.type_name(), kind.json_schema(), &kind.schema)),
        strategy: kind.clone(),
        stored_as: None,
        custom: Some(Custom {
            kind: kind.clone(),
            revision,
            is_terminating: has_condition(definition, "Terminating"),
        }),
    }
}

#[cfg(test)]
mod tests;
