//! `v1/nodes`.

use std::collections::{BTreeMap, BTreeSet};

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::{Value, json};

use crate::check;
use crate::pod::validate::EFFECTS;
use crate::rules::{self, Must, Rule};
use crate::strategy::{Cx, Shape, Strategy, keep_field, status_and_metadata};
use crate::table::{Cell, or, tabled};

#[derive(Clone, Copy, Debug)]
pub struct Nodes;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Status", |node, _| status(node).into()),
    Cell::text("Roles", |node, _| roles(node).into()),
    Cell::AGE,
    Cell::text("Version", |node, _| info(node, "kubeletVersion", "")),
    Cell::text("Internal-IP", |node, _| address(node, "InternalIP")).wide(),
    Cell::text("External-IP", |node, _| address(node, "ExternalIP")).wide(),
    Cell::text("OS-Image", |node, _| info(node, "osImage", "<unknown>")).wide(),
    Cell::text("Kernel-Version", |node, _| kernel(node)).wide(),
    Cell::text("Container-Runtime", |node, _| info(node, "containerRuntimeVersion", "<unknown>"))
        .wide(),
];

fn info(node: &Value, field: &str, absent: &'static str) -> Value {
    or(node, &["status", "nodeInfo", field], absent)
}

fn kernel(node: &Value) -> Value {
    let kernel = info(node, "kernelVersion", "<unknown>");
    let kernel = kernel.as_str().unwrap_or_default();
    match meta::text(node, &["status", "nodeInfo", "architecture"]) {
        "" => kernel.into(),
        architecture => format!("{kernel} ({architecture})").into(),
    }
}

fn address(node: &Value, kind: &str) -> Value {
    let mut addresses = meta::items(node, &["status", "addresses"]).iter();
    let found = addresses.find(|address| address["type"] == kind);
    found.map_or("<none>".into(), |address| meta::text(address, &["address"]).into())
}

fn status(node: &Value) -> String {
    let mut conditions = meta::items(node, &["status", "conditions"]).iter();
    let ready = match conditions.find(|condition| condition["type"] == "Ready") {
        None => "Unknown",
        Some(condition) if condition["status"] == "True" => "Ready",
        Some(_) => "NotReady",
    };
    let cordoned =
        if meta::is_true(node, &["spec", "unschedulable"]) { ",SchedulingDisabled" } else { "" };
    format!("{ready}{cordoned}")
}

fn roles(node: &Value) -> String {
    let labels = meta::labels(node);
    let roles: BTreeSet<&str> = labels
        .iter()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == ROLE_LABEL => Some(value.as_str()),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.into_iter().collect::<Vec<_>>().join(",")
    }
}

impl Strategy for Nodes {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: false }
    }

    fn default(&self, node: &mut Value) {
        let capacity = meta::at(node, &["status", "capacity"]).cloned();
        if let Some(capacity) = capacity {
            crate::fill::absent(meta::object_mut(node, &["status"]), "allocatable", capacity);
        }
        // The old field and the first of the new one are the same range: the old one counts if they differ.
        let one = meta::text(node, &["spec", "podCIDR"]).to_owned();
        let first = meta::items(node, &["spec", "podCIDRs"]).first().cloned();
        match (one.as_str(), first) {
            ("", Some(first)) => {
                meta::object_mut(node, &["spec"]).insert("podCIDR".into(), first);
            }
            (one, first) if !one.is_empty() && first.as_ref().is_none_or(|first| first != one) => {
                meta::object_mut(node, &["spec"]).insert("podCIDRs".into(), json!([one]));
            }
            _ => {}
        }
    }

    /// A node registers with its status: the agent knows it best.
    fn prepare_create(&self, new: &mut Value, _cx: &Cx<'_>) {
        meta::set(new, "generation", Value::Null);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        keep_field(new, old, "status");
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        status_and_metadata(new, old);
        // Nodes were once configured by the API.
        meta::object_mut(new, &["status"]).remove("config");
    }

    fn validate_status(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = FieldPath::new("status").child("addresses");
        let addresses = meta::items(new, &["status", "addresses"]);
        for (at, address) in addresses.iter().enumerate() {
            if addresses[..at].contains(address) {
                // Upstream shows the fields of its Go type.
                let shown = json!({"Type": address["type"], "Address": address["address"]});
                errors.push(FieldError::duplicate(path.index(at), shown));
            }
        }
        errors.extend(status_rules(new));
        errors
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        // Upstream tells taints as if they were metadata.
        let path = FieldPath::new("metadata").child("taints");
        let mut seen = BTreeSet::new();
        let rules: &[Rule] = &[
            ("key", Must::BeGivenFormed(names::qualified_name)),
            ("value", Must::BeFormedIfAny(names::label_value)),
            ("effect", Must::BeChosen("", &EFFECTS)),
        ];
        for (at, taint) in meta::items(new, &["spec", "taints"]).iter().enumerate() {
            let path = path.index(at);
            rules::check(taint, &path, rules, &mut errors);
            let place = (meta::text(taint, &["key"]), meta::text(taint, &["effect"]));
            if !seen.insert(place) {
                let mut error = FieldError::duplicate(path, taint.clone());
                error.detail = "taints must be unique by key and effect pair".to_owned();
                errors.push(error);
            }
        }
        if old.is_some() {
            // Upstream looks at them once more.
            errors.extend(errors.clone());
        }
        let ranges = ("podCIDRs[]", Must::BeFormed(rules::range));
        rules::check(&new["spec"], &FieldPath::new("spec"), &[ranges], &mut errors);
        let ranges = meta::items(new, &["spec", "podCIDRs"]);
        let is_v6 = |range: &Value| range.as_str().is_some_and(|range| range.contains(':'));
        if ranges.len() > 2 || matches!(ranges, [one, two] if is_v6(one) == is_v6(two)) {
            let detail = "may specify no more than one CIDR for each IP family";
            errors.push(FieldError::invalid("spec.podCIDRs", ranges.to_vec(), detail));
        }
        errors.extend(status_rules(new));
        if let Some(old) = old {
            let was = meta::items(old, &["spec", "podCIDRs"]);
            if !was.is_empty() && ranges != was {
                let detail = "node updates may not change podCIDR except from \"\" to valid";
                errors.push(FieldError::forbidden("spec.podCIDRs", detail));
            }
            let id = |node: &'_ Value| meta::text(node, &["spec", "providerID"]).to_owned();
            if !id(old).is_empty() && id(new) != id(old) {
                let detail = "node updates may not change providerID except from \"\" to valid";
                errors.push(FieldError::forbidden("spec.providerID", detail));
            }
        }
        errors
    }

    fn fields(&self, node: &Value) -> BTreeMap<String, String> {
        let unschedulable = meta::is_true(node, &["spec", "unschedulable"]).to_string();
        [("spec.unschedulable".to_owned(), unschedulable)].into()
    }

    tabled!(CELLS);
}

