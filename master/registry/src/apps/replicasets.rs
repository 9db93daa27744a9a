//! `apps/v1/replicasets`.

use std::collections::BTreeMap;

use master_api::meta;
use master_api::status::FieldError;
use serde_json::Value;

use crate::check;
use crate::fill::{absent, made};
use crate::pod::{defaults, warnings};
use crate::strategy::{Shape, Strategy};
use crate::table::{Cell, count, tabled};
use crate::workload::{self, CONTAINERS, IMAGES, SELECTOR};

#[derive(Clone, Copy, Debug)]
pub struct ReplicaSets;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::integer("Desired", |object, _| count(object, &["spec", "replicas"])),
    Cell::integer("Current", |object, _| count(object, &["status", "replicas"])),
    Cell::integer("Ready", |object, _| count(object, &["status", "readyReplicas"])),
    Cell::AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

impl Strategy for ReplicaSets {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: true }
    }

    fn default(&self, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        let spec = made(fields, "spec");
        defaults::template(spec);
        absent(spec, "replicas", 1);
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        workload::counts(new, &["replicas", "minReadySeconds"], &mut errors);
        workload::selector(new, workload::OF_DEPLOYMENTS, &mut errors);
        workload::lasting_template(new, &mut errors);
        if let Some(old) = old {
            check::immutable(new, old, &["spec", "selector"], &mut errors);
        }
        errors
    }

    fn validate_status(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let counts = [
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "terminatingReplicas",
            "observedGeneration",
        ];
        workload::replica_status(new, &counts)
    }

    fn fields(&self, object: &Value) -> BTreeMap<String, String> {
        let replicas = meta::number(object, &["status", "replicas"]).unwrap_or_default();
        [("status.replicas".to_owned(), replicas.to_string())].into()
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        warnings::of_template(new, old, &["spec", "template"])
    }

    tabled!(CELLS);
}
