//! `autoscaling/v1/horizontalpodautoscalers`: the objects of `autoscaling/v2` as the first version spells them.
//!
//! Stored in the form of v2. What v1 has no field for travels in annotations, under the names and in the
//! notation that upstream's conversion uses, so that a client of either version loses nothing.
//!
//! # Invariants
//! - v2 to v1 and back is the same object.

use std::collections::BTreeMap;

use jiff::Timestamp;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::{Map, Value, json};

use crate::fill::{absent, made};
use crate::rows::AUTOSCALERS;
use crate::strategy::{Column, Shape, Strategy};

/// Autoscalers as `autoscaling/v1` has them.
#[derive(Clone, Copy, Debug)]
pub struct OldAutoscalers;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const PERCENT: &str = "targetCPUUtilizationPercentage";
const CURRENT_PERCENT: &str = "currentCPUUtilizationPercentage";
/// What an autoscaler without any metric aims at.
const DEFAULT_PERCENT: i64 = 80;
const SOURCES: [&str; 5] = ["containerResource", "external", "object", "pods", "resource"];

type Fields = Map<String, Value>;

impl Strategy for OldAutoscalers {
    fn shape(&self) -> Shape {
        AUTOSCALERS.shape()
    }

    fn default(&self, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            let is_told_by_note = fields
                .get("metadata")
                .is_some_and(|metadata| metadata["annotations"].get(METRICS).is_some());
            let spec = made(fields, "spec");
            absent(spec, "minReplicas", 1);
            if !is_told_by_note {
                absent(spec, PERCENT, DEFAULT_PERCENT);
            }
        }
    }

    /// Judged, and told, as what is stored.
    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut stored = new.clone();
        self.storage_form(&mut stored);
        Strategy::validate(&AUTOSCALERS, &stored, old)
    }

    fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        crate::statuses::autoscaler(new, old)
    }

    fn storage_form(&self, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        fields.insert("apiVersion".into(), "autoscaling/v2".into());
        let mut kept = take_annotations(fields);
        let mut read = |name| kept.remove(name).and_then(|text| serde_json::from_str(&text).ok());
        let list = |value: Option<Value>, word: &str| -> Vec<Value> {
            let items = value.as_ref().and_then(Value::as_array).into_iter().flatten();
            items.map(|metric| unfolded(metric, word)).collect()
        };
        let mut metrics = list(read(METRICS), "target");
        let mut current = list(read(CURRENT), "current");
        let (behavior, conditions) = (read(BEHAVIOR), read(CONDITIONS));
        let spec = made(fields, "spec");
        match spec.remove(PERCENT).filter(Value::is_number) {
            Some(percent) => metrics.push(cpu(&percent)),
            None if metrics.is_empty() => metrics.push(cpu(&DEFAULT_PERCENT.into())),
            None => {}
        }
        spec.insert("metrics".into(), metrics.into());
        if let Some(behavior) = behavior {
            spec.insert("behavior".into(), rekeyed(&behavior, char::to_ascii_lowercase));
        }
        let Some(status) = fields.get_mut("status").and_then(Value::as_object_mut) else { return };
        if let Some(percent) = status.remove(CURRENT_PERCENT).filter(Value::is_number) {
            let is = json!({"averageUtilization": percent});
            let found = current.iter_mut().find(|metric| metric["resource"]["name"] == "cpu");
            match found {
                Some(metric) => metric["resource"]["current"]["averageUtilization"] = percent,
                None => current
                    .push(json!({"type": "Resource", "resource": {"name": "cpu", "current": is}})),
            }
        }
        if !current.is_empty() {
            status.insert("currentMetrics".into(), current.into());
        }
        if let Some(conditions) = conditions {
            status.insert("conditions".into(), conditions);
        }
    }

    fn served_form(&self, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        fields.insert("apiVersion".into(), "autoscaling/v1".into());
        drop(take_annotations(fields));
        let mut notes = Fields::new();
        let mut note = |name: &str, value: &Value| {
            notes.insert(name.into(), value.to_string().into());
        };
        if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
            let metrics = spec.remove("metrics").unwrap_or_default();
            let (plain, others): (Vec<&Value>, Vec<&Value>) = metrics
                .as_array()
                .into_iter()
                .flatten()
                .partition(|metric| percent(metric).is_some());
            if let Some(percent) = plain.first().and_then(|metric| percent(metric)) {
                spec.insert(PERCENT.into(), percent.into());
            }
            if !others.is_empty() {
                note(METRICS, &others.iter().map(|metric| flattened(metric, "target")).collect());
            }
            if let Some(behavior) = spec.remove("behavior") {
                note(BEHAVIOR, &rekeyed(&behavior, char::to_ascii_uppercase));
            }
        }
        if let Some(status) = fields.get_mut("status").and_then(Value::as_object_mut) {
            let current = status.remove("currentMetrics").unwrap_or_default();
            let current = current.as_array().map(Vec::as_slice).unwrap_or_default();
            let path = ["resource", "current", "averageUtilization"];
            let cpu = current.iter().find(|metric| metric["resource"]["name"] == "cpu");
            if let Some(percent) = cpu.and_then(|metric| meta::number(metric, &path)) {
                status.insert(CURRENT_PERCENT.into(), percent.into());
            }
            if !current.is_empty() {
                note(CURRENT, &current.iter().map(|metric| flattened(metric, "current")).collect());
            }
            if let Some(conditions) = status.remove("conditions") {
                note(CONDITIONS, &conditions);
            }
        }
        if !notes.is_empty() {
            made(made(fields, "metadata"), "annotations").append(&mut notes);
        }
    }

    fn columns(&self) -> Vec<Column> {
        AUTOSCALERS.columns()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut stored = object.clone();
        self.storage_form(&mut stored);
        AUTOSCALERS.row(&stored, now)
    }
}

