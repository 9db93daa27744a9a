//! `apps/v1/daemonsets`.

use master_api::field::FieldPath;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::Value;

use crate::check::{self, Findings};
use crate::fill::{absent, made, zero};
use crate::pod::{defaults, warnings};
use crate::strategy::{Cx, Shape, Strategy, fresh, kept, status_and_metadata};
use crate::table::{self, Cell, count, tabled};
use crate::workload::{self, CONTAINERS, IMAGES, SELECTOR};

#[derive(Clone, Copy, Debug)]
pub struct DaemonSets;

/// The annotation in which upstream keeps what was once a field: how often the template has changed.
const TEMPLATE: &str = "deprecated.daemonset.template.generation";

fn template_generation(set: &Value) -> i64 {
    meta::text(set, &["metadata", "annotations", TEMPLATE]).parse().unwrap_or_default()
}

fn set_template_generation(set: &mut Value, generation: i64) {
    let annotations = meta::object_mut(set, &["metadata", "annotations"]);
    annotations.insert(TEMPLATE.to_owned(), generation.to_string().into());
}

/// What a client says of it counts at creation only.
fn count_template(new: &mut Value, old: Option<&Value>) {
    let before = template_generation(old.unwrap_or(new)).max(1);
    let is_changed = old.is_some_and(|old| new["spec"]["template"] != old["spec"]["template"]);
    set_template_generation(new, before + i64::from(is_changed));
}

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

/// How pods are replaced: some at once, of which none or none but surplus ones are missed.
fn update_strategy(strategy: &Value, errors: &mut Findings) {
    let path = FieldPath::new("spec.updateStrategy");
    match meta::text(strategy, &["type"]) {
        "OnDelete" => {}
        "RollingUpdate" => {
            let (rolling, path) = (&strategy["rollingUpdate"], path.child("rollingUpdate"));
            let amount = |field: &str| match &rolling[field] {
                Value::String(text) => {
                    text.strip_suffix('%').and_then(|digits| digits.parse().ok()).unwrap_or(0)
                }
                number => number.as_i64().unwrap_or(0),
            };
            check::count_or_percent(
                &rolling["maxUnavailable"],
                &path.child("maxUnavailable"),
                errors,
            );
            check::count_or_percent(&rolling["maxSurge"], &path.child("maxSurge"), errors);
            match (amount("maxUnavailable"), amount("maxSurge")) {
                (0, 0) => errors.push(FieldError::required(
                    path.child("maxUnavailable"),
                    "cannot be 0 when maxSurge is 0",
                )),
                (0, _) | (_, 0) => {}
                _ => {
                    let detail = "may not be set when maxUnavailable is non-zero";
                    let shown = rolling["maxSurge"].clone();
                    errors.push(FieldError::invalid(path.child("maxSurge"), shown, detail));
                }
            }
        }
        _ => {
            let known = ["RollingUpdate", "OnDelete"];
            errors.push(FieldError::not_supported(path, strategy.clone(), &known));
        }
    }
}

impl Strategy for DaemonSets {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: true }
    }

    fn default(&self, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        absent(made(made(fields, "metadata"), "annotations"), TEMPLATE, "0");
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

    fn prepare_create(&self, new: &mut Value, _cx: &Cx<'_>) {
        fresh(new, self.shape());
        count_template(new, None);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        kept(new, old, self.shape());
        count_template(new, Some(old));
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        status_and_metadata(new, old);
        set_template_generation(new, template_generation(old).max(1));
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        workload::selector(new, workload::OF_DAEMON_SETS, &mut errors);
        workload::lasting_template(new, &mut errors);
        workload::counts(new, &["minReadySeconds", "revisionHistoryLimit"], &mut errors);
        update_strategy(&new["spec"]["updateStrategy"], &mut errors);
        if let Some(old) = old {
            check::immutable(new, old, &["spec", "selector"], &mut errors);
        }
        errors
    }

    fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let counts = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        let mut errors = workload::status_counts(new, &counts);
        workload::collisions(new, old, &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        warnings::of_template(new, old, &["spec", "template"])
    }

    tabled!(CELLS);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_of_the_template_are_counted() {
        let set = |image: &str, annotations: Value| {
            let mut set = json!({"metadata": {"annotations": annotations}, "spec": {"template":
                {"spec": {"containers": [{"name": "c", "image": image}]}}}});
            DaemonSets.default(&mut set);
            set
        };
        let counted = |set: &Value| set["metadata"]["annotations"][TEMPLATE].clone();
        for (sent, expected) in [(json!({}), "1"), (json!({TEMPLATE: "12"}), "12")] {
            let mut new = set("a", sent);
            count_template(&mut new, None);
            assert_eq!(counted(&new), expected);
        }
        let old = set("a", json!({TEMPLATE: "4"}));
        for (image, sent, expected) in
            [("a", json!({}), "4"), ("b", json!({}), "5"), ("a", json!({TEMPLATE: "77"}), "4")]
        {
            let mut new = set(image, sent.clone());
            count_template(&mut new, Some(&old));
            assert_eq!(counted(&new), expected, "{image} {sent}");
        }
    }
}
