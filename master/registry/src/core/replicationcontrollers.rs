//! `v1/replicationcontrollers`.

use std::collections::BTreeMap;

use master_api::field::FieldPath;
use master_api::meta;
use master_api::selector::LabelSelector;
use master_api::status::FieldError;
use serde_json::Value;

use crate::fill::{absent, made};
use crate::objectmeta;
use crate::pod::{defaults, warnings};
use crate::strategy::{Shape, Strategy};
use crate::table::{self, Cell, count, tabled};
use crate::workload::{self, CONTAINERS, IMAGES};

#[derive(Clone, Copy, Debug)]
pub struct ReplicationControllers;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::integer("Desired", |object, _| count(object, &["spec", "replicas"])),
    Cell::integer("Current", |object, _| count(object, &["status", "replicas"])),
    Cell::integer("Ready", |object, _| count(object, &["status", "readyReplicas"])),
    Cell::AGE,
    CONTAINERS,
    IMAGES,
    Cell::text("Selector", |object, _| table::pairs(&object["spec"]["selector"]).into()).wide(),
];

impl Strategy for ReplicationControllers {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: true }
    }

    fn default(&self, object: &mut Value) {
        let labels = meta::at(object, &["spec", "template", "metadata", "labels"]).cloned();
        let Some(fields) = object.as_object_mut() else { return };
        let spec = made(fields, "spec");
        defaults::template(spec);
        absent(spec, "replicas", 1);
        if let Some(labels) = labels {
            absent(spec, "selector", labels.clone());
            absent(made(fields, "metadata"), "labels", labels);
        }
    }

    fn validate(&self, new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        workload::counts(new, &["minReadySeconds", "replicas"], &mut errors);
        let path = FieldPath::new("spec.selector");
        match meta::at(new, &["spec", "selector"]) {
            Some(selector) if selector.as_object().is_some_and(|map| !map.is_empty()) => {
                errors.extend(objectmeta::label_map(selector, &path));
                workload::matches(&LabelSelector::from_map(selector), new, &mut errors);
            }
            _ => errors.push(FieldError::required(path, "")),
        }
        workload::lasting_template(new, &mut errors);
        errors
    }

    fn validate_status(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let counts = [
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
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
