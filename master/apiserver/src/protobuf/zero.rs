//! What upstream's types write out though nobody gave it: a `status: {}`, the `0` of a field that is always there,
//! the `null` of a list or time that is; and what they leave out though somebody gave it: `hostname: ""`.
//!
//! Clients count on it: `deployment.status.replicas` of a new deployment is an error where there is no status.
//!
//! # Path
//! `rest/create.rs`, `rest/change.rs` → here, after `Strategy::default`

use serde_json::{Map, Value, json};

use super::{Field, Message, message_name, messages};

/// Puts in what upstream's type of a built-in kind has always.
pub fn fill(object: &mut Value, api_version: &str, kind: &str) {
    if let (Some(fields), Some(object)) = (fields(api_version, kind), object.as_object_mut()) {
        fill_message(object, fields, Place::Object);
    }
}

/// The same for one field of the object, if it is absent.
pub fn fill_field(object: &mut Value, api_version: &str, kind: &str, name: &str) {
    let fields = fields(api_version, kind).into_iter().flat_map(Message::values);
    let Some(field) = fields.into_iter().find(|field| field.name == name) else { return };
    if let Some(object) = object.as_object_mut().filter(|object| !object.contains_key(name)) {
        fill_one(object, field, Place::Object);
    }
}

/// Where a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Object,
    /// In a list or map: its times are left out where nobody gave them, since every condition has some.
    Item,
}

fn fields(api_version: &str, kind: &str) -> Option<&'static Message> {
    messages().get(message_name(api_version, kind).as_str())
}

fn fill_message(object: &mut Map<String, Value>, fields: &Message, place: Place) {
    for field in fields.values() {
        fill_one(object, field, place);
    }
}

fn fill_one(object: &mut Map<String, Value>, field: &Field, place: Place) {
    let inner = parts(field);
    if field.is_inline {
        inner.into_iter().for_each(|inner| fill_message(object, inner, place));
        return;
    }
    if object.get(field.name).is_some_and(|value| is_left_out(field, value)) {
        object.remove(field.name);
        return;
    }
    match (object.get_mut(field.name), inner) {
        (Some(list @ Value::Array(_)), _) if field.is_list && list == &json!([]) => {
            *list = Value::Null;
        }
        (Some(Value::Array(items)), Some(inner)) if field.is_list => {
            let items = items.iter_mut().filter_map(Value::as_object_mut);
            items.for_each(|item| fill_message(item, inner, Place::Item));
        }
        (Some(Value::Object(entries)), Some(inner)) if field.is_map => {
            let items = entries.values_mut().filter_map(Value::as_object_mut);
            items.for_each(|item| fill_message(item, inner, Place::Item));
        }
        (Some(Value::Object(message)), Some(inner)) => fill_message(message, inner, place),
        (None, _) => {
            if let Some(zero) = zero(field, place) {
                object.insert(field.name.into(), zero);
            }
        }
        _ => {}
    }
}

/// Whether upstream's type does not write a value: nothing, of a field that need not be there and does not tell nothing
/// from absence.
fn is_left_out(field: &Field, value: &Value) -> bool {
    if field.is_pointer || field.keeps_zero || field.is_list || field.is_map {
        return false;
    }
    match field.kind {
        "string" => value == "",
        "bool" => value == &Value::Bool(false),
        "int32" | "int64" => value == &Value::from(0),
        _ => false,
    }
}

/// The fields of a field that is a message.
fn parts(field: &Field) -> Option<&'static Message> {
    field.kind.contains('/').then(|| messages().get(field.kind)).flatten()
}

