//! Sketches of objects for the table tests, and an API server that says what a test wants.

pub(crate) mod api;

use std::sync::Arc;

use jiff::Timestamp;
use master_client::pod::Pod;
use serde_json::{Value, json};

/// So many seconds after the epoch.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// The same, as objects carry it.
pub(crate) fn time(seconds: i64) -> String {
    master_api::time::seconds(at(seconds))
}

/// An object from JSON.
pub(crate) fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// Pods, one a word: a name, then any of
/// `@NODE`, `:PHASE` (running), `!` not ready, `-` being deleted, `$COST` of deletion,
/// `~AGE` in seconds before 1,000,000 (ready and created then; 1,000 if absent), `=HASH` a label.
pub(crate) fn pods(sketch: &str) -> Vec<Arc<Pod>> {
    sketch.split_whitespace().map(|word| Arc::new(pod(word))).collect()
}

fn pod(word: &str) -> Pod {
    let is_mark = |c: char| "@:!-$~=".contains(c);
    let split = word.find(is_mark).unwrap_or(word.len());
    let (name, mut rest) = word.split_at(split);
    let (mut node, mut phase, mut cost, mut age, mut hash) = ("", "Running", "", 1_000, "");
    let (mut ready, mut deleted) = (true, false);
    while let Some(mark) = rest.chars().next() {
        rest = &rest[1..];
        // a cost may be negative
        let from = usize::from(mark == '$');
        let end =
            rest.get(from..).and_then(|rest| rest.find(is_mark)).map_or(rest.len(), |e| e + from);
        let value = &rest[..end];
        match mark {
            '@' => node = value,
            ':' => phase = value,
            '!' => ready = false,
            '-' => deleted = true,
            '$' => cost = value,
            '~' => age = value.parse().unwrap(),
            _ => hash = value,
        }
        rest = &rest[end..];
    }
    let phase = format!("{}{}", phase[..1].to_uppercase(), &phase[1..]);
    let since = time(1_000_000 - age);
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"),
            "creationTimestamp": since, "labels": {"app": "web"}, "annotations": {}},
        "spec": {"containers": [], "nodeName": if node.is_empty() { Value::Null } else { json!(node) }},
        "status": {"phase": phase, "conditions": [{"type": "Ready",
            "status": if ready && phase == "Running" { "True" } else { "False" },
            "lastTransitionTime": since}]}});
    if deleted {
        pod["metadata"]["deletionTimestamp"] = json!(time(999_999));
    }
    if !cost.is_empty() {
        pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"] = json!(cost);
    }
    if !hash.is_empty() {
        pod["metadata"]["labels"]["pod-template-hash"] = json!(hash);
    }
    object(pod)
}
