//! `v1/pods`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use master_api::field::FieldPath;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::{Value, json};

use crate::fill::{self, zero};
use crate::pod::{amounts, defaults, status, status_rules, update, validate, warnings};
use crate::strategy::{Column, Companion, Cx, Shape, Strategy, fresh, status_and_metadata};
use crate::table::{self, Cell, or_none};

#[derive(Clone, Copy, Debug)]
pub struct Pods;

/// The first column and those whose cells come from one function are filled apart.
const REST: &[Cell] = &[
    Cell::AGE,
    Cell::text("IP", |pod, _| ip(pod).map_or("<none>", |ip| ip).into()).wide(),
    Cell::text("Node", |pod, _| or_none(pod, &["spec", "nodeName"])).wide(),
    Cell::text("Nominated Node", |pod, _| or_none(pod, &["status", "nominatedNodeName"])).wide(),
    Cell::text("Readiness Gates", |pod, _| readiness_gates(pod)).wide(),
];

fn ip(pod: &Value) -> Option<&str> {
    let first = meta::items(pod, &["status", "podIPs"]).first()?;
    Some(meta::text(first, &["ip"])).filter(|ip| !ip.is_empty())
}

fn readiness_gates(pod: &Value) -> Value {
    let gates = meta::items(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".into();
    }
    let is_true = |gate: &&Value| {
        status::condition(pod, meta::text(gate, &["conditionType"]), "status") == "True"
    };
    format!("{}/{}", gates.iter().filter(is_true).count(), gates.len()).into()
}

