//! DefaultStorageClass: a claim that names no class gets the one marked as default.

use std::sync::Arc;

use master_api::status::ApiError;
use serde_json::{Value, json};

use crate::admission::{Operation, Plugin, Request};
use crate::json::{object_at, text};

const MARKS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

#[derive(Debug)]
pub(super) struct DefaultStorageClass;

impl Plugin for DefaultStorageClass {
    fn mutate(&self, request: &Request<'_>, claim: &mut Value) -> Result<(), ApiError> {
        let names_class =
            claim.pointer("/spec/storageClassName").is_some_and(|name| !name.is_null())
                || claim
                    .pointer("/metadata/annotations/volume.beta.kubernetes.io~1storage-class")
                    .is_some();
        if !request.is("", "persistentvolumeclaims")
            || request.operation != Operation::Create
            || names_class
        {
            return Ok(());
        }
        let classes = request.reader.list("storage.k8s.io", "storageclasses", None);
        if let Some(name) = newest_default(&classes, &MARKS) {
            object_at(claim, &["spec"])["storageClassName"] = json!(name);
        }
        Ok(())
    }
}

/// The name of the class with one of these annotations; where there are several, of the newest, and of those that are as
/// new, of the first by name.
pub(super) fn newest_default<'a>(classes: &'a [Arc<Value>], marks: &[&str]) -> Option<&'a str> {
    let is_default = |class: &&Arc<Value>| {
        let annotations = class.pointer("/metadata/annotations");
        marks.iter().any(|mark| {
            annotations.and_then(|all| all.get(*mark)).is_some_and(|value| value == "true")
        })
    };
    let made_at = |class: &Value| text(class, "/metadata/creationTimestamp").to_owned();
    let name = |class: &'a Value| text(class, "/metadata/name");
    let newest = classes
        .iter()
        .filter(is_default)
        .max_by(|a, b| made_at(a).cmp(&made_at(b)).then_with(|| name(b).cmp(name(a))));
    newest.map(|class| name(class))
}
