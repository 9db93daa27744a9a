//! Patches from what was, what is and what is wanted: the three-way merge of `apply`, and `edit`'s two.
//!
//! Pure. Strategic patches know which lists are merged by a key; the others replace lists whole.

use serde_json::{Map, Value, json};

/// Lists whose elements are merged by a key, wherever they occur in built-in kinds.
const MERGE_KEYS: [(&str, &str); 18] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("imagePullSecrets", "name"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
    ("resourceClaims", "name"),
    ("schedulingGates", "name"),
    ("conditions", "type"),
    ("ownerReferences", "uid"),
    ("webhooks", "name"),
    ("secrets", "name"),
    ("addresses", "type"),
    ("podIPs", "ip"),
];

/// The content type of a strategic merge patch.
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
/// The content type of a merge patch (RFC 7386).
pub const MERGE: &str = "application/merge-patch+json";
/// The content type of a JSON patch (RFC 6902).
pub const JSON_PATCH: &str = "application/json-patch+json";

/// How lists are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Strategic,
    Merge,
}

impl Style {
    /// Built-in kinds know merge keys; custom resources do not.
    pub fn of_group(group: &str) -> Self {
        let is_builtin =
            matches!(group, "" | "apps" | "batch" | "autoscaling" | "policy" | "extensions")
                || group.ends_with(".k8s.io");
        if is_builtin { Self::Strategic } else { Self::Merge }
    }

    /// The content type of such a patch.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Strategic => STRATEGIC,
            Self::Merge => MERGE,
        }
    }
}

/// The patch that turns `current` into `modified`, leaving alone what only `current` has, and deleting
/// what `original` had and `modified` no longer has. Empty if there is nothing to do.
pub fn three_way(original: &Value, current: &Value, modified: &Value, style: Style) -> Value {
    Value::Object(map(original, current, modified, style, ""))
}

/// The patch that turns `current` into `modified`, deletions included.
pub fn two_way(current: &Value, modified: &Value, style: Style) -> Value {
    three_way(current, current, modified, style)
}

/// Whether a patch changes nothing.
pub fn is_empty(patch: &Value) -> bool {
    patch.as_object().is_none_or(Map::is_empty)
}

fn map(
    original: &Value,
    current: &Value,
    modified: &Value,
    style: Style,
    parent: &str,
) -> Map<String, Value> {
    let mut patch = Map::new();
    let empty = Map::new();
    let now = current.as_object().unwrap_or(&empty);
    let wanted = modified.as_object().unwrap_or(&empty);
    for (key, value) in wanted {
        let before = &original[key.as_str()];
        match now.get(key) {
            None if value.is_null() => {}
            None => drop(patch.insert(key.clone(), value.clone())),
            Some(there) if there == value => {}
            Some(there) => change(&mut patch, key, [before, there, value], style, parent),
        }
    }
    for key in original.as_object().unwrap_or(&empty).keys() {
        if !wanted.contains_key(key) && now.contains_key(key) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    patch
}

/// Adds what turns one field's value into another.
fn change(
    patch: &mut Map<String, Value>,
    key: &str,
    values: [&Value; 3],
    style: Style,
    parent: &str,
) {
    let [before, there, wanted] = values;
    match (there, wanted) {
        (Value::Object(_), Value::Object(_)) => {
            let inner = map(before, there, wanted, style, key);
            if !inner.is_empty() {
                patch.insert(key.to_owned(), Value::Object(inner));
            }
        }
        (Value::Array(now), Value::Array(new))
            if style == Style::Strategic && key == "finalizers" =>
        {
            primitives(patch, key, before, now, new);
        }
        (Value::Array(now), Value::Array(new)) if style == Style::Strategic => {
            match merge_key(key, parent, new).or_else(|| merge_key(key, parent, now)) {
                Some(by) => {
                    let items = list(before, now, new, by, key);
                    if !items.is_empty() {
                        patch.insert(key.to_owned(), Value::Array(items));
                    }
                }
                None => drop(patch.insert(key.to_owned(), wanted.clone())),
            }
        }
        _ => drop(patch.insert(key.to_owned(), wanted.clone())),
    }
}

/// The key by which a list is merged; `None`: it is replaced as a whole.
fn merge_key(name: &str, parent: &str, items: &[Value]) -> Option<&'static str> {
    let known = MERGE_KEYS.iter().find(|(list, _)| *list == name).map(|(_, key)| *key);
    let key = match name {
        // A container's ports and a service's share a name.
        "ports" if parent == "spec" => "port",
        "ports" => "containerPort",
        _ => known?,
    };
    items.iter().all(|item| item.get(key).is_some()).then_some(key)
}