impl Strategy for Pods {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: true }
    }

    fn default(&self, pod: &mut Value) {
        if let Some(pod) = pod.as_object_mut() {
            defaults::pod_spec(fill::made(pod, "spec"));
        }
        mirror_addresses(pod);
    }

    fn prepare_create(&self, new: &mut Value, cx: &Cx<'_>) {
        fresh(new, self.shape());
        if meta::number(new, &["spec", "terminationGracePeriodSeconds"]).is_some_and(|s| s < 0) {
            new["spec"]["terminationGracePeriodSeconds"] = 1.into();
        }
        new["status"] = json!({"phase": "Pending", "qosClass": qos_class(new)});
        if !meta::items(new, &["spec", "schedulingGates"]).is_empty() {
            let text = "Scheduling is blocked due to non-empty scheduling gates";
            new["status"]["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "lastProbeTime": null,
                "lastTransitionTime": master_api::time::seconds(cx.now),
                "reason": "SchedulingGated", "message": text,
            }]);
        }
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        status_and_metadata(new, old);
        meta::set(new, "ownerReferences", old["metadata"]["ownerReferences"].clone());
        let status = meta::object_mut(new, &["status"]);
        // The class is the server's. A status may leave it out; and what a node makes of it itself must not keep the rest of
        // what it reports from being known.
        let is_node = cx.identity.groups.iter().any(|group| group == "system:nodes");
        if let Some(class) = meta::at(old, &["status", "qosClass"]) {
            if is_node {
                status.insert("qosClass".into(), class.clone());
            }
            zero(status, "qosClass", class.clone());
        }
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate::spec(&new["spec"], &FieldPath::new("spec"), &mut errors);
        trimmed_images(new, &mut errors);
        match old {
            Some(old) => {
                // An older server may have stored it with fewer defaults.
                let mut old = old.clone();
                self.default(&mut old);
                update::validate(new, &old, &mut errors);
            }
            None if is_homeless_mirror(new) => {
                let detail = "must set spec.nodeName if mirror pod annotation is set";
                let path = format!("metadata.annotations[{MIRROR}]");
                errors.push(FieldError::invalid(path, meta::annotation(new, MIRROR), detail));
            }
            None if !meta::items(new, &["spec", "ephemeralContainers"]).is_empty() => {
                let detail = "cannot be set on create";
                errors.push(FieldError::forbidden("spec.ephemeralContainers", detail));
            }
            None => {}
        }
        errors
    }

    /// An update of a pod may change so little that nothing is said again.
    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some() { Vec::new() } else { warnings::of_pod(new) }
    }

    fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        status_rules::validate(new, old)
    }

    fn fields(&self, pod: &Value) -> BTreeMap<String, String> {
        let text = |path: &[&str]| meta::text(pod, path).to_owned();
        [
            ("spec.nodeName", text(&["spec", "nodeName"])),
            ("spec.restartPolicy", text(&["spec", "restartPolicy"])),
            ("spec.schedulerName", text(&["spec", "schedulerName"])),
            ("spec.serviceAccountName", text(&["spec", "serviceAccountName"])),
            ("spec.hostNetwork", meta::is_true(pod, &["spec", "hostNetwork"]).to_string()),
            ("status.phase", text(&["status", "phase"])),
            ("status.podIP", ip(pod).unwrap_or_default().to_owned()),
            ("status.nominatedNodeName", text(&["status", "nominatedNodeName"])),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// Admission may have set an account or limits since the pod was defaulted and prepared.
    fn companions(
        &self,
        new: Option<&mut Value>,
        old: Option<&Value>,
        _cx: &Cx<'_>,
    ) -> Result<Vec<Companion>, Vec<FieldError>> {
        if let (Some(pod), None) = (new, old) {
            self.default(pod);
            let class = qos_class(pod);
            meta::object_mut(pod, &["status"]).insert("qosClass".into(), class.into());
        }
        Ok(Vec::new())
    }

    fn columns(&self) -> Vec<Column> {
        let mut columns = ["Ready", "Status", "Restarts"].map(Column::text).to_vec();
        columns.insert(0, Column::name());
        columns.extend(table::columns(REST));
        columns
    }

    fn row(&self, pod: &Value, now: Timestamp) -> Vec<Value> {
        let status::Summary { ready, status, restarts } = status::summary(pod, now);
        let mut row = vec![meta::name(pod).into(), ready.into(), status.into(), restarts.into()];
        row.extend(table::row(REST, pod, now));
        row
    }

    fn graceful_delete_seconds(&self, pod: &Value) -> Option<i64> {
        let is_over = matches!(meta::text(pod, &["status", "phase"]), "Succeeded" | "Failed");
        if is_over || meta::text(pod, &["spec", "nodeName"]).is_empty() {
            return Some(0);
        }
        let grace = meta::number(pod, &["spec", "terminationGracePeriodSeconds"]).unwrap_or(30);
        // A negative grace is one second: upstream's reading of old objects.
        Some(if grace < 0 { 1 } else { grace })
    }
}

/// Annotation of a pod that mirrors a file of its node.
const MIRROR: &str = "kubernetes.io/config.mirror";

fn is_homeless_mirror(pod: &Value) -> bool {
    meta::annotations(pod).contains_key(MIRROR) && meta::text(pod, &["spec", "nodeName"]).is_empty()
}

/// Pods' images are taken as they are spelled; templates may still have space around them.
fn trimmed_images(pod: &Value, errors: &mut Vec<FieldError>) {
    for list in ["containers", "initContainers"] {
        for (at, container) in meta::items(pod, &["spec", list]).iter().enumerate() {
            let image = meta::text(container, &["image"]);
            if image.trim() != image {
                let path = FieldPath::new("spec").child(list).index(at).child("image");
                let detail = "must not have leading or trailing whitespace";
                errors.push(FieldError::invalid(path, image, detail));
            }
        }
    }
}

/// Keeps `status.podIP` and the first of `status.podIPs` in step.
fn mirror_addresses(pod: &mut Value) {
    let one = meta::text(pod, &["status", "podIP"]).to_owned();
    let first = ip(pod).unwrap_or_default().to_owned();
    let (field, value) = match (one.as_str(), first.as_str()) {
        // The old field counts where they differ.
        (one, first) if !one.is_empty() && one != first => ("podIPs", json!([{ "ip": one }])),
        ("", first) if !first.is_empty() => ("podIP", first.into()),
        _ => return,
    };
    meta::object_mut(pod, &["status"]).insert(field.into(), value);
}

/// What is wrong with a write through `ephemeralcontainers`.
pub fn validate_ephemeral(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    validate::spec(&new["spec"], &FieldPath::new("spec"), &mut errors);
    update::ephemeral(new, old, &mut errors);
    errors
}

/// What is wrong with a write through `resize`.
pub fn validate_resize(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    validate::spec(&new["spec"], &FieldPath::new("spec"), &mut errors);
    let was = match meta::text(old, &["status", "qosClass"]) {
        "" => qos_class(old),
        told => told,
    };
    update::resize(new, old, (qos_class(new), was), &mut errors);
    errors
}

/// How a pod fares when memory runs out: `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(pod: &Value) -> &'static str {
    let lists = ["containers", "initContainers"];
    // What the pod says as a whole counts instead of its containers.
    let all: Vec<&Value> = match amounts::says_itself(&pod["spec"]) {
        true => vec![&pod["spec"]],
        false => lists.iter().flat_map(|list| meta::items(pod, &["spec", list])).collect(),
    };
    let amount = |container: &Value, list: &str, name: &str| {
        let found = meta::at(container, &["resources", list, name]);
        found.and_then(master_api::quantity::Quantity::from_json).filter(|amount| !amount.is_zero())
    };
    let computed = ["cpu", "memory"];
    let is_set = |container: &&&Value| {
        computed.iter().any(|name| {
            amount(container, "limits", name).or(amount(container, "requests", name)).is_some()
        })
    };
    if !all.iter().any(|container| is_set(&container)) {
        return "BestEffort";
    }
    let is_guaranteed = |container: &Value| {
        computed.iter().all(|name| {
            let limit = amount(container, "limits", name);
            limit.is_some() && amount(container, "requests", name).or(limit) == limit
        })
    };
    if all.iter().all(|container| is_guaranteed(container)) { "Guaranteed" } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec});
        Pods.default(&mut pod);
        pod
    }

    fn findings(spec: Value) -> Vec<String> {
        Pods.validate(&pod(spec), None).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_old_field_for_an_address_counts_where_the_new_one_differs() {
        let mut pod =
            json!({"status": {"podIP": "1.1.1.1", "podIPs": [{"ip": "1.1.1.2"}, {"ip": "::1"}]}});
        mirror_addresses(&mut pod);
        assert_eq!(pod["status"]["podIPs"], json!([{"ip": "1.1.1.1"}]));
    }

    #[test]
    fn a_plain_pod_is_accepted() {
        assert_eq!(findings(json!({"containers": [{"name": "c", "image": "x"}]})), [""; 0]);
    }

    #[test]
    fn wrong_pods_are_refused_in_upstreams_words() {
        let with = |container: Value| {
            let mut full = json!({"name": "c", "image": "x"});
            full.as_object_mut().unwrap().append(&mut container.as_object().unwrap().clone());
            json!({"containers": [full]})
        };
        #[rustfmt::skip]
        let cases = [
            (json!({}), "spec.containers: Required value"),
            (json!({"containers": [{"name": "c"}]}), "spec.containers[0].image: Required value"),
            (json!({"containers": [{"image": "x"}]}), "spec.containers[0].name: Required value"),
            (json!({"containers": [{"name": "c", "image": "x"}, {"name": "c", "image": "y"}]}),
             "spec.containers[1].name: Duplicate value: \"c\""),
            (json!({"restartPolicy": "Sometimes", "containers": [{"name": "c", "image": "x"}]}),
             "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\""),
            (with(json!({"ports": [{"containerPort": 70000}]})),
             "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"),
            (with(json!({"volumeMounts": [{"name": "v", "mountPath": "/m"}]})),
             "spec.containers[0].volumeMounts[0].name: Not found: \"v\""),
            (with(json!({"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}})),
             "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"),
            (with(json!({"livenessProbe": {}})),
             "spec.containers[0].livenessProbe: Required value: must specify a handler type"),
            (with(json!({"livenessProbe": {"exec": {"command": ["x"]}, "successThreshold": 2}})),
             "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"),
            (with(json!({"env": [{"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]})),
             "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"),
            (json!({"containers": [{"name": "c", "image": "x"}], "volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]}),
             "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"),
            (json!({"containers": [{"name": "c", "image": "x"}], "volumes": [{"name": "v", "hostPath": {"path": "/a"}, "emptyDir": {}}]}),
             "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"),
            (json!({"containers": [{"name": "c", "image": "x"}], "tolerations": [{"operator": "Equal"}]}),
             "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\""),
            (json!({"containers": [{"name": "c", "image": "x"}], "securityContext": {"sysctls":
                [{"name": "kernel.shmmax"}, {"name": "net/ipv4.a-b_c"}, {"name": "bar.."}]}}),
             "spec.securityContext.sysctls[2].name: Invalid value: \"bar..\": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"),
            (json!({"containers": [{"name": "c", "image": "x"}], "securityContext": {"sysctls": [{"name": "a"}, {"name": "a"}]}}),
             "spec.securityContext.sysctls[1].name: Duplicate value: \"a\""),
        ];
        for (spec, expected) in cases {
            assert_eq!(findings(spec), [expected]);
        }
    }

    #[test]
    fn a_mirror_pod_has_a_node() {
        let mut mirror = pod(json!({"containers": [{"name": "c", "image": "x"}]}));
        mirror["metadata"]["annotations"] = json!({MIRROR: "h"});
        let found = Pods.validate(&mirror, None);
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"h\": must set spec.nodeName if mirror pod annotation is set"
            ]
        );
        mirror["spec"]["nodeName"] = "n".into();
        assert_eq!(Pods.validate(&mirror, None), []);
    }

    #[test]
    fn what_a_pod_says_as_a_whole_is_its_quality() {
        let class = |resources: Value| {
            qos_class(&json!({"spec": {"containers": [{"name": "c"}], "resources": resources}}))
        };
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
        assert_eq!(class(json!({"requests": {"example.com/x": "1"}})), "BestEffort");
    }

    #[test]
    fn only_a_few_fields_of_a_pod_may_change() {
        let old = pod(
            json!({"containers": [{"name": "c", "image": "x", "resources": {"limits": {"cpu": "1"}}}]}),
        );
        #[rustfmt::skip]
        let cases = [
            ("/spec/containers/0/image", json!("y"), None),
            ("/spec/containers/0/resources/limits/cpu", json!("1000m"), None),
            ("/spec/containers/0/name", json!("d"), Some("spec: Forbidden: pod updates may not change fields other than")),
            ("/spec/restartPolicy", json!("Never"), Some("spec: Forbidden: pod updates may not change fields other than")),
        ];
        for (place, value, expected) in cases {
            let mut new = old.clone();
            *new.pointer_mut(place).unwrap() = value;
            let found: Vec<String> =
                Pods.validate(&new, Some(&old)).iter().map(ToString::to_string).collect();
            match expected {
                None => assert_eq!(found, [""; 0], "{place}"),
                Some(start) => assert!(found[0].starts_with(start), "{place}: {found:?}"),
            }
        }
    }

    #[test]
    fn what_admission_adds_does_not_make_later_updates_fail() {
        let mut stored = pod(json!({"containers": [{"name": "c", "image": "x"}]}));
        stored["spec"]["serviceAccountName"] = "default".into();
        stored["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
        let mut labelled = stored.clone();
        labelled["metadata"]["labels"] = json!({"a": "b"});
        Pods.default(&mut labelled);
        assert_eq!(Pods.validate(&labelled, Some(&stored)), []);
    }

    #[test]
    fn quality_of_service_follows_requests_and_limits() {
        let class = |resources: Value| {
            qos_class(&pod(
                json!({"containers": [{"name": "c", "image": "x", "resources": resources}]}),
            ))
        };
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(class(json!({"limits": {"cpu": "1"}})), "Burstable");
        assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
    }

    #[test]
    fn rows_have_a_cell_for_each_column() {
        let mut pod =
            pod(json!({"nodeName": "node-1", "containers": [{"name": "c", "image": "x"}]}));
        pod["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        pod["status"] = json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}],
            "containerStatuses": [{"ready": true, "restartCount": 0, "state": {"running": {}}}]});
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        let row = Pods.row(&pod, now);
        assert_eq!(
            row,
            ["p", "1/1", "Running", "0", "5m", "10.0.0.1", "node-1", "<none>", "<none>"]
        );
        let names: Vec<_> = Pods.columns().into_iter().map(|column| column.name).collect();
        assert_eq!(
            names,
            [
                "Name",
                "Ready",
                "Status",
                "Restarts",
                "Age",
                "IP",
                "Node",
                "Nominated Node",
                "Readiness Gates"
            ]
        );
    }

    #[test]
    fn a_pod_that_runs_nowhere_is_deleted_at_once() {
        let mut pod = pod(json!({"containers": []}));
        assert_eq!(Pods.graceful_delete_seconds(&pod), Some(0));
        pod["spec"]["nodeName"] = "n".into();
        assert_eq!(Pods.graceful_delete_seconds(&pod), Some(30));
        pod["status"] = json!({"phase": "Failed"});
        assert_eq!(Pods.graceful_delete_seconds(&pod), Some(0));
    }
}
