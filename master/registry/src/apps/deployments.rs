//! `apps/v1/deployments`.

use master_api::field::FieldPath;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::{Map, Value};

use crate::check::{self, Findings};
use crate::fill::{absent, made, zero};
use crate::pod::{defaults, warnings};
use crate::strategy::{Cx, Shape, Strategy, kept, status_and_metadata};
use crate::table::{Cell, count, tabled};
use crate::workload::{self, CONTAINERS, IMAGES, SELECTOR};

#[derive(Clone, Copy, Debug)]
pub struct Deployments;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Ready", |object, _| ready(object).into()),
    Cell::text("Up-to-date", |object, _| count(object, &["status", "updatedReplicas"])),
    Cell::text("Available", |object, _| count(object, &["status", "availableReplicas"])),
    Cell::AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

/// `2/3`: ready of desired.
pub(crate) fn ready(object: &Value) -> String {
    let number = |path: [&str; 2]| meta::number(object, &path).unwrap_or_default();
    format!("{}/{}", number(["status", "readyReplicas"]), number(["spec", "replicas"]))
}

impl Strategy for Deployments {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: true }
    }

    fn default(&self, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        let spec = made(fields, "spec");
        defaults::template(spec);
        absent(spec, "replicas", 1);
        absent(spec, "revisionHistoryLimit", 10);
        absent(spec, "progressDeadlineSeconds", 600);
        let strategy = made(spec, "strategy");
        zero(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            rolling_update(made(strategy, "rollingUpdate"));
        }
    }

    /// Annotations count as well: replica sets get copies of them.
    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        kept(new, old, self.shape());
        generations(new, old);
    }

    /// Annotations may come with the status; labels, as upstream has it for this kind, may not.
    fn prepare_status_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        status_and_metadata(new, old);
        meta::set(new, "labels", old["metadata"]["labels"].clone());
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        workload::counts(new, &["replicas"], &mut errors);
        workload::selector(new, workload::OF_DEPLOYMENTS, &mut errors);
        workload::lasting_template(new, &mut errors);
        strategy(&new["spec"]["strategy"], &FieldPath::new("spec.strategy"), &mut errors);
        let counts = ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"];
        workload::counts(new, &counts, &mut errors);
        let ready = meta::number(new, &["spec", "minReadySeconds"]).unwrap_or_default();
        if let Some(deadline) = meta::number(new, &["spec", "progressDeadlineSeconds"])
            && deadline <= ready
        {
            let detail = "must be greater than minReadySeconds";
            errors.push(FieldError::invalid("spec.progressDeadlineSeconds", deadline, detail));
        }
        if let Some(old) = old {
            check::immutable(new, old, &["spec", "selector"], &mut errors);
        }
        errors
    }

    fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let counts = [
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ];
        let mut errors = workload::status_counts(new, &counts);
        let parts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
        let than_ready = "cannot be greater than readyReplicas";
        workload::status_parts(new, &parts, than_ready, &mut errors);
        workload::collisions(new, old, &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        warnings::of_template(new, old, &["spec", "template"])
    }

    tabled!(CELLS);
}

fn generations(new: &mut Value, old: &Value) {
    let path = ["metadata", "annotations"];
    let of =
        |object| meta::at(object, &path).and_then(Value::as_object).filter(|it| !it.is_empty());
    if of(new) != of(old) {
        meta::set(new, "generation", meta::generation(old) + 1);
    }
}

fn rolling_update(rolling: &mut Map<String, Value>) {
    absent(rolling, "maxUnavailable", "25%");
    absent(rolling, "maxSurge", "25%");
}

fn strategy(strategy: &Value, path: &FieldPath, errors: &mut Findings) {
    let rolling = meta::at(strategy, &["rollingUpdate"]);
    match (meta::text(strategy, &["type"]), rolling) {
        ("Recreate", Some(_)) => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden(path.child("rollingUpdate"), detail));
        }
        ("Recreate", None) => {}
        ("RollingUpdate", Some(rolling)) => {
            let path = path.child("rollingUpdate");
            let place = path.child("maxUnavailable");
            check::count_or_percent(&rolling["maxUnavailable"], &place, errors);
            check::count_or_percent(&rolling["maxSurge"], &path.child("maxSurge"), errors);
            if is_zero(&rolling["maxUnavailable"]) && is_zero(&rolling["maxSurge"]) {
                let detail = "may not be 0 when `maxSurge` is 0";
                let shown = rolling["maxUnavailable"].clone();
                errors.push(FieldError::invalid(place.clone(), shown, detail));
            }
            let percent =
                rolling["maxUnavailable"].as_str().and_then(|text| text.strip_suffix('%'));
            if percent.and_then(|digits| digits.parse::<u32>().ok()).is_some_and(|part| part > 100)
            {
                let shown = rolling["maxUnavailable"].clone();
                errors.push(FieldError::invalid(place, shown, "must not be greater than 100%"));
            }
        }
        _ => {
            let kinds = ["Recreate", "RollingUpdate"];
            errors.push(FieldError::not_supported(path.clone(), strategy.clone(), &kinds));
        }
    }
}

