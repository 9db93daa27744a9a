//! Ownership of fields, case by case, on a small schema of every kind of division.

use serde_json::{Value, json};

use super::*;
use crate::meta;

/// A type in tests: what divides how.
#[derive(Clone, Copy, Debug)]
struct Type(&'static Kind);

#[derive(Debug)]
enum Kind {
    Leaf,
    Struct(&'static [(&'static str, Kind)]),
    Map(&'static Kind),
    Set,
    Keyed(fn() -> &'static [Key], &'static Kind),
    Any,
}

impl Shape<'static> for Type {
    fn atom(self) -> Atom<'static> {
        match self.0 {
            Kind::Leaf => Atom::Leaf,
            Kind::Struct(_) => Atom::Struct { keeps_unknown: false },
            Kind::Map(_) => Atom::Map,
            Kind::Set => Atom::Set,
            Kind::Keyed(keys, _) => Atom::Keyed(keys()),
            Kind::Any => Atom::Any,
        }
    }

    fn kind(self) -> super::Kind {
        super::Kind::Any
    }

    fn field(self, name: &str) -> Option<Self> {
        match self.0 {
            Kind::Struct(fields) => {
                fields.iter().find(|(field, _)| *field == name).map(|(_, kind)| Self(kind))
            }
            _ => None,
        }
    }

    fn item(self) -> Option<Self> {
        match self.0 {
            Kind::Map(item) | Kind::Keyed(_, item) => Some(Self(item)),
            _ => None,
        }
    }
}

fn by_name() -> &'static [Key] {
    static KEYS: std::sync::LazyLock<[Key; 1]> =
        std::sync::LazyLock::new(|| [Key { name: "name".into(), default: None }]);
    &*KEYS
}

fn by_port() -> &'static [Key] {
    static KEYS: std::sync::LazyLock<[Key; 2]> = std::sync::LazyLock::new(|| {
        let protocol = Key { name: "protocol".into(), default: Some("TCP".into()) };
        [Key { name: "port".into(), default: None }, protocol]
    });
    &*KEYS
}

const META: Kind = Kind::Struct(&[
    ("name", Kind::Leaf),
    ("labels", Kind::Map(&Kind::Leaf)),
    ("annotations", Kind::Map(&Kind::Leaf)),
    ("finalizers", Kind::Set),
]);
const PORT: Kind =
    Kind::Struct(&[("name", Kind::Leaf), ("port", Kind::Leaf), ("protocol", Kind::Leaf)]);
const CONTAINER: Kind = Kind::Struct(&[
    ("name", Kind::Leaf),
    ("image", Kind::Leaf),
    ("args", Kind::Leaf),
    ("ports", Kind::Keyed(by_port, &PORT)),
]);
const SPEC: Kind = Kind::Struct(&[
    ("replicas", Kind::Leaf),
    ("selector", Kind::Leaf),
    ("containers", Kind::Keyed(by_name, &CONTAINER)),
    ("extra", Kind::Any),
    ("limits", Kind::Struct(&[("cpu", Kind::Leaf), ("memory", Kind::Leaf)])),
]);
static ROOT: Kind = Kind::Struct(&[
    ("apiVersion", Kind::Leaf),
    ("kind", Kind::Leaf),
    ("metadata", META),
    ("spec", SPEC),
    ("status", Kind::Struct(&[("ready", Kind::Leaf)])),
]);

const SHAPE: Option<Type> = Some(Type(&ROOT));

fn manager(name: &str, second: i64) -> Manager {
    Manager {
        name: name.to_owned(),
        api_version: "v1".to_owned(),
        subresource: String::new(),
        now: jiff::Timestamp::from_second(second).unwrap(),
    }
}

/// An object that is written again and again.
#[derive(Default)]
struct World {
    object: Option<Value>,
    managed: Managed,
    clock: i64,
}

impl World {
    fn apply(&mut self, name: &str, config: &Value, force: bool) -> Result<(), Conflicts> {
        self.clock += 1;
        let wanted = Apply {
            manager: &manager(name, self.clock),
            scope: Scope::NoStatus,
            force,
            live: self.object.as_ref(),
            config,
        };
        let applied = apply(SHAPE, &wanted, self.managed.clone())?;
        self.object = Some(applied.object);
        self.managed = applied.managed;
        Ok(())
    }

    fn update(&mut self, name: &str, new: Value) {
        self.clock += 1;
        let manager = manager(name, self.clock);
        let scope = Scope::NoStatus;
        let write = Update {
            manager: &manager,
            scope,
            old: self.object.as_ref(),
            blank: None,
            has_parts: true,
            new: &new,
        };
        self.managed = update(SHAPE, &write, self.managed.clone());
        self.object = Some(new);
    }

