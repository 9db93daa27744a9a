//! RuntimeClass: a pod's runtime class exists, and brings its overhead and its nodes.

use master_api::status::ApiError;
use serde_json::Value;

use crate::admission::{Operation, Plugin, Request};
use crate::json::{array_at, items, object_at, text, text_map};

#[derive(Debug)]
pub(super) struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn mutate(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if !request.is("", "pods") || request.operation != Operation::Create {
            return Ok(());
        }
        let name = text(pod, "/spec/runtimeClassName").to_owned();
        if name.is_empty() {
            if pod
                .pointer("/spec/overhead")
                .and_then(Value::as_object)
                .is_some_and(|all| !all.is_empty())
            {
                return Err(request.forbidden("pod rejected: Pod overhead set without corresponding RuntimeClass defined Overhead"));
            }
            return Ok(());
        }
        let Some(class) = request.reader.get("node.k8s.io", "runtimeclasses", "", &name) else {
            return Err(request.forbidden(format!("pod rejected: RuntimeClass {name:?} not found")));
        };
        let overhead = class.pointer("/overhead/podFixed").filter(|overhead| overhead.is_object());
        let given = pod
            .pointer("/spec/overhead")
            .filter(|given| given.as_object().is_some_and(|all| !all.is_empty()));
        if given.is_some() && given != overhead {
            return Err(request.forbidden(
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            ));
        }
        let spec = object_at(pod, &["spec"]);
        if let Some(overhead) = overhead {
            spec["overhead"] = overhead.clone();
        }
        for (key, value) in text_map(&class, "/scheduling/nodeSelector") {
            let selector = object_at(spec, &["nodeSelector"]);
            if selector.get(&key).is_some_and(|own| own != value.as_str()) {
                let message = "conflict: runtimeClass.scheduling.nodeSelector and pod.spec.nodeSelector conflict";
                return Err(request.forbidden(message));
            }
            selector[key] = Value::String(value);
        }
        for toleration in items(&class, "/scheduling/tolerations") {
            let tolerations = array_at(spec, &["tolerations"]);
            if !tolerations.contains(toleration) {
                tolerations.push(toleration.clone());
            }
        }
        Ok(())
    }
}
