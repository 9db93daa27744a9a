//! Defaults of pod specifications, as upstream's core/v1 has them.

use serde_json::{Map, Value, json};

use super::amounts;
use super::image::pull_policy;
use crate::fill::{absent, made, object, objects, zero};

type Fields = Map<String, Value>;

/// The three lists of containers of a specification.
pub(crate) const CONTAINER_LISTS: [&str; 3] =
    ["initContainers", "containers", "ephemeralContainers"];

/// Volume sources that carry a mode, with the mode they get.
const DEFAULT_MODES: [&str; 4] = ["configMap", "secret", "downwardAPI", "projected"];

/// A specification within a template: workloads keep it free of what only pods get.
pub(crate) fn template_spec(spec: &mut Fields) {
    zero(spec, "dnsPolicy", "ClusterFirst");
    zero(spec, "restartPolicy", "Always");
    absent(spec, "securityContext", json!({}));
    absent(spec, "terminationGracePeriodSeconds", 30);
    zero(spec, "schedulerName", "default-scheduler");
    // The old name is kept equal to the new one, for readers that know only it.
    mirror_service_account(spec);
    for list in CONTAINER_LISTS {
        objects(spec, list).for_each(container);
    }
    objects(spec, "volumes").for_each(volume);
}

/// A pod's own specification.
pub(crate) fn pod_spec(spec: &mut Fields) {
    template_spec(spec);
    for list in ["initContainers", "containers"] {
        objects(spec, list).for_each(requests_from_limits);
    }
    amounts::default(spec);
    absent(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        for list in ["initContainers", "containers"] {
            for container in objects(spec, list) {
                for port in objects(container, "ports") {
                    let number = port.get("containerPort").cloned().unwrap_or_default();
                    zero(port, "hostPort", number);
                }
            }
        }
    }
}

/// The template of a workload, at `spec.template`.
pub(crate) fn template(spec: &mut Fields) {
    template_spec(made(made(spec, "template"), "spec"));
}

fn mirror_service_account(spec: &mut Fields) {
    let name =
        |field: &str| spec.get(field).and_then(Value::as_str).filter(|name| !name.is_empty());
    let chosen = name("serviceAccountName").or_else(|| name("serviceAccount")).map(str::to_owned);
    if let Some(name) = chosen {
        spec.insert("serviceAccountName".into(), name.clone().into());
        spec.insert("serviceAccount".into(), name.into());
    }
}

fn container(container: &mut Fields) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = pull_policy(image);
    zero(container, "imagePullPolicy", policy);
    zero(container, "terminationMessagePath", "/dev/termination-log");
    zero(container, "terminationMessagePolicy", "File");
    absent(container, "resources", json!({}));
    for port in objects(container, "ports") {
        zero(port, "protocol", "TCP");
    }
    for variable in objects(container, "env") {
        if let Some(source) = object(variable, "valueFrom") {
            field_reference(source);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = object(container, name) {
            probe_defaults(probe);
        }
    }
    if let Some(lifecycle) = object(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = object(lifecycle, hook) {
                http_get(hook);
            }
        }
    }
}

fn probe_defaults(probe: &mut Fields) {
    zero(probe, "timeoutSeconds", 1);
    zero(probe, "periodSeconds", 10);
    zero(probe, "successThreshold", 1);
    zero(probe, "failureThreshold", 3);
    http_get(probe);
    if let Some(grpc) = object(probe, "grpc") {
        absent(grpc, "service", "");
    }
}

fn http_get(handler: &mut Fields) {
    if let Some(get) = object(handler, "httpGet") {
        zero(get, "path", "/");
        zero(get, "scheme", "HTTP");
    }
}

fn field_reference(source: &mut Fields) {
    if let Some(reference) = object(source, "fieldRef") {
        zero(reference, "apiVersion", "v1");
    }
    if let Some(reference) = object(source, "resourceFieldRef") {
        zero(reference, "divisor", "0");
    }
}

fn volume(volume: &mut Fields) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".into(), json!({}));
    }
    for source in DEFAULT_MODES {
        if let Some(source) = object(volume, source) {
            absent(source, "defaultMode", 0o644);
        }
    }
    if let Some(path) = object(volume, "hostPath") {
        absent(path, "type", "");
    }
    if let Some(downward) = object(volume, "downwardAPI") {
        objects(downward, "items").for_each(field_reference);
    }
    if let Some(projected) = object(volume, "projected") {
        for source in objects(projected, "sources") {
            if let Some(token) = object(source, "serviceAccountToken") {
                absent(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = object(source, "downwardAPI") {
                objects(downward, "items").for_each(field_reference);
            }
        }
    }
    if let Some(ephemeral) = object(volume, "ephemeral") {
        let template = made(ephemeral, "volumeClaimTemplate");
        absent(made(template, "spec"), "volumeMode", "Filesystem");
    }
    other_sources(volume);
}

fn other_sources(volume: &mut Fields) {
    if let Some(iscsi) = object(volume, "iscsi") {
        zero(iscsi, "iscsiInterface", "default");
    }
    if let Some(rbd) = object(volume, "rbd") {
        zero(rbd, "pool", "rbd");
        zero(rbd, "user", "admin");
        zero(rbd, "keyring", "/etc/ceph/keyring");
    }
    if let Some(image) = object(volume, "image") {
        let policy =
            pull_policy(image.get("reference").and_then(Value::as_str).unwrap_or_default());
        zero(image, "pullPolicy", policy);
    }
}

fn requests_from_limits(container: &mut Fields) {
    let Some(resources) = object(container, "resources") else { return };
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else { return };
    let requests = made(resources, "requests");
    for (name, amount) in limits {
        absent(requests, &name, amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_what_upstream_gives_it() {
        let mut spec = json!({
            "hostNetwork": true,
            "serviceAccountName": "me",
            "containers": [{
                "name": "c", "image": "x:1", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
                "livenessProbe": {"httpGet": {"port": 80}},
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            }],
            "volumes": [{"name": "e"}, {"name": "c", "configMap": {"name": "m"}},
                {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
        });
        pod_spec(spec.as_object_mut().unwrap());
        let expected = json!({
            "hostNetwork": true, "serviceAccountName": "me", "serviceAccount": "me",
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
            "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler", "enableServiceLinks": true,
            "containers": [{
                "name": "c", "image": "x:1", "imagePullPolicy": "IfNotPresent",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                    "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}}],
            }],
            "volumes": [{"name": "e", "emptyDir": {}}, {"name": "c", "configMap": {"name": "m", "defaultMode": 420}},
                {"name": "p", "projected": {"defaultMode": 420,
                    "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}]}}],
        });
        assert_eq!(spec, expected);
    }
}