/// What a node may say of itself when it comes, too.
fn status_rules(node: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = FieldPath::new("status");
    for list in ["capacity", "allocatable"] {
        for (name, amount) in node["status"][list].as_object().into_iter().flatten() {
            check::amount(name, amount, path.child(list).child(name), &mut errors);
        }
    }
    features(node, &path.child("declaredFeatures"), &mut errors);
    errors
}

/// What a node can do: names in order, each once.
fn features(node: &Value, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let is_camel = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.split('/').all(|segment| {
                !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric())
            })
    };
    let names = meta::items(node, &["status", "declaredFeatures"]).iter();
    let mut last = None;
    for (at, name) in names.filter_map(Value::as_str).enumerate() {
        let path = path.index(at);
        if last == Some(name) {
            errors.push(FieldError::duplicate(path.clone(), name));
        } else if last.is_some_and(|last| name < last) {
            let detail = "list must be sorted alphabetically";
            errors.push(FieldError::invalid(path.clone(), name, detail));
        }
        if !is_camel(name) {
            let detail = format!(
                "invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            errors.push(FieldError::invalid(path, name, detail));
        }
        last = Some(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_show_readiness_roles_and_addresses() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut node = json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": ""}},
            "spec": {"unschedulable": true}, "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.88.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "6.1", "architecture": "amd64"}}});
        assert_eq!(
            Nodes.row(&node, now),
            [
                "n",
                "Ready,SchedulingDisabled",
                "worker",
                "<unknown>",
                "v1.36.0",
                "10.88.0.1",
                "<none>",
                "Debian",
                "6.1 (amd64)",
                "<unknown>",
            ]
        );
        node["status"]["conditions"][0]["status"] = "Unknown".into();
        node["spec"] = json!({});
        assert_eq!(Nodes.row(&node, now)[1], "NotReady");
        assert_eq!(Nodes.row(&json!({}), now)[1], "Unknown");
    }

    #[test]
    fn a_node_says_of_itself_what_makes_sense() {
        let address = json!({"type": "InternalIP", "address": "1.1.1.1"});
        let node = json!({"status": {"addresses": [address, address], "capacity": {"cpu": "-1", "pods": "1500m"},
            "declaredFeatures": ["B", "A", "A", "C d"]}});
        let found: Vec<String> =
            Nodes.validate_status(&node, &node).iter().map(|error| error.to_string()).collect();
        assert_eq!(
            found[..5],
            [
                "status.addresses[1]: Duplicate value: {\"Address\":\"1.1.1.1\",\"Type\":\"InternalIP\"}",
                "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
                "status.capacity.pods: Invalid value: \"1500m\": must be an integer",
                "status.declaredFeatures[1]: Invalid value: \"A\": list must be sorted alphabetically",
                "status.declaredFeatures[2]: Duplicate value: \"A\"",
            ]
        );
        assert_eq!(found.len(), 6);
    }

    #[test]
    fn a_taint_is_there_once_and_a_pod_range_stays() {
        let taint = json!({"key": "k", "effect": "NoSchedule"});
        let node = json!({"spec": {"taints": [taint, taint], "podCIDRs": ["10.0.0.0/24"]}});
        let old = json!({"spec": {"podCIDRs": ["10.0.1.0/24"]}});
        let fields: Vec<String> =
            Nodes.validate(&node, Some(&old)).into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["metadata.taints[1]", "metadata.taints[1]", "spec.podCIDRs"]);
        let two = json!({"spec": {"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]}});
        let said = "spec.podCIDRs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\"]: may specify no more than one CIDR for each IP family";
        assert_eq!(Nodes.validate(&two, None)[0].to_string(), said);
    }
}
