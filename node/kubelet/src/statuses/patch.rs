//! A pod's status as a patch, and what of an object's status is the kubelet's to say.
//!
//! Pure. Conditions that others write are not touched, however old the copy is that they were read from.

use k8s_openapi::api::core::v1::PodStatus;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value, json};

use crate::amount;
use crate::status::{OWN_CONDITIONS, is_own};

/// Fields that a status may lose again.
const NULLABLE: &[&str] = &[
    "reason",
    "message",
    "podIP",
    "podIPs",
    "hostIP",
    "hostIPs",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
    "resize",
    "nominatedNodeName",
];

/// The patch that makes the kubelet's part of the object's status this one.
pub(super) fn patch(api_uid: Option<&str>, status: &PodStatus) -> Value {
    let mut patch = serde_json::to_value(status).unwrap_or_default();
    if let Some(fields) = patch.as_object_mut() {
        for key in NULLABLE {
            fields.entry(*key).or_insert(Value::Null);
        }
        // Lists that are merged by a key, and are the kubelet's alone.
        for key in ["podIPs", "hostIPs"] {
            if let Some(list) = fields.get_mut(key).and_then(Value::as_array_mut) {
                list.insert(0, json!({"$patch": "replace"}));
            }
        }
        fields.insert("conditions".to_owned(), conditions(status).into());
    }
    json!({"metadata": {"uid": api_uid}, "status": patch})
}

/// The kubelet's conditions, those included that are to go.
fn conditions(status: &PodStatus) -> Vec<Value> {
    let all: Vec<_> = status.conditions.iter().flatten().filter(|it| is_own(&it.type_)).collect();
    let is_there = |kind: &&str| all.iter().any(|condition| condition.type_ == *kind);
    let gone = OWN_CONDITIONS.iter().filter(|kind| !is_there(kind));
    let gone = gone.map(|kind| json!({"type": kind, "$patch": "delete"}));
    // A condition is merged with the one that is there: what it says no longer is to go.
    let whole = all.iter().filter_map(|condition| {
        let mut whole = serde_json::to_value(condition).ok()?;
        let fields = whole.as_object_mut()?;
        for key in ["reason", "message", "lastProbeTime"] {
            fields.entry(key).or_insert(Value::Null);
        }
        Some(whole)
    });
    whole.chain(gone).collect()
}

/// Fields that others write, or that the masters have decided already.
const FOREIGN: &[&str] = &[
    "qosClass",
    "resourceClaimStatuses",
    "extendedResourceClaimStatus",
    "nodeAllocatableResourceClaimStatuses",
];

/// Whether an object's status says something else than this one, as far as the kubelet is who says it. Times of conditions
/// and notations of amounts make no difference (upstream: pkg/kubelet/status/status_manager.go, `isPodStatusByKubeletEqual`).
pub(super) fn differs(shown: &PodStatus, told: &PodStatus) -> bool {
    own(shown) != own(told)
}

/// The kubelet's part of a status, in a form in which what means the same is the same.
fn own(status: &PodStatus) -> Value {
    let mut all = serde_json::to_value(status).unwrap_or_default();
    if let Some(fields) = all.as_object_mut() {
        fields.retain(|key, _| !FOREIGN.contains(&key.as_str()));
        let conditions = status.conditions.iter().flatten().filter(|it| is_own(&it.type_));
        let conditions: Map<String, Value> = conditions
            .map(|it| {
                let said = json!({"status": it.status, "reason": it.reason, "message": it.message});
                (it.type_.clone(), said)
            })
            .collect();
        fields.insert("conditions".to_owned(), conditions.into());
    }
    plain(&mut all);
    all
}

/// Takes out what says nothing, and writes amounts as numbers.
fn plain(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                if matches!(key.as_str(), "requests" | "limits" | "allocatedResources") {
                    numbers(field);
                }
                plain(field);
            }
            fields.retain(|_, field| !says_nothing(field));
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}

