//! `apps/v1/daemonsets`.

use master_api::status::FieldError;
use serde_json::Value;

use crate::check;
use crate::fill::{absent, made, zero};
use crate::pod::defaults;
use crate::strategy::{Shape, Strategy};
use crate::table::{self, Cell, count, tabled};
use crate::workload::{self, CONTAINERS, IMAGES, SELECTOR};

#[derive(Clone, Copy, Debug)]
pub struct DaemonSets;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::integer("Desired", |object, _| count(object, &["status", "desiredNumberScheduled"])),
    Cell::integer("Current", |object, _| count(object, &["status", "currentNumberScheduled"])),
    Cell::integer("Ready", |object, _| count(object, &["status", "numberReady"])),
    Cell::integer("Up-to-date", |object, _| count(object, &["status", "updatedNumberScheduled"])),
    Cell::integer("Available", |object, _| count(object, &["status", "numberAvailable"])),
    Cell::text("Node Selector", |object, _| {
        table::pairs(&object["spec"]["template"]["spec"]["nodeSelector"]).into()
    }),
    Cell::AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

impl Strategy for DaemonSets {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: true }
    }

    fn default(&self, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        let spec = made(fields, "spec");
        defaults::template(spec);
        absent(spec, "revisionHistoryLimit", 10);
        let strategy = made(spec, "updateStrategy");
        zero(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = made(strategy, "rollingUpdate");
            absent(rolling, "maxUnavailable", 1);
            absent(rolling, "maxSurge", 0);
        }
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        workload::selector(new, &mut errors);
        workload::lasting_template(new, &mut errors);
        workload::counts(new, &["minReadySeconds", "revisionHistoryLimit"], &mut errors);
        if let Some(old) = old {
            check::immutable(new, old, &["spec", "selector"], &mut errors);
        }
        errors
    }

    tabled!(CELLS);
}
