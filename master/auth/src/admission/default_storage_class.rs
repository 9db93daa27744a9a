//! DefaultStorageClass: a claim that names no class gets the one marked as default.

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
        let is_default = |class: &Value| {
            let annotations = class.pointer("/metadata/annotations");
            MARKS.iter().any(|mark| {
                annotations.and_then(|all| all.get(*mark)).is_some_and(|value| value == "true")
            })
        };
        let classes = request.reader.list("storage.k8s.io", "storageclasses", None).into_iter();
        // The newest wins where several are marked.
        let newest = classes.filter(|class| is_default(class)).max_by(|a, b| {
            text(a, "/metadata/creationTimestamp").cmp(text(b, "/metadata/creationTimestamp"))
        });
        if let Some(class) = newest {
            object_at(claim, &["spec"])["storageClassName"] = json!(text(&class, "/metadata/name"));
        }
        Ok(())
    }
}
