//! PodResizeValidator: a pod is not resized beyond what its node has.

use master_api::status::ApiError;
use serde_json::Value;

use super::resource_quota::requests_of;
use crate::admission::{Operation, Plugin, Request};
use crate::json::text;

#[derive(Debug)]
pub(super) struct PodResize;

impl Plugin for PodResize {
    fn validate(
        &self,
        request: &Request<'_>,
        pod: &Value,
        _warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let node = text(pod, "/spec/nodeName");
        let is_changed = request.old.is_none_or(|old| old["spec"] != pod["spec"]);
        let is_resize =
            request.is("", "pods/resize") && request.operation == Operation::Update && is_changed;
        if !is_resize || node.is_empty() {
            return Ok(());
        }
        let found = request.reader.get("", "nodes", "", node);
        let found = found.ok_or_else(|| request.forbidden(format!("node {node:?} not found")))?;
        let system = text(&found, "/metadata/labels/kubernetes.io~1os");
        if !matches!(system, "" | "linux") {
            return Err(request.forbidden(format!(
                "pod resize is only supported on linux nodes, node {node:?} is {system:?}"
            )));
        }
        let requests = requests_of(pod);
        let mut missing = Vec::new();
        for name in ["cpu", "memory"] {
            let has =
                master_api::quantity::Quantity::from_json(&found["status"]["allocatable"][name]);
            let has = has.unwrap_or_default();
            let asked = requests.get(name).copied().unwrap_or_default();
            if asked > has {
                let (asked, has) = match name {
                    "cpu" => (asked.millis(), has.millis()),
                    _ => (asked.units(), has.units()),
                };
                missing.push(format!("{name}, requested: {asked}, allocatable: {has}"));
            }
        }
        match missing.is_empty() {
            true => Ok(()),
            false => Err(request.forbidden(format!(
                "node didn't have enough allocatable resources: {}",
                missing.join("; ")
            ))),
        }
    }
}