    fn check(&self, object: Value, owners: &[(&str, Value)]) {
        assert_eq!(self.object.as_ref(), Some(&object));
        let found: Vec<(String, Value)> = match self.managed.clone().into_value() {
            Value::Array(entries) => entries
                .iter()
                .map(|entry| {
                    (meta::text(entry, &["manager"]).to_owned(), entry["fieldsV1"].clone())
                })
                .collect(),
            _ => Vec::new(),
        };
        let expected: Vec<(String, Value)> =
            owners.iter().map(|(name, fields)| ((*name).to_owned(), fields.clone())).collect();
        assert_eq!(found, expected);
    }
}

fn set(fields: Value) -> Set {
    Set::read(&fields).unwrap()
}

#[test]
fn sets_combine_as_sets_do() {
    let a = json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}, "f:d": {"f:e": {}}});
    let b = json!({"f:a": {"f:b": {}}, "f:d": {}, "f:x": {}});
    let mut sum = set(a.clone());
    sum.add(&set(b.clone()));
    let all =
        json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}, "f:d": {".": {}, "f:e": {}}, "f:x": {}});
    assert_eq!(sum.clone().into_value(), all);
    let mut rest = set(a.clone());
    rest.subtract(&set(b.clone()));
    // What lies below a member that goes stays; a place without members goes.
    assert_eq!(rest.into_value(), json!({"f:a": {}, "f:c": {}, "f:d": {"f:e": {}}}));
    let both = set(a.clone()).intersection(&set(b));
    assert_eq!(both.into_value(), json!({"f:a": {"f:b": {}}}));
    let leaves = set(a.clone()).leaves();
    assert_eq!(leaves.into_value(), json!({"f:a": {"f:b": {}}, "f:c": {}, "f:d": {"f:e": {}}}));
    sum.subtract(&set(all));
    assert!(sum.is_empty());
    let mut nothing = set(a.clone());
    nothing.subtract(&set(a));
    assert!(nothing.is_empty());
}

#[test]
fn sets_are_read_as_written_and_no_further() {
    let cases = [
        (json!({"f:a": {}}), Some(json!({"f:a": {}}))),
        (
            json!({"k:{\"b\": 1, \"a\":\"x\"}": {".": {}, "f:y": {}}}),
            Some(json!({"k:{\"a\":\"x\",\"b\":1}": {".": {}, "f:y": {}}})),
        ),
        (json!({"v:\"x\"": {}, "i:0": {}}), Some(json!({"v:\"x\"": {}, "i:0": {}}))),
        (json!({"z:unknown": {}}), Some(json!({}))),
        (json!({"k:nonsense": {}}), None),
        (json!({"f:a": 1}), None),
        (json!([]), None),
    ];
    for (fields, expected) in cases {
        assert_eq!(Set::read(&fields).map(Set::into_value), expected, "{fields}");
    }
}

#[test]
fn an_apply_owns_what_it_mentions() {
    let mut world = World::default();
    let config = json!({
        "metadata": {"name": "x", "labels": {"a": "1"}, "finalizers": ["f"]},
        "spec": {"replicas": 1, "selector": {"whole": {"value": 1}}, "extra": {"l": [1], "m": {"n": 1}},
            "containers": [{"name": "c", "image": "i", "ports": [{"port": 80}]}], "limits": {}},
        "status": {"ready": true},
    });
    world.apply("one", &config, false).unwrap();
    let owned = json!({
        "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"f\"": {}}},
        "f:spec": {"f:replicas": {}, "f:selector": {}, "f:limits": {},
            "f:extra": {"f:l": {}, "f:m": {".": {}, "f:n": {}}},
            "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {},
                "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}}},
    });
    world.check(config, &[("one", owned)]);
}

#[test]
fn what_is_applied_no_more_goes() {
    let mut world = World::default();
    let full = json!({
        "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["f", "g"]},
        "spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}], "replicas": 3},
    });
    world.apply("one", &full, false).unwrap();
    let less = json!({
        "metadata": {"labels": {"b": "2"}, "finalizers": ["g"]},
        "spec": {"containers": [{"name": "d", "image": "j"}]},
    });
    world.apply("one", &less, false).unwrap();
    let owned = json!({
        "f:metadata": {"f:labels": {"f:b": {}}, "f:finalizers": {"v:\"g\"": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"d\"}": {".": {}, "f:name": {}, "f:image": {}}}},
    });
    world.check(less, &[("one", owned)]);
    world.apply("one", &json!({"metadata": {"labels": {"z": "1"}}}), false).unwrap();
    let owned = json!({"f:metadata": {"f:labels": {"f:z": {}}}});
    world.check(json!({"metadata": {"labels": {"z": "1"}}}), &[("one", owned)]);
}