/// What is written for a field that nobody gave; nothing for most.
fn zero(field: &Field, place: Place) -> Option<Value> {
    if field.is_list || field.is_map {
        return field.keeps_zero.then_some(Value::Null);
    }
    if field.is_pointer {
        return field.keeps_zero.then_some(Value::Null);
    }
    match (parts(field), field.kind) {
        (Some(inner), _) => {
            let mut message = Map::new();
            fill_message(&mut message, inner, place);
            Some(message.into())
        }
        // The one time that upstream leaves out.
        (None, "time") if field.name == "creationTimestamp" => None,
        (None, "time" | "microtime") if place == Place::Object => Some(Value::Null),
        (None, "string") if field.keeps_zero => Some("".into()),
        (None, "bool") if field.keeps_zero => Some(false.into()),
        (None, "int32" | "int64") if field.keeps_zero => Some(0.into()),
        (None, "quantity") if field.keeps_zero => Some("0".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_always_there_is_filled_in_and_nothing_else() {
        let nodes = json!({"daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}, "nodeInfo": {
            "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "",
            "containerRuntimeVersion": "", "kubeletVersion": "", "kubeProxyVersion": "",
            "operatingSystem": "", "architecture": ""}});
        #[rustfmt::skip]
        let cases = [
            ("apps/v1", "Deployment", json!({"spec": {"selector": null, "strategy": {}, "template": {"metadata": {}, "spec": {"containers": null}}}, "status": {}})),
            ("apps/v1", "ReplicaSet", json!({"spec": {"selector": null, "template": {"metadata": {}, "spec": {"containers": null}}}, "status": {"replicas": 0}})),
            ("networking.k8s.io/v1", "Ingress", json!({"spec": {}, "status": {"loadBalancer": {}}})),
            ("resource.k8s.io/v1", "ResourceClaim", json!({"spec": {"devices": {"requests": null}}, "status": {}})),
            ("v1", "ConfigMap", json!({})),
            ("v1", "Node", json!({"spec": {}, "status": nodes})),
            ("v1", "Event", json!({"involvedObject": {}, "source": {}, "reportingComponent": "", "reportingInstance": "",
                "firstTimestamp": null, "lastTimestamp": null, "eventTime": null})),
            ("rbac.authorization.k8s.io/v1", "ClusterRole", json!({"rules": null})),
            ("example.com/v1", "Deployment", json!({})),
        ];
        for (api_version, kind, mut expected) in cases {
            let mut object = json!({"metadata": {}});
            fill(&mut object, api_version, kind);
            if !expected.as_object().unwrap().is_empty() || kind == "ConfigMap" {
                expected["metadata"] = json!({});
            } else {
                expected = json!({"metadata": {}});
            }
            assert_eq!(object, expected, "{kind}");
        }
    }

    #[test]
    fn what_is_there_stays_and_its_parts_are_filled_in() {
        let mut slice =
            json!({"endpoints": [{"addresses": ["10.0.0.1"]}, {"conditions": {"ready": true}}]});
        fill(&mut slice, "discovery.k8s.io/v1", "EndpointSlice");
        assert_eq!(slice["endpoints"][0]["conditions"], json!({}));
        assert_eq!(slice["endpoints"][1]["conditions"], json!({"ready": true}));

        let mut set = json!({"status": {"replicas": 3}});
        fill_field(&mut set, "apps/v1", "StatefulSet", "status");
        assert_eq!(set, json!({"status": {"replicas": 3}}));
        let mut set = json!({});
        fill_field(&mut set, "apps/v1", "StatefulSet", "status");
        assert_eq!(set, json!({"status": {"replicas": 0, "availableReplicas": 0}}));
    }

    #[test]
    fn pointers_and_amounts_that_are_always_written_are_there() {
        let mut slice = json!({"spec": {"devices": [{"name": "d", "capacity": {"c": {}}}]}});
        fill(&mut slice, "resource.k8s.io/v1", "ResourceSlice");
        assert_eq!(slice["spec"]["devices"][0]["capacity"], json!({"c": {"value": "0"}}));
        let backend = json!({"resource": {"kind": "K", "name": "n"}});
        let mut ingress = json!({"spec": {"defaultBackend": backend}});
        fill(&mut ingress, "networking.k8s.io/v1", "Ingress");
        let expected = json!({"apiGroup": null, "kind": "K", "name": "n"});
        assert_eq!(ingress["spec"]["defaultBackend"]["resource"], expected);
    }

    #[test]
    fn what_says_nothing_is_left_out_where_upstream_leaves_it_out() {
        let mut pod = json!({"spec": {"hostname": "", "hostNetwork": false, "nodeSelector": {"a": ""},
            "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "", "image": "", "stdin": false, "resources": {},
                "env": [{"name": "A", "value": ""}], "livenessProbe": {"initialDelaySeconds": 0}}]}});
        fill(&mut pod, "v1", "Pod");
        let expected = json!({"nodeSelector": {"a": ""}, "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "", "resources": {}, "env": [{"name": "A"}], "livenessProbe": {}}]});
        assert_eq!(pod["spec"], expected);
    }
}
