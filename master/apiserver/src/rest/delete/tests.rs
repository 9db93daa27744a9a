//! The plan of a deletion, as a table.

use serde_json::json;

use super::*;

const NOW: &str = "2026-11-21T06:00:00Z";

fn planned(old: &Value, default_grace_s: Option<i64>, options: &DeleteOptions) -> String {
    match plan(old, default_grace_s, false, options, NOW.parse().unwrap()) {
        Plan::Remove => "remove".into(),
        Plan::Nothing => "nothing".into(),
        Plan::Mark(new) => format!(
            "mark {}s {:?} {}",
            new["metadata"]["deletionGracePeriodSeconds"],
            meta::finalizers(&new),
            new["status"]["phase"].as_str().unwrap_or("")
        ),
    }
}

#[test]
fn deletion_waits_for_grace_and_finalizers() {
    let plain = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}});
    let held =
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"finalizers": ["a/b"]}});
    let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {},
        "spec": {"finalizers": ["kubernetes"]}});
    let dying = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {
        "deletionTimestamp": "2026-11-21T06:00:30Z", "deletionGracePeriodSeconds": 30}});
    let none = DeleteOptions::default();
    let with = |propagation| DeleteOptions { propagation: Some(propagation), ..none.clone() };
    let grace = |grace_s| DeleteOptions { grace_s: Some(grace_s), ..none.clone() };
    let check = |old: &Value, default, options: &DeleteOptions, expected: &str| {
        assert_eq!(planned(old, default, options), expected, "{old} {options:?}");
    };
    check(&plain, None, &none, "remove");
    check(&plain, None, &grace(30), "remove");
    check(&plain, None, &with(Propagation::Background), "remove");
    check(&plain, None, &with(Propagation::Foreground), "mark 0s [\"foregroundDeletion\"] ");
    check(&plain, None, &with(Propagation::Orphan), "mark 0s [\"orphan\"] ");
    check(&held, None, &none, "mark 0s [\"a/b\"] ");
    check(&namespace, None, &none, "mark nulls [] Terminating");
    check(&plain, Some(30), &none, "mark 30s [] ");
    check(&plain, Some(30), &grace(5), "mark 5s [] ");
    check(&plain, Some(30), &grace(0), "remove");
    check(&plain, Some(0), &grace(30), "remove");
    check(&held, Some(30), &grace(0), "mark 0s [\"a/b\"] ");
    check(&dying, Some(30), &none, "nothing");
    check(&dying, Some(30), &grace(10), "mark 10s [] ");
    check(&dying, Some(30), &grace(60), "nothing");
    check(&dying, Some(30), &grace(0), "remove");
    // It has ended meanwhile: its node says when it is gone.
    check(&dying, Some(0), &none, "nothing");
    check(&dying, Some(0), &grace(10), "mark 10s [] ");
}

#[test]
fn finalizer_that_is_there_already_changes_nothing() {
    let dying = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"finalizers": ["a/b"],
        "deletionTimestamp": NOW, "deletionGracePeriodSeconds": 0}});
    assert_eq!(planned(&dying, None, &DeleteOptions::default()), "nothing");
}

#[test]
fn options_of_the_query_count_only_without_a_body() {
    let query =
        Query::parse("gracePeriodSeconds=-5&propagationPolicy=Orphan&uid=u&resourceVersion=7");
    let mut options = DeleteOptions::default();
    from_query(&mut options, &query).unwrap();
    assert_eq!((options.grace_s, options.propagation), (Some(1), Some(Propagation::Orphan)));
    let demanded = (options.uid.as_deref(), options.resource_version.as_deref());
    assert_eq!(demanded, (Some("u"), Some("7")));
    from_body(&mut options, &json!({"orphanDependents": false})).unwrap();
    assert_eq!((options.grace_s, options.propagation), (None, Some(Propagation::Background)));
    assert!(options.is_cascading);
}