#[test]
fn what_others_apply_or_nobody_owns_stays() {
    let mut world = World::default();
    world.apply("one", &json!({"metadata": {"labels": {"a": "1", "b": "2"}}}), false).unwrap();
    world.apply("two", &json!({"metadata": {"labels": {"b": "2"}}}), false).unwrap();
    world.update("three", json!({"metadata": {"labels": {"a": "1", "b": "2", "c": "3"}}}));
    world.apply("one", &json!({"metadata": {"name": "x"}}), false).unwrap();
    world.check(
        json!({"metadata": {"name": "x", "labels": {"b": "2", "c": "3"}}}),
        &[
            ("two", json!({"f:metadata": {"f:labels": {"f:b": {}}}})),
            ("three", json!({"f:metadata": {"f:labels": {"f:c": {}}}})),
        ],
    );
}

#[test]
fn differing_values_are_conflicts_unless_forced() {
    let mut world = World::default();
    let with = |replicas: i32, image: &str| json!({"spec": {"replicas": replicas, "containers": [{"name": "c", "image": image}]}});
    world.apply("one", &with(1, "i"), false).unwrap();
    // Equal values are shared.
    world.apply("two", &with(1, "i"), false).unwrap();
    let error: crate::status::ApiError =
        world.apply("two", &with(2, "i"), false).unwrap_err().into();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas"
    );
    let error: crate::status::ApiError =
        world.apply("two", &with(2, "j"), false).unwrap_err().into();
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.replicas\n- .spec.containers[name=\"c\"].image"
    );
    let cause = &error.to_status()["details"]["causes"][0];
    assert_eq!(
        *cause,
        json!({"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".spec.replicas"})
    );
    world.apply("two", &with(2, "j"), true).unwrap();
    let item = |fields: Value| json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": fields}}});
    let mut all = item(json!({".": {}, "f:name": {}, "f:image": {}}));
    all["f:spec"]["f:replicas"] = json!({});
    world.check(with(2, "j"), &[("one", item(json!({".": {}, "f:name": {}}))), ("two", all)]);
}

#[test]
fn updates_take_over_what_they_change() {
    let mut world = World::default();
    world.update(
        "maker",
        json!({"metadata": {"name": "x", "labels": {"a": "1"}}, "spec": {"replicas": 1}}),
    );
    world.check(
        json!({"metadata": {"name": "x", "labels": {"a": "1"}}, "spec": {"replicas": 1}}),
        &[(
            "maker",
            json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {"f:replicas": {}}}),
        )],
    );
    world.update(
        "scaler",
        json!({"metadata": {"name": "x", "labels": {"a": "1"}}, "spec": {"replicas": 2}}),
    );
    world.update(
        "maker",
        json!({"metadata": {"name": "x"}, "spec": {"replicas": 2}, "status": {"ready": true}}),
    );
    world.check(
        json!({"metadata": {"name": "x"}, "spec": {"replicas": 2}, "status": {"ready": true}}),
        &[("scaler", json!({"f:spec": {"f:replicas": {}}}))],
    );
    let before = world.managed.clone();
    world.update("idle", world.object.clone().unwrap());
    assert_eq!(world.managed, before);
}

#[test]
fn an_update_is_a_conflict_for_an_apply_and_names_its_version() {
    let mut world = World::default();
    world.update("maker", json!({"spec": {"replicas": 1}}));
    let error: crate::status::ApiError =
        world.apply("one", &json!({"spec": {"replicas": 2}}), false).unwrap_err().into();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"maker\" using v1: .spec.replicas"
    );
}

#[test]
fn an_apply_that_changes_nothing_keeps_its_time() {
    let mut world = World::default();
    world.apply("one", &json!({"spec": {"replicas": 1}}), false).unwrap();
    let before = world.managed.clone();
    world.apply("one", &json!({"spec": {"replicas": 1}}), false).unwrap();
    assert_eq!(world.managed, before);
    world.apply("one", &json!({"spec": {"replicas": 2}}), false).unwrap();
    assert!(!same_but_times(&Value::Null, &world.managed.clone().into_value()));
    assert_ne!(world.managed, before);
    let (left, right) = (before.into_value(), world.managed.clone().into_value());
    assert!(same_but_times(&left, &right));
}