/// Takes our four annotations off an object.
fn take_annotations(fields: &mut Fields) -> BTreeMap<&'static str, String> {
    let mut taken = BTreeMap::new();
    let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) else {
        return taken;
    };
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else {
        return taken;
    };
    for name in [METRICS, CURRENT, CONDITIONS, BEHAVIOR] {
        if let Some(Value::String(text)) = annotations.remove(name) {
            taken.insert(name, text);
        }
    }
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    taken
}

fn cpu(percent: &Value) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

/// The percentage of a metric that v1 has a field for.
fn percent(metric: &Value) -> Option<i64> {
    if metric["type"] != "Resource" || metric["resource"]["name"] != "cpu" {
        return None;
    }
    meta::number(metric, &["resource", "target", "averageUtilization"])
}

/// Where v1 keeps what v2 has under an amount (`target` or `current`) of a source.
fn amount_names(source: &str, word: &str) -> [(&'static str, String); 3] {
    let average =
        if source == "object" { "averageValue".to_owned() } else { format!("{word}AverageValue") };
    [
        ("averageUtilization", format!("{word}AverageUtilization")),
        ("averageValue", average),
        ("value", format!("{word}Value")),
    ]
}

fn selector_name(source: &str) -> &'static str {
    if source == "external" { "metricSelector" } else { "selector" }
}

fn copy(from: &Value, field: &str, to: &mut Fields, name: &str) {
    if let Some(value) = from.get(field).filter(|value| !value.is_null()) {
        to.insert(name.to_owned(), value.clone());
    }
}

/// A metric of v2 as v1 spells it.
fn flattened(metric: &Value, word: &str) -> Value {
    let mut out = json!({"type": metric["type"]});
    for source in SOURCES {
        let Some(from) = metric.get(source) else { continue };
        let mut to = Fields::new();
        copy(from, "name", &mut to, "name");
        copy(from, "container", &mut to, "container");
        copy(from, "describedObject", &mut to, "target");
        copy(&from["metric"], "name", &mut to, "metricName");
        copy(&from["metric"], "selector", &mut to, selector_name(source));
        for (field, name) in amount_names(source, word) {
            copy(&from[word], field, &mut to, &name);
        }
        out[source] = to.into();
    }
    out
}

