//! PersistentVolumeClaimResize: a claim grows only where its class lets volumes grow.

use master_api::quantity::Quantity;
use master_api::status::ApiError;
use serde_json::Value;

use crate::admission::{Operation, Plugin, Request};
use crate::json::{is_true, text};

/// Where classes were named before there was a field for them.
const OLD_NAME: &str = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";

#[derive(Debug)]
pub(super) struct ClaimResize;

impl Plugin for ClaimResize {
    fn validate(
        &self,
        request: &Request<'_>,
        claim: &Value,
        _warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let is_update = request.operation == Operation::Update;
        let Some(old) = request.old.filter(|_| is_update) else { return Ok(()) };
        if !request.is("", "persistentvolumeclaims") || size(claim) <= size(old) {
            return Ok(());
        }
        if text(old, "/status/phase") != "Bound" {
            let message = "Only bound persistent volume claims can be expanded";
            return Err(request.forbidden(message));
        }
        let name = class(claim);
        let class_lets = || {
            let found = request.reader.get("storage.k8s.io", "storageclasses", "", name);
            found.is_some_and(|class| is_true(&class, "/allowVolumeExpansion"))
        };
        if !name.is_empty() && name == class(old) && class_lets() {
            return Ok(());
        }
        Err(request.forbidden(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        ))
    }
}

fn size(claim: &Value) -> Quantity {
    let asked = claim.pointer("/spec/resources/requests/storage");
    asked.and_then(Quantity::from_json).unwrap_or_default()
}

fn class(claim: &Value) -> &str {
    match text(claim, OLD_NAME) {
        "" => text(claim, "/spec/storageClassName"),
        old => old,
    }
}