#[test]
fn what_was_there_before_the_first_apply_is_nobodys() {
    let object = json!({"metadata": {"name": "x", "labels": {"a": "1"}}, "spec": {"replicas": 1}});
    let mut world = World { object: Some(object), ..World::default() };
    let error: crate::status::ApiError =
        world.apply("one", &json!({"spec": {"replicas": 2}}), false).unwrap_err().into();
    assert!(error.to_string().contains("\"before-first-apply\" using v1"), "{error}");
    world.apply("one", &json!({"spec": {"replicas": 1}}), false).unwrap();
    assert_eq!(world.managed.0.len(), 2);
}

#[test]
fn fields_that_kubectl_applied_on_its_side_are_its_own() {
    let last = json!({"apiVersion": "v1", "spec": {"replicas": 1}}).to_string();
    let note = "kubectl.kubernetes.io/last-applied-configuration";
    let object =
        json!({"metadata": {"annotations": {note: last}}, "spec": {"replicas": 1, "selector": {}}});
    let mut world = World::default();
    world.update("kubectl-client-side-apply", object);
    world.apply("kubectl", &json!({"spec": {"replicas": 2}}), false).unwrap();
    let object = world.object.clone().unwrap();
    assert_eq!(object["spec"]["replicas"], 2);
    assert_eq!(object["metadata"]["annotations"][note], "{\"spec\":{\"replicas\":2}}\n");
    let other = json!({"spec": {"replicas": 3, "selector": {"a": 1}}});
    let conflicts = world.apply("kubectl", &other, false).unwrap_err();
    assert_eq!(conflicts.0.len(), 1, "{conflicts:?}");
}

#[test]
fn lists_keep_an_order_that_suits_both() {
    let list = |names: &str| -> Value {
        json!({"metadata": {"finalizers": names.split_whitespace().collect::<Vec<_>>()}})
    };
    let check = |live: &str, config: &str, expected: &str| {
        let merged = merge::merge(SHAPE, Some(&list(live)), Some(&list(config)));
        assert_eq!(merged, list(expected), "{live} + {config}");
    };
    check("a b c", "", "a b c");
    check("", "a b", "a b");
    check("a b c", "c a", "b c a");
    check("a b c", "b d", "a b c d");
    check("a b c", "a b c d", "a b c d");
    check("x a y b z", "b a", "x y b z a");
    check("a", "b", "a b");
}

#[test]
fn too_many_updaters_become_ancient() {
    let mut world = World::default();
    for at in 0..14 {
        let mut object =
            world.object.clone().unwrap_or_else(|| json!({"metadata": {"labels": {}}}));
        object["metadata"]["labels"][format!("l{at}")] = "x".into();
        world.update(&format!("m{at}"), object);
    }
    let names: Vec<&str> = world.managed.0.iter().map(|entry| entry.manager.as_str()).collect();
    assert_eq!(
        names,
        ["ancient-changes", "m5", "m6", "m7", "m8", "m9", "m10", "m11", "m12", "m13"]
    );
    let ancient = world.managed.0[0].fields.paths();
    assert_eq!(ancient.len(), 6, "{ancient:?}");
}

#[test]
fn sent_entries_count_unless_they_are_none() {
    let entry = |name: &str| {
        json!([{"manager": name, "operation": "Update", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}])
    };
    let live = entry("live");
    let check = |sent: Value, subresource: &str, expected: Value| {
        assert_eq!(owners(sent.clone(), &live, subresource).into_value(), expected, "{sent}");
    };
    check(entry("sent"), "", entry("sent"));
    check(entry("sent"), "status", live.clone());
    check(Value::Null, "", live.clone());
    check(json!([]), "", Value::Null);
    check(json!([{}]), "", Value::Null);
    check(json!([{"manager": "x", "operation": "Frob"}]), "", live.clone());
    check(json!([{"manager": "x", "operation": "Apply", "apiVersion": "v1"}]), "", live.clone());
}

#[test]
fn configurations_that_cannot_be_told_apart_are_refused() {
    #[rustfmt::skip]
    let cases = [
        (json!({"spec": {"replicsa": 1}}), ".spec.replicsa: field not declared in schema"),
        (json!({"spec": {"containers": [{"image": "i"}]}}),
         ".spec.containers: element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)"),
        (json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}),
         ".spec.containers: duplicate entries for key [name=\"a\"]"),
        (json!({"metadata": {"finalizers": [{}]}}),
         ".metadata.finalizers: element 0: associative list without keys has an element that's a map type"),
        (json!({"a": 1, "b": 2}),
         "errors:\n  .a: field not declared in schema\n  .b: field not declared in schema"),
    ];
    for (config, expected) in cases {
        assert_eq!(validate(SHAPE, &config), Err(expected.to_owned()));
    }
    assert_eq!(validate(SHAPE, &json!({"spec": {"extra": {"any": [1]}}})), Ok(()));
}