/// A metric of v1 as v2 spells it.
fn unfolded(metric: &Value, word: &str) -> Value {
    let mut out = json!({"type": metric["type"]});
    for source in SOURCES {
        let Some(from) = metric.get(source) else { continue };
        let (mut to, mut named, mut amounts) = (Fields::new(), Fields::new(), Fields::new());
        copy(from, "name", &mut to, "name");
        copy(from, "container", &mut to, "container");
        copy(from, "target", &mut to, "describedObject");
        copy(from, "metricName", &mut named, "name");
        copy(from, selector_name(source), &mut named, "selector");
        for (field, name) in amount_names(source, word) {
            copy(from, &name, &mut amounts, field);
        }
        if word == "target" {
            let kinds = [
                ("averageUtilization", "Utilization"),
                ("averageValue", "AverageValue"),
                ("value", "Value"),
            ];
            if let Some((_, kind)) = kinds.iter().find(|(field, _)| amounts.contains_key(*field)) {
                amounts.insert("type".into(), (*kind).into());
            }
        }
        if !named.is_empty() {
            to.insert("metric".into(), named.into());
        }
        to.insert(word.into(), amounts.into());
        out[source] = to.into();
    }
    out
}

/// The same with the first letter of every key changed: upstream writes the behavior with Go's field names.
fn rekeyed(value: &Value, change: fn(&char) -> char) -> Value {
    match value {
        Value::Object(fields) => {
            let renamed = fields.iter().map(|(key, value)| {
                let mut letters = key.chars();
                let first: String = letters.next().iter().map(change).collect();
                (first + letters.as_str(), rekeyed(value, change))
            });
            Value::Object(renamed.collect())
        }
        Value::Array(items) => items.iter().map(|item| rekeyed(item, change)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modern() -> Value {
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h", "annotations": {"mine": "x"}},
            "spec": {
                "maxReplicas": 5, "minReplicas": 1,
                "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "qps"},
                        "target": {"type": "AverageValue", "averageValue": "100"}}},
                    {"type": "Object", "object": {"metric": {"name": "rps"},
                        "describedObject": {"kind": "Ingress", "name": "i"},
                        "target": {"type": "Value", "value": "2k"}}},
                    {"type": "Resource", "resource": {"name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 60}}},
                ],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 30,
                    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}]}},
            },
            "status": {"currentReplicas": 2, "desiredReplicas": 3,
                "conditions": [{"type": "AbleToScale", "status": "True"}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "current": {"averageUtilization": 41, "averageValue": "410m"}}}]}})
    }

    #[test]
    fn the_new_form_survives_the_old_one() {
        let mut object = modern();
        OldAutoscalers.served_form(&mut object);
        assert_eq!(object["spec"][PERCENT], 60);
        assert_eq!(object["status"][CURRENT_PERCENT], 41);
        let notes = &object["metadata"]["annotations"];
        let text = |name: &str| notes[name].as_str().unwrap_or_default().to_owned();
        assert!(text(METRICS).contains(r#""metricName":"qps""#), "{notes}");
        assert!(text(BEHAVIOR).contains(r#""StabilizationWindowSeconds":30"#), "{notes}");
        assert_eq!(object["spec"].get("behavior"), None);
        OldAutoscalers.storage_form(&mut object);
        assert_eq!(object, modern());
    }

    #[test]
    fn an_old_autoscaler_without_a_target_aims_at_eighty_percent() {
        let mut object = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3}});
        OldAutoscalers.default(&mut object);
        OldAutoscalers.storage_form(&mut object);
        let expected = json!([cpu(&80.into())]);
        assert_eq!(
            (&object["spec"]["metrics"], &object["spec"]["minReplicas"]),
            (&expected, &json!(1))
        );
    }
}
