//! `policy/v1/poddisruptionbudgets`.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names, selector};
use serde_json::Value;

use crate::check;
use crate::rules::{self, Must};
use crate::statuses;
use crate::strategy::{Shape, Strategy};
use crate::table::{Cell, count, tabled};

#[derive(Clone, Copy, Debug)]
pub struct PodDisruptionBudgets;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Min Available", |budget, _| bound(budget, "minAvailable").into()),
    Cell::text("Max Unavailable", |budget, _| bound(budget, "maxUnavailable").into()),
    Cell::integer("Allowed Disruptions", |budget, _| {
        count(budget, &["status", "disruptionsAllowed"])
    }),
    Cell::AGE,
];

fn bound(budget: &Value, field: &str) -> String {
    match meta::at(budget, &["spec", field]) {
        None => "N/A".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

impl Strategy for PodDisruptionBudgets {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: true }
    }

    fn name_problems(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn validate_status(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        statuses::disruption_budget(new)
    }

    fn validate(&self, new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = FieldPath::new("spec");
        let bounds = ["minAvailable", "maxUnavailable"];
        for field in bounds {
            check::count_or_percent(&new["spec"][field], &path.child(field), &mut errors);
        }
        if bounds.iter().all(|field| meta::at(new, &["spec", field]).is_some()) {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            errors.push(FieldError::invalid(path.clone(), new["spec"].clone(), detail));
        }
        errors.extend(selector::validate(&new["spec"]["selector"], &path.child("selector")));
        let policies = Must::BeOneOf(&["AlwaysAllow", "IfHealthyBudget"]);
        let rule = ("unhealthyPodEvictionPolicy", policies);
        rules::check(&new["spec"], &path, &[rule], &mut errors);
        errors
    }

    tabled!(CELLS);
}