fn list(before: &Value, now: &[Value], new: &[Value], by: &str, name: &str) -> Vec<Value> {
    let find = |items: &[Value], key: &Value| items.iter().find(|item| item[by] == *key).cloned();
    let before = before.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut patch = Vec::new();
    for item in new {
        let key = &item[by];
        let Some(there) = find(now, key) else {
            patch.push(item.clone());
            continue;
        };
        let was = find(before, key).unwrap_or(Value::Null);
        let mut inner = map(&was, &there, item, Style::Strategic, name);
        if !inner.is_empty() {
            inner.insert(by.to_owned(), key.clone());
            patch.push(Value::Object(inner));
        }
    }
    for item in before {
        let key = &item[by];
        if find(new, key).is_none() && find(now, key).is_some() {
            patch.push(json!({ "$patch": "delete", by: key }));
        }
    }
    patch
}

fn primitives(
    patch: &mut Map<String, Value>,
    key: &str,
    before: &Value,
    now: &[Value],
    new: &[Value],
) {
    let before = before.as_array().map(Vec::as_slice).unwrap_or_default();
    let added: Vec<_> = new.iter().filter(|item| !now.contains(item)).cloned().collect();
    let gone: Vec<_> =
        before.iter().filter(|item| !new.contains(item) && now.contains(item)).cloned().collect();
    if !added.is_empty() {
        patch.insert(key.to_owned(), Value::Array(added));
    }
    if !gone.is_empty() {
        patch.insert(format!("$deleteFromPrimitiveList/{key}"), Value::Array(gone));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(original: Value, current: Value, modified: Value, wanted: Value) {
        assert_eq!(three_way(&original, &current, &modified, Style::Strategic), wanted);
    }

    #[test]
    fn what_only_the_server_has_is_left_alone() {
        check(
            json!({"a": 1}),
            json!({"a": 1, "defaulted": true, "status": {"x": 1}}),
            json!({"a": 1}),
            json!({}),
        );
        check(
            json!({"a": 1, "b": 2}),
            json!({"a": 1, "b": 2, "c": 3}),
            json!({"a": 5, "d": {"e": 1}}),
            json!({"a": 5, "b": null, "d": {"e": 1}}),
        );
    }

    #[test]
    fn field_that_somebody_else_removed_is_not_removed_twice() {
        check(json!({"a": 1, "b": 2}), json!({"a": 1}), json!({"a": 1}), json!({}));
    }

    #[test]
    fn containers_are_merged_by_name_and_their_defaults_kept() {
        let live = json!({"spec": {"containers": [
            {"name": "a", "image": "x:1", "terminationMessagePath": "/dev/termination-log", "ports": [{"containerPort": 80, "protocol": "TCP"}]},
            {"name": "b", "image": "y"}, {"name": "injected", "image": "z"}]}});
        check(
            json!({"spec": {"containers": [{"name": "a", "image": "x:1", "ports": [{"containerPort": 80}]}, {"name": "b", "image": "y"}]}}),
            live,
            json!({"spec": {"containers": [{"name": "a", "image": "x:2", "ports": [{"containerPort": 80}]}]}}),
            json!({"spec": {"containers": [{"name": "a", "image": "x:2"}, {"$patch": "delete", "name": "b"}]}}),
        );
    }

    #[test]
    fn ports_of_a_service_keep_their_node_ports() {
        check(
            json!({"spec": {"ports": [{"port": 80}]}}),
            json!({"spec": {"ports": [{"port": 80, "nodePort": 30001, "protocol": "TCP"}], "clusterIP": "10.96.0.5"}}),
            json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}),
            json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}),
        );
    }

    #[test]
    fn lists_without_a_key_are_replaced_whole() {
        check(
            json!({"args": ["a"]}),
            json!({"args": ["a"]}),
            json!({"args": ["a", "b"]}),
            json!({"args": ["a", "b"]}),
        );
        let (was, wanted) = (json!({"l": [{"name": "a", "x": 1}]}), json!({"l": [{"name": "a"}]}));
        assert_eq!(two_way(&was, &wanted, Style::Merge), json!({"l": [{"name": "a"}]}));
    }

    #[test]
    fn finalizers_are_taken_away_one_by_one() {
        check(
            json!({"finalizers": ["a", "b"]}),
            json!({"finalizers": ["a", "b", "server"]}),
            json!({"finalizers": ["a", "c"]}),
            json!({"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["b"]}),
        );
    }
}
