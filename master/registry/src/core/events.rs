//! `v1/events`, and `events.k8s.io/v1` which is another view of the same objects.
//!
//! Stored in the form of the core group; an hour after its last write an event is gone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names, time};
use serde_json::{Map, Value};

use crate::check;
use crate::rules::{self, Must};
use crate::strategy::Strategy;
use crate::table::{Cell, tabled};

/// Events of the core group.
#[derive(Clone, Copy, Debug)]
pub struct Events;

/// Events as `events.k8s.io/v1` names their fields.
#[derive(Clone, Copy, Debug)]
pub struct NewEvents;

const TTL_S: i64 = 3600;

/// Field names, here and there.
const RENAMED: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];
const REPORTER: (&str, &str) = ("reportingComponent", "reportingController");

const CELLS: &[Cell] = &[
    Cell::text("Last Seen", last_seen),
    Cell::text("Type", |event, _| meta::text(event, &["type"]).into()),
    Cell::text("Reason", |event, _| meta::text(event, &["reason"]).into()),
    Cell::text("Object", |event, _| target(event).into()),
    Cell::text("Subobject", |event, _| meta::text(event, &["involvedObject", "fieldPath"]).into())
        .wide(),
    Cell::text("Source", |event, _| source(event).into()).wide(),
    Cell::text("Message", |event, _| meta::text(event, &["message"]).trim().into()),
    Cell::text("First Seen", first_seen).wide(),
    Cell::text("Count", |event, _| count(event).into()).wide(),
    Cell::NAME.wide(),
];

fn age_of(event: &Value, path: &[&str], now: Timestamp) -> Option<String> {
    let then = time::parse(meta::text(event, path))?;
    Some(time::age(Some(then), now))
}

fn first_seen(event: &Value, now: Timestamp) -> Value {
    age_of(event, &["firstTimestamp"], now)
        .or_else(|| age_of(event, &["eventTime"], now))
        .unwrap_or_else(|| "<unknown>".to_owned())
        .into()
}

fn last_seen(event: &Value, now: Timestamp) -> Value {
    let series = age_of(event, &["series", "lastObservedTime"], now);
    match series.or_else(|| age_of(event, &["lastTimestamp"], now)) {
        Some(age) => age.into(),
        None => first_seen(event, now),
    }
}

fn count(event: &Value) -> i64 {
    let series = meta::number(event, &["series", "count"]);
    series.or_else(|| meta::number(event, &["count"])).filter(|count| *count != 0).unwrap_or(1)
}

