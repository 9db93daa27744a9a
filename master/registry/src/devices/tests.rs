//! What is written of devices, and what kube-apiserver 1.36.3 answers.

use serde_json::json;

use super::*;
use crate::strategy::Strategy;

/// One a line: the kind, what is written of it, and what is wrong with that.
const ANSWERS: &str = include_str!("answers.jsonl");

fn told(findings: Findings) -> Vec<String> {
    let mut told: Vec<String> = findings.iter().map(ToString::to_string).collect();
    told.sort();
    told
}

/// A claim that asks for a device of a class, and for one of another name and one choice.
fn asked() -> Value {
    let exactly = json!({"name": "r", "exactly": {"deviceClassName": "gpu"}});
    let choice = json!({"name": "f", "firstAvailable": [{"name": "a", "deviceClassName": "x"}]});
    let mut claim = json!({"spec": {"devices": {"requests": [exactly, choice]}}});
    Strategy::default(&RESOURCE_CLAIMS, &mut claim);
    claim
}

fn judged_status(new: &Value, old: &Value) -> Findings {
    Strategy::validate_status(&RESOURCE_CLAIMS, new, old)
}

fn judged_slice(new: &Value, old: Option<&Value>) -> Findings {
    Strategy::validate(&RESOURCE_SLICES, new, old)
}

fn findings(kind: &str, written: Value) -> Findings {
    let judged = |plain: &Plain, mut object: Value| {
        Strategy::default(plain, &mut object);
        Strategy::validate(plain, &object, None)
    };
    match kind {
        "claim" => judged(&RESOURCE_CLAIMS, json!({"spec": {"devices": written}})),
        "slice" => {
            let mut slice = json!({ "spec": written });
            without_what_is_off(&mut slice);
            judged(&RESOURCE_SLICES, slice)
        }
        "status" => {
            let mut claim = asked();
            claim["status"] = written;
            Strategy::default(&RESOURCE_CLAIMS, &mut claim);
            judged_status(&claim, &asked())
        }
        other => panic!("no kind {other:?}"),
    }
}