/// Whether a count or percentage is none at all.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.trim_end_matches('%').bytes().all(|byte| byte == b'0'),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(mut change: impl FnMut(&mut Value)) -> Value {
        let mut object = json!({"metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}}});
        change(&mut object);
        Deployments.default(&mut object);
        object
    }

    fn findings(new: &Value, old: Option<&Value>) -> Vec<String> {
        Deployments.validate(new, old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_change_of_annotations_is_a_new_generation() {
        let old = json!({"metadata": {"generation": 3, "annotations": {"a": "b"}}, "spec": {}});
        #[rustfmt::skip]
        let cases = [
            (json!({"annotations": {"a": "b"}, "labels": {"l": "m"}}), 3),
            (json!({"annotations": {"a": "c"}}), 4),
            (json!({}), 4),
        ];
        for (metadata, expected) in cases {
            let mut new = json!({"metadata": metadata, "spec": {}});
            kept(&mut new, &old, Deployments.shape());
            generations(&mut new, &old);
            assert_eq!(meta::generation(&new), expected, "{new}");
        }
        // None and no annotations are the same.
        let (bare, mut empty) = (json!({"metadata": {}}), json!({"metadata": {"annotations": {}}}));
        generations(&mut empty, &bare);
        assert_eq!(meta::generation(&empty), 0);
    }

    #[test]
    fn defaults_are_upstreams() {
        let object = deployment(|_| {});
        let spec = &object["spec"];
        assert_eq!(
            (&spec["replicas"], &spec["revisionHistoryLimit"], &spec["progressDeadlineSeconds"]),
            (&json!(1), &json!(10), &json!(600))
        );
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        );
        assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
        assert_eq!(spec["template"]["spec"]["enableServiceLinks"], Value::Null);
        assert_eq!(findings(&object, None), [""; 0]);
    }

    #[test]
    fn wrong_deployments_are_refused_in_upstreams_words() {
        type Change = fn(&mut Value);
        #[rustfmt::skip]
        let cases: [(Change, &str); 7] = [
            (|d| d["spec"]["replicas"] = json!(-1), "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
            (|d| d["spec"]["selector"] = json!({}), "spec.selector: Invalid value: {}: empty selector is invalid for deployment"),
            (|d| d["spec"]["selector"]["matchLabels"]["app"] = json!("y"),
             "spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`"),
            (|d| d["spec"]["template"]["spec"]["restartPolicy"] = json!("Never"),
             "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""),
            (|d| d["spec"]["strategy"] = json!({"type": "Recreate", "rollingUpdate": {}}),
             "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"),
            (|d| d["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}),
             "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"),
            (|d| d["spec"]["template"]["spec"]["containers"] = json!([]), "spec.template.spec.containers: Required value"),
        ];
        for (change, expected) in cases {
            assert_eq!(findings(&deployment(change), None), [expected]);
        }
    }

    #[test]
    fn the_selector_stays() {
        let old = deployment(|_| {});
        let new = deployment(|d| {
            d["spec"]["selector"]["matchLabels"] = json!({"app": "x", "b": "c"});
            d["spec"]["template"]["metadata"]["labels"] = json!({"app": "x", "b": "c"});
        });
        assert_eq!(
            findings(&new, Some(&old)),
            [
                r#"spec.selector: Invalid value: {"matchLabels":{"app":"x","b":"c"}}: field is immutable"#,
            ]
        );
    }

    #[test]
    fn rows_show_replicas() {
        let mut object = deployment(|d| d["spec"]["replicas"] = json!(3));
        object["status"] =
            json!({"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2});
        let row = Deployments.row(&object, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(
            row,
            [
                json!("d"),
                json!("2/3"),
                json!(3),
                json!(2),
                json!("<unknown>"),
                json!("c"),
                json!("x:1"),
                json!("app=x")
            ]
        );
    }
}
