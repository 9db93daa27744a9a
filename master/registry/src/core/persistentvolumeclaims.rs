//! `v1/persistentvolumeclaims`.

use master_api::field::FieldPath;
use master_api::meta;
use master_api::quantity::Quantity;
use master_api::status::FieldError;
use serde_json::{Value, json};

use super::persistentvolumes::{access_modes, modes};
use crate::check::same;
use crate::fill::{absent, made};
use crate::strategy::{Cx, Shape, Strategy, fresh};
use crate::table::{Cell, or, tabled};

#[derive(Clone, Copy, Debug)]
pub struct PersistentVolumeClaims;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Status", |claim, _| {
        if meta::is_terminating(claim) {
            "Terminating".into()
        } else {
            or(claim, &["status", "phase"], "")
        }
    }),
    Cell::text("Volume", |claim, _| or(claim, &["spec", "volumeName"], "")),
    Cell::text("Capacity", |claim, _| {
        if is_bound(claim) { or(claim, &["status", "capacity", "storage"], "0") } else { "".into() }
    }),
    Cell::text("Access Modes", |claim, _| {
        if is_bound(claim) {
            access_modes(&claim["status"]["accessModes"]).into()
        } else {
            "".into()
        }
    }),
    Cell::text("StorageClass", |claim, _| or(claim, &["spec", "storageClassName"], "")),
    Cell::text("VolumeAttributesClass", |claim, _| {
        or(claim, &["spec", "volumeAttributesClassName"], "<unset>")
    }),
    Cell::AGE,
    Cell::text("VolumeMode", |claim, _| or(claim, &["spec", "volumeMode"], "<unset>")).wide(),
];

fn is_bound(claim: &Value) -> bool {
    !meta::text(claim, &["spec", "volumeName"]).is_empty()
}

impl Strategy for PersistentVolumeClaims {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: false }
    }

    fn default(&self, claim: &mut Value) {
        let Some(fields) = claim.as_object_mut() else { return };
        absent(made(fields, "spec"), "volumeMode", "Filesystem");
    }

    fn prepare_create(&self, new: &mut Value, _cx: &Cx<'_>) {
        fresh(new, self.shape());
        new["status"] = json!({"phase": "Pending"});
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        modes(new, &mut errors);
        let path = FieldPath::new("spec").child("resources").key("storage");
        let size = |claim: &Value| {
            meta::at(claim, &["spec", "resources", "requests", "storage"])
                .and_then(Quantity::from_json)
        };
        match size(new) {
            None => errors.push(FieldError::required(path, "")),
            Some(amount) if amount.is_negative() || amount.is_zero() => {
                let detail = "must be greater than zero";
                errors.push(FieldError::invalid(path, amount.to_string(), detail));
            }
            Some(_) => {}
        }
        if let Some(old) = old {
            let mut allowed = new["spec"].clone();
            if old["status"]["phase"] == "Bound" && size(new) >= size(old) {
                allowed["resources"] = old["spec"]["resources"].clone();
            }
            if meta::text(old, &["spec", "volumeName"]).is_empty()
                && let Some(spec) = allowed.as_object_mut()
            {
                spec.remove("volumeName");
            }
            if !same(&allowed, &old["spec"]) {
                let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
                errors.push(FieldError::forbidden("spec", detail));
            }
        }
        errors
    }

    tabled!(CELLS);
}