fn numbers(amounts: &mut Value) {
    for amount in amounts.as_object_mut().into_iter().flat_map(Map::values_mut) {
        let text = amount.as_str().map(|text| Quantity(text.to_owned()));
        if let Some(number) = text.as_ref().and_then(amount::milli) {
            *amount = number.into();
        }
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use master_api::patch::{Merge, PatchMeta, strategic_merge};

    use super::*;

    /// How the lists of a pod's status are merged.
    #[derive(Clone, Copy)]
    struct Meta;

    impl PatchMeta for Meta {
        fn field(&self, name: &str) -> (Merge, Self) {
            let merge = match name {
                "conditions" => Merge::ByKey("type"),
                "podIPs" | "hostIPs" => Merge::ByKey("ip"),
                _ => Merge::Plain,
            };
            (merge, Self)
        }
    }

    #[test]
    fn conditions_of_others_survive_a_status_that_does_not_know_them() {
        let there = json!({"metadata": {"uid": "u"}, "status": {
            "reason": "Old", "podIPs": [{"ip": "10.0.0.1"}], "containerStatuses": [{"name": "gone"}],
            "conditions": [
                {"type": "example.com/gate", "status": "True"},
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "containers with unready status: [c]"},
                {"type": "PodResizePending", "status": "True"},
            ],
        }});
        // What was derived from an older copy: the gate was not open yet.
        let status: PodStatus = serde_json::from_value(json!({
            "phase": "Running", "podIPs": [{"ip": "10.0.0.2"}], "hostIPs": [{"ip": "192.0.2.1"}],
            "containerStatuses": [],
            "conditions": [
                {"type": "example.com/gate", "status": "False"}, {"type": "Ready", "status": "True"},
            ],
        }))
        .unwrap();
        let merged = strategic_merge(there, patch(Some("u"), &status), &Meta).unwrap();
        let conditions = merged["status"]["conditions"].as_array().unwrap().iter();
        let told: Vec<String> = conditions
            .map(|it| format!("{}={} {} {}", it["type"], it["status"], it["reason"], it["message"]))
            .collect();
        assert_eq!(told, [r#""example.com/gate"="True" null null"#, r#""Ready"="True" null null"#]);
        assert_eq!(merged["status"]["podIPs"], json!([{"ip": "10.0.0.2"}]));
        assert_eq!(merged["status"]["hostIPs"], json!([{"ip": "192.0.2.1"}]));
        assert_eq!(merged["status"]["containerStatuses"], json!([]));
        assert_eq!(merged["status"].get("reason"), None);
    }

    #[test]
    fn only_what_is_the_kubelets_and_means_something_else_differs() {
        let condition = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let told = json!({
            "phase": "Running", "podIP": "10.0.0.2", "conditions": [condition],
            "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "lastState": {}, "allocatedResources": {"cpu": "0.5"}}],
        });
        let check = |change: fn(&mut Value), expected: bool| {
            let mut shown = told.clone();
            change(&mut shown);
            let parse = |value: &Value| serde_json::from_value(value.clone()).unwrap();
            assert_eq!(differs(&parse(&shown), &parse(&told)), expected, "{shown}");
        };
        check(|_| {}, false);
        check(
            |it| it["conditions"][0]["lastTransitionTime"] = json!("2026-02-01T00:00:00Z"),
            false,
        );
        check(|it| it["conditions"][0]["reason"] = json!(""), false);
        check(|it| it["containerStatuses"][0]["lastState"] = Value::Null, false);
        check(|it| it["containerStatuses"][0]["allocatedResources"]["cpu"] = json!("500m"), false);
        check(|it| it["initContainerStatuses"] = json!([]), false);
        check(|it| it["qosClass"] = json!("Burstable"), false);
        check(|it| it["resourceClaimStatuses"] = json!([{"name": "c"}]), false);
        check(
            |it| {
                it["conditions"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"type": "example.com/gate", "status": "True"}))
            },
            false,
        );
        check(|it| it["conditions"][0]["status"] = json!("False"), true);
        check(|it| it["conditions"][0]["reason"] = json!("NodeNotReady"), true);
        check(|it| it["conditions"] = json!([]), true);
        check(|it| it["phase"] = json!("Pending"), true);
        check(|it| it["nominatedNodeName"] = json!("other"), true);
        check(|it| it["containerStatuses"][0]["ready"] = json!(false), true);
        check(|it| it["containerStatuses"][0]["allocatedResources"]["cpu"] = json!("501m"), true);
    }
}