#[test]
fn answers_are_those_of_upstream() {
    let (mut count, mut wrong) = (0, Vec::new());
    for line in ANSWERS.lines() {
        let (kind, written, expected): (String, Value, Vec<String>) =
            serde_json::from_str(line).unwrap();
        let found = told(findings(&kind, written));
        if found != expected {
            wrong.push(format!("{line}\n{found:?}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 150, "{count} answers");
}

#[test]
fn what_looks_odd_is_refused_in_peace() {
    let share = format!("{}\u{e9}{}", "a".repeat(8), "a".repeat(35));
    let result = json!({"request": "r", "driver": "d.example.com", "pool": "p", "device": "d",
        "shareID": share});
    let told_of = |status: Value| told(findings("status", status)).join("\n");
    let given = told_of(json!({"allocation": {"devices": {"results": [result]}}}));
    assert!(given.contains("invalid urn prefix"), "{given}");
    let device = json!({"driver": "d.example.com", "pool": "p", "device": "d",
        "networkData": {"ips": ["::ffff:1.2.3.4/64"]}});
    let spoken = told_of(json!({"devices": [device]}));
    assert!(spoken.contains("must be a valid address in CIDR form"), "{spoken}");
    let policy =
        json!({"default": "9223372036854775807", "validRange": {"min": "-1", "step": "1"}});
    let slice = json!({"driver": "d.example.com", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1},
        "devices": [{"name": "d", "allowMultipleAllocations": true,
            "capacity": {"m": {"value": "1", "requestPolicy": policy}}}]});
    // Upstream's arithmetic goes round, too: what matters is that it ends.
    let _judged = findings("slice", slice);
}

#[test]
fn what_was_given_stays_and_what_is_said_of_it_goes_with_it() {
    let device = json!({"request": "r", "driver": "d", "pool": "p", "device": "x"});
    let given = |device: &Value| json!({"devices": {"results": [device]}});
    let mut old = asked();
    old["status"] = json!({"allocation": given(&device), "devices": [{"driver": "d", "pool": "p", "device": "x"}]});
    assert_eq!(told(judged_status(&old, &old)), [""; 0]);
    let mut new = old.clone();
    new["status"]["allocation"]["devices"]["results"][0]["device"] = "y".into();
    status::forget_devices(&mut new, &old);
    assert!(new["status"].get("devices").is_none(), "{new}");
    let found = judged_status(&new, &old);
    assert_eq!(found.iter().map(|it| it.field.as_str()).collect::<Vec<_>>(), ["status.allocation"]);
    let mut ending = old.clone();
    ending["metadata"] = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    ending["status"]["reservedFor"] = json!([{"resource": "pods", "name": "p", "uid": "u"}]);
    assert_eq!(
        told(judged_status(&ending, &old)),
        [
            "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        ]
    );
    assert_eq!(told(judged_status(&ending, &ending)), [""; 0]);
}

#[test]
fn taints_that_stay_are_not_judged_again() {
    let taints = |key: &str| {
        json!({"spec": {"driver": "d", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1},
        "devices": [{"name": "x", "taints": [{"key": key, "effect": "Odd"}]}]}})
    };
    let old = taints("a");
    assert_eq!(told(judged_slice(&old, Some(&old))), [""; 0]);
    assert_eq!(judged_slice(&taints("b"), Some(&old)).len(), 1);
}

fn fields(plain: &Plain, mut new: Value, old: Option<&Value>) -> Vec<String> {
    Strategy::default(plain, &mut new);
    Strategy::validate(plain, &new, old).into_iter().map(|error| error.field).collect()
}

fn asking(request: Value) -> Value {
    json!({"metadata": {"name": "c"}, "spec": {"devices": {"requests": [request]}}})
}

#[test]
fn a_request_names_a_class_and_a_count() {
    let place = "spec.devices.requests[0]";
    #[rustfmt::skip]
    let cases = [
        (json!({"name": "r", "exactly": {"deviceClassName": "gpu"}}),              vec![]),
        (json!({"name": "r"}),                                                     vec![place.to_owned()]),
        (json!({"name": "r", "exactly": {}}),                                      vec![format!("{place}.exactly.deviceClassName")]),
        (json!({"name": "r", "exactly": {"deviceClassName": "gpu", "count": -1}}), vec![format!("{place}.exactly.count")]),
        (json!({"name": "r", "firstAvailable": [{"name": "a", "deviceClassName": "x"}]}), vec![]),
    ];
    for (request, expected) in cases {
        assert_eq!(fields(&RESOURCE_CLAIMS, asking(request.clone()), None), expected, "{request}");
    }
    let mut one = asking(json!({"name": "r", "exactly": {"deviceClassName": "gpu"}}));
    claim(&mut one);
    assert_eq!(one["spec"]["devices"]["requests"][0]["exactly"]["count"], 1);
}

#[test]
fn a_claim_stays_what_it_is() {
    let old = asking(
        json!({"name": "r", "exactly": {"deviceClassName": "gpu", "count": 1, "allocationMode": "ExactCount"}}),
    );
    assert_eq!(fields(&RESOURCE_CLAIMS, old.clone(), Some(&old)), [""; 0]);
    let other = asking(json!({"name": "s", "exactly": {"deviceClassName": "gpu"}}));
    assert_eq!(fields(&RESOURCE_CLAIMS, other, Some(&old)), ["spec"]);
}

#[test]
fn states_are_upstreams() {
    #[rustfmt::skip]
    let cases = [
        (json!({}), "pending"),
        (json!({"status": {"allocation": {}}}), "allocated"),
        (json!({"status": {"allocation": {}, "reservedFor": [{"name": "p"}]}}), "allocated,reserved"),
        (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), "deleted"),
    ];
    for (claim, expected) in cases {
        assert_eq!(state(&claim), expected, "{claim}");
    }
}

#[test]
fn slices_are_found_by_driver_and_node() {
    let slice = json!({"spec": {"driver": "d", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1}}});
    assert_eq!(fields(&RESOURCE_SLICES, slice.clone(), None), [""; 0]);
    assert_eq!(RESOURCE_SLICES.fields(&slice)["spec.nodeName"], "n");
}
