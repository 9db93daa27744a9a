//! `v1/persistentvolumeclaims`.

use master_api::field::FieldPath;
use master_api::quantity::Quantity;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::{Value, json};

use super::persistentvolumes::{access_modes, modes};
use crate::check::{Findings, same};
use crate::fill::{absent, made};
use crate::rules::{self, Must, Rule};
use crate::strategy::{Cx, Shape, Strategy, fresh, kept};
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

/// What there is to say of a claim's specification, its own or in a template.
pub(crate) const RULES: &[Rule] = &[
    ("selector", Must::BeSelector),
    ("storageClassName", Must::BeFormedIfAny(names::dns1123_subdomain)),
    ("volumeMode", Must::BeOneOf(&["Block", "Filesystem"])),
    ("dataSource.name", Must::BeThere("")),
    ("dataSource.kind", Must::BeThere("")),
    ("dataSourceRef.name", Must::BeThere("")),
    ("dataSourceRef.kind", Must::BeThere("")),
];

/// What is wrong with a specification.
pub(crate) fn spec(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    modes(spec, path, errors);
    rules::check(spec, path, &RULES[..1], errors);
    let place = path.child("resources").key("storage");
    match meta::at(spec, &["resources", "requests", "storage"]).and_then(Quantity::from_json) {
        None => errors.push(FieldError::required(place, "")),
        Some(amount) if amount.is_negative() || amount.is_zero() => {
            let detail = "must be greater than zero";
            errors.push(FieldError::invalid(place, amount.to_string(), detail));
        }
        Some(_) => {}
    }
    rules::check(spec, path, &RULES[1..], errors);
}

fn is_bound(claim: &Value) -> bool {
    !meta::text(claim, &["spec", "volumeName"]).is_empty()
}

/// Whether the old way of telling a source knows it.
fn is_known(source: &Value) -> bool {
    matches!(
        (meta::text(source, &["apiGroup"]), meta::text(source, &["kind"])),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

/// A source that is told in the old way can be read in the new one, and the other way round.
fn mirror_source(claim: &mut Value) {
    let spec = meta::object_mut(claim, &["spec"]);
    match (spec.get("dataSource").cloned(), spec.get("dataSourceRef").cloned()) {
        (Some(source), None) => drop(spec.insert("dataSourceRef".into(), source)),
        (None, Some(source)) if is_known(&source) && source.get("namespace").is_none() => {
            spec.insert("dataSource".into(), source);
        }
        _ => {}
    }
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
        let spec = meta::object_mut(new, &["spec"]);
        if spec.get("dataSource").is_some_and(|source| !is_known(source)) {
            spec.remove("dataSource");
        }
        mirror_source(new);
    }

    /// Who knows only one of the two ways changes nothing by leaving out the other.
    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        kept(new, old, self.shape());
        mirror_source(new);
    }

    fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        crate::statuses::volume_claim(new, old)
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        spec(&new["spec"], &FieldPath::new("spec"), &mut errors);
        let size = |claim: &Value| {
            meta::at(claim, &["spec", "resources", "requests", "storage"])
                .and_then(Quantity::from_json)
        };
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
