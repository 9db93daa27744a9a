//! The notation in which roles and bindings of every cluster are written down: one rule a line.
//!
//! ```text
//! role NAME +label-it-carries <label-it-aggregates
//!   verb,verb | group,group | resource,resource/subresource | name,name
//!   verb | /path /path/*
//! bind NAME ClusterRole/NAME user:NAME group:NAME sa:NAMESPACE/NAME
//! ```
//! `core` is the core group; `read` stands for get, list, watch, and `write` for create, delete,
//! deletecollection, patch, update. A name `NAMESPACE/NAME` makes a Role or RoleBinding.

use serde_json::{Map, Value, json};

use crate::authz::Rule;

const GROUP: &str = "rbac.authorization.k8s.io";
const VERSION: &str = "rbac.authorization.k8s.io/v1";
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

/// Reads a text of roles and bindings into objects.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    let mut objects: Vec<Value> = Vec::new();
    for line in
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(head) = line.strip_prefix("role ") {
            objects.push(role(head));
        } else if let Some(head) = line.strip_prefix("bind ") {
            objects.push(binding(head));
        } else {
            let role = objects.last_mut().expect("a rule follows the head of its role");
            role["rules"]
                .as_array_mut()
                .expect("a role is made with rules")
                .push(rule(line).to_value());
        }
    }
    objects
}

/// Reads one rule.
pub(crate) fn rule(line: &str) -> Rule {
    let parts: Vec<&str> = line.split(" | ").map(str::trim).collect();
    let verbs = parts[0].split(',').flat_map(verb).collect();
    if parts.len() == 2 {
        let urls = parts[1].split_whitespace().map(str::to_owned).collect();
        return Rule { verbs, urls, ..Rule::default() };
    }
    let list = |part: &str| part.split(',').map(str::to_owned).collect::<Vec<String>>();
    let group = |name: String| if name == "core" { String::new() } else { name };
    Rule {
        verbs,
        groups: list(parts[1]).into_iter().map(group).collect(),
        resources: list(parts[2]),
        names: parts.get(3).map(|names| list(names)).unwrap_or_default(),
        urls: Vec::new(),
    }
}

fn verb(word: &str) -> Vec<String> {
    let verbs: &[&str] = match word {
        "read" => &READ,
        "write" => &WRITE,
        _ => return vec![word.to_owned()],
    };
    verbs.iter().map(|verb| (*verb).to_owned()).collect()
}

fn role(head: &str) -> Value {
    let mut words = head.split_whitespace();
    let (namespace, name) = full_name(words.next().expect("a role has a name"));
    let mut labels = Map::new();
    let mut selectors = Vec::new();
    for word in words {
        let (sign, label) = word.split_at(1);
        let label = format!("{GROUP}/{label}");
        match sign {
            "+" => drop(labels.insert(label, json!("true"))),
            _ => selectors.push(json!({ "matchLabels": { label: "true" } })),
        }
    }
    let kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
    let mut role = object(kind, namespace, name);
    for (label, value) in labels {
        role["metadata"]["labels"][label] = value;
    }
    if !selectors.is_empty() {
        role["aggregationRule"] = json!({ "clusterRoleSelectors": selectors });
    }
    role["rules"] = json!([]);
    role
}

fn binding(head: &str) -> Value {
    let mut words = head.split_whitespace();
    let (namespace, name) = full_name(words.next().expect("a binding has a name"));
    let (kind, role) =
        words.next().and_then(|word| word.split_once('/')).expect("a binding names its role");
    let subjects: Vec<Value> = words.map(subject).collect();
    let mut binding = object(
        if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" },
        namespace,
        name,
    );
    binding["roleRef"] = json!({ "apiGroup": GROUP, "kind": kind, "name": role });
    if !subjects.is_empty() {
        binding["subjects"] = json!(subjects);
    }
    binding
}

fn subject(word: &str) -> Value {
    let (kind, name) = word.split_once(':').expect("a subject has a kind");
    match kind {
        "user" => json!({ "apiGroup": GROUP, "kind": "User", "name": name }),
        "group" => json!({ "apiGroup": GROUP, "kind": "Group", "name": name }),
        _ => {
            let (namespace, name) = full_name(name);
            json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name })
        }
    }
}

fn full_name(word: &str) -> (&str, &str) {
    word.split_once('/').unwrap_or(("", word))
}

fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({
        "apiVersion": VERSION,
        "kind": kind,
        "metadata": {
            "name": name,
            "annotations": { "rbac.authorization.kubernetes.io/autoupdate": "true" },
            "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" },
        },
    });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_bindings_read_as_objects() {
        let read = objects(
            "role view +aggregate-to-edit <aggregate-to-view\n  read | core | pods\n  get | /healthz\n\
             bind kube-public/a Role/b user:u group:g sa:ns/s",
        );
        assert_eq!(
            read[0]["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"],
            "true"
        );
        assert_eq!(
            read[0]["rules"][0],
            json!({"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]})
        );
        assert_eq!(read[0]["rules"][1], json!({"verbs": ["get"], "nonResourceURLs": ["/healthz"]}));
        assert_eq!(
            (&read[1]["kind"], &read[1]["roleRef"]["kind"]),
            (&json!("RoleBinding"), &json!("Role"))
        );
        assert_eq!(
            read[1]["subjects"][2],
            json!({"kind": "ServiceAccount", "namespace": "ns", "name": "s"})
        );
    }
}
