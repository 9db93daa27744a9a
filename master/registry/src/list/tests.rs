//! What must hold of every kind on the list.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

#[test]
fn paths_and_storage_places_are_distinct() {
    let (mut paths, mut places) = (BTreeSet::new(), BTreeSet::new());
    for resource in builtin() {
        assert!(paths.insert((resource.api_version(), resource.plural.clone())), "{resource:?}");
        if resource.is_stored() && resource.stored_as.is_none() {
            let (group, plural) = resource.storage();
            assert!(places.insert((group.to_owned(), plural.to_owned())), "{resource:?}");
        }
    }
}

#[test]
fn every_kind_has_a_schema_with_metadata() {
    for resource in builtin() {
        let cursor = resource.schema.cursor().expect("a schema");
        assert_eq!(cursor.type_name(), Some(resource.schema.name()));
        let is_bare = resource.kind == "Binding";
        assert!(cursor.field("metadata").is_some() || is_bare, "{}", resource.kind);
    }
}

#[test]
fn scopes_are_upstreams() {
    let cluster: BTreeSet<String> = builtin()
        .iter()
        .filter(|resource| !resource.namespaced && resource.is_stored())
        .map(|resource| resource.plural.to_string())
        .collect();
    for plural in ["namespaces", "nodes", "persistentvolumes", "clusterroles", "storageclasses"] {
        assert!(cluster.contains(plural), "{plural}");
    }
    for plural in ["pods", "services", "events", "leases", "roles", "deployments"] {
        assert!(!cluster.contains(plural), "{plural}");
    }
}

#[test]
fn hooks_survive_objects_of_any_shape() {
    let now = Timestamp::UNIX_EPOCH;
    let shapes = [
        json!({}),
        json!({"metadata": [], "spec": 5, "status": ""}),
        json!({"spec": {"template": [], "ports": {}, "containers": 7, "selector": []}, "data": 1}),
        json!({"spec": {"template": {"spec": {"containers": [{}], "volumes": [{}]}}, "ports": [{}]}}),
    ];
    for resource in builtin() {
        let strategy = &resource.strategy;
        let known = strategy.fields(&json!({})).into_keys().collect::<Vec<_>>();
        for shape in &shapes {
            let mut object = shape.clone();
            strategy.default(&mut object);
            let once = object.clone();
            strategy.default(&mut object);
            assert_eq!(
                object, once,
                "{}: defaults fill gaps, and then none is left",
                resource.kind
            );
            let _: (Vec<_>, Vec<_>) =
                (resource.validate(&object, None), resource.validate(&object, Some(shape)));
            assert_eq!(
                strategy.row(&object, now).len(),
                strategy.columns().len(),
                "{}",
                resource.kind
            );
            assert_eq!(
                strategy.fields(&object).into_keys().collect::<Vec<_>>(),
                known,
                "{}",
                resource.kind
            );
            let _: (Option<i64>, Option<i64>) =
                (strategy.graceful_delete_seconds(&object), strategy.ttl_s(&object));
        }
    }
}

#[test]
fn both_views_of_events_turn_into_each_other() {
    let is_event = |resource: &&Arc<Resource>| resource.kind == "Event";
    let views = builtin();
    for resource in views.iter().filter(is_event).filter(|view| view.stored_as.is_some()) {
        let mut object: Value =
            json!({"metadata": {"name": "x"}, "note": "n", "regarding": {"kind": "Pod"}});
        resource.strategy.storage_form(&mut object);
        assert_eq!(object["message"], "n");
        resource.strategy.served_form(&mut object);
        assert_eq!(object["note"], "n");
    }
}