fn target(event: &Value) -> String {
    let kind = meta::text(event, &["involvedObject", "kind"]).to_lowercase();
    match meta::text(event, &["involvedObject", "name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value) -> String {
    let first = |paths: [&[&str]; 2]| {
        let texts = paths.map(|path| meta::text(event, path));
        if texts[0].is_empty() { texts[1] } else { texts[0] }
    };
    let component = first([&["source", "component"], &["reportingComponent"]]);
    match first([&["source", "host"], &["reportingInstance"]]) {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    }
}

/// Who reports an event, what was done and why. Upstream does not show what is too long.
fn told(event: &Value, reporter: &'static str, errors: &mut Vec<FieldError>) {
    const LENGTH_MAX: usize = 128;
    let rules =
        [(reporter, Must::BeThere("")), (reporter, Must::BeGivenFormed(names::qualified_name))];
    rules::check(event, &FieldPath::default(), &rules, errors);
    for field in ["reportingInstance", "action", "reason"] {
        match meta::text(event, &[field]) {
            "" => errors.push(FieldError::required(field, "")),
            text if text.len() > LENGTH_MAX => {
                let detail = format!("can have at most {LENGTH_MAX} characters");
                errors.push(FieldError::invalid(field, "", detail));
            }
            _ => {}
        }
    }
}

/// An event is in the namespace of what it is about, or where events of cluster-scoped objects are; one that has a time may
/// tell of other namespaces.
fn placed(event: &Value, errors: &mut Vec<FieldError>) {
    let involved = meta::text(event, &["involvedObject", "namespace"]);
    let namespace = meta::namespace(event);
    let has_time = meta::at(event, &["eventTime"]).is_some();
    let fits = match (involved, has_time) {
        ("", true) => matches!(namespace, "default" | "kube-system"),
        ("", false) => namespace == "default",
        (_, true) => true,
        (_, false) => involved == namespace,
    };
    if !fits {
        let detail = "does not match event.namespace";
        errors.push(FieldError::invalid("involvedObject.namespace", involved, detail));
    }
}

impl Strategy for Events {
    fn name_problems(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn validate(&self, event: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        placed(event, &mut errors);
        if meta::at(event, &["eventTime"]).is_some() {
            told(event, "reportingComponent", &mut errors);
        }
        errors
    }

    fn fields(&self, event: &Value) -> BTreeMap<String, String> {
        let involved =
            ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"];
        let mut fields: BTreeMap<String, String> = involved
            .iter()
            .map(|field| {
                let text = meta::text(event, &["involvedObject", field]);
                (format!("involvedObject.{field}"), text.to_owned())
            })
            .collect();
        let reporter = meta::text(event, &["reportingComponent"]);
        let source = match meta::text(event, &["source", "component"]) {
            "" => reporter,
            component => component,
        };
        for (key, text) in [
            ("reason", meta::text(event, &["reason"])),
            ("reportingComponent", reporter),
            ("source", source),
            ("type", meta::text(event, &["type"])),
        ] {
            fields.insert(key.to_owned(), text.to_owned());
        }
        fields
    }

    fn ttl_s(&self, _event: &Value) -> Option<i64> {
        Some(TTL_S)
    }

    tabled!(CELLS);
}

impl Strategy for NewEvents {
    fn name_problems(&self, name: &str) -> Vec<String> {
        names::dns1123_subdomain(name)
    }

    fn validate(&self, event: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut stored = event.clone();
        self.storage_form(&mut stored);
        let mut errors = Vec::new();
        placed(&stored, &mut errors);
        errors.extend(match old {
            None => reporter_rules(event),
            Some(old) => {
                let mut found = Vec::new();
                if event["series"] != old["series"] {
                    series(event, &mut found);
                }
                found.extend(unchanged(event, old));
                found
            }
        });
        errors
    }

    fn fields(&self, event: &Value) -> BTreeMap<String, String> {
        let mut stored = event.clone();
        self.storage_form(&mut stored);
        let renamed = |key: String| match key.strip_prefix("involvedObject") {
            Some(rest) => format!("regarding{rest}"),
            None if key == REPORTER.0 => REPORTER.1.to_owned(),
            None => key,
        };
        let fields = Events.fields(&stored).into_iter();
        fields.map(|(key, value)| (renamed(key), value)).collect()
    }

    fn ttl_s(&self, event: &Value) -> Option<i64> {
        Events.ttl_s(event)
    }

    fn storage_form(&self, event: &mut Value) {
        let Some(fields) = event.as_object_mut() else { return };
        fields.insert("apiVersion".into(), "v1".into());
        for (old, new) in RENAMED.into_iter().chain([REPORTER]) {
            rename(fields, new, old);
        }
    }

    fn served_form(&self, event: &mut Value) {
        let Some(fields) = event.as_object_mut() else { return };
        fields.insert("apiVersion".into(), "events.k8s.io/v1".into());
        for (old, new) in RENAMED.into_iter().chain([REPORTER]) {
            rename(fields, old, new);
        }
    }

    fn columns(&self) -> Vec<crate::strategy::Column> {
        Events.columns()
    }

    fn row(&self, event: &Value, now: Timestamp) -> Vec<Value> {
        let mut stored = event.clone();
        self.storage_form(&mut stored);
        Events.row(&stored, now)
    }
}

/// The newer API wants to know who saw what, and when.
fn reporter_rules(event: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if time::parse(meta::text(event, &["eventTime"])).is_none() {
        errors.push(FieldError::required("eventTime", ""));
    }
    told(event, "reportingController", &mut errors);
    let kind = meta::text(event, &["type"]);
    if !matches!(kind, "Normal" | "Warning") {
        let detail = format!("has invalid value: {kind}");
        errors.push(FieldError::invalid("type", "", detail));
    }
    series(event, &mut errors);
    errors
}

/// How often something happened, once it is more than once.
fn series(event: &Value, errors: &mut Vec<FieldError>) {
    if let Some(series) = meta::at(event, &["series"]) {
        if meta::number(series, &["count"]).unwrap_or_default() < 2 {
            let detail = "should be at least 2";
            errors.push(FieldError::invalid("series.count", "", detail));
        }
        if meta::at(series, &["lastObservedTime"]).is_none() {
            errors.push(FieldError::required("series.lastObservedTime", ""));
        }
    }
}

/// What happened does not change; only how often it did.
fn unchanged(event: &Value, old: &Value) -> Vec<FieldError> {
    let fields = [
        "action",
        "eventTime",
        "note",
        "reason",
        "regarding",
        "related",
        "reportingController",
        "reportingInstance",
        "type",
    ];
    let mut errors = Vec::new();
    for field in fields {
        check::immutable(event, old, &[field], &mut errors);
    }
    errors
}

fn rename(fields: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = fields.remove(from) {
        fields.insert(to.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Value {
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "n"},
            "involvedObject": {"kind": "Pod", "namespace": "n", "name": "p"}, "reason": "Started",
            "message": "Started it\n", "type": "Normal", "count": 3, "source": {"component": "kubelet", "host": "node-1"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:04:00Z",
            "reportingComponent": "kubelet"})
    }

    #[test]
    fn rows_show_when_what_and_to_whom() {
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        assert_eq!(
            Events.row(&event(), now),
            [
                json!("60s"),
                json!("Normal"),
                json!("Started"),
                json!("pod/p"),
                json!(""),
                json!("kubelet, node-1"),
                json!("Started it"),
                json!("5m"),
                json!(3),
                json!("e"),
            ]
        );
        assert_eq!(Events.columns()[9].format, "name");
    }

    #[test]
    fn both_views_are_one_object() {
        let mut view = event();
        NewEvents.served_form(&mut view);
        assert_eq!(
            (&view["note"], &view["regarding"]["name"]),
            (&json!("Started it\n"), &json!("p"))
        );
        assert_eq!(view["apiVersion"], "events.k8s.io/v1");
        NewEvents.storage_form(&mut view);
        assert_eq!(view, event());
    }

    #[test]
    fn newer_events_say_who_saw_what_and_when() {
        let event = json!({"metadata": {"name": "e", "namespace": "default"}, "type": "Normal",
            "regarding": {"namespace": "default"}, "reason": "r", "action": "a", "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "example.com/c", "reportingInstance": "c-1"});
        assert_eq!(NewEvents.validate(&event, None), []);
        let mut poor = event.clone();
        poor.as_object_mut()
            .unwrap()
            .retain(|field, _| !["action", "eventTime"].contains(&&**field));
        let errors = NewEvents.validate(&poor, None);
        let fields: Vec<&str> = errors.iter().map(|error| &*error.field).collect();
        assert_eq!(fields, ["eventTime", "action"]);
        let mut other = event.clone();
        other["series"] = json!({"count": 1});
        let found = NewEvents.validate(&other, Some(&event));
        let fields: Vec<&str> = found.iter().map(|error| &*error.field).collect();
        assert_eq!(fields, ["series.count", "series.lastObservedTime"]);
        other["series"] = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"});
        assert_eq!(NewEvents.validate(&other, Some(&event)), []);
        other["reason"] = "s".into();
        assert_eq!(NewEvents.validate(&other, Some(&event))[0].field, "reason");
    }

    #[test]
    fn selectors_find_events_of_an_object() {
        let fields = Events.fields(&event());
        assert_eq!(fields["involvedObject.name"], "p");
        assert_eq!(fields["source"], "kubelet");
        assert_eq!(Events.fields(&json!({})).len(), fields.len());
        let mut view = event();
        NewEvents.served_form(&mut view);
        let fields = NewEvents.fields(&view);
        assert_eq!((&*fields["regarding.name"], &*fields["reportingController"]), ("p", "kubelet"));
    }
}
