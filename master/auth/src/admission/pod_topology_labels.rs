//! PodTopologyLabels: a pod that has a node has the node's zone and region among its labels, whatever they were before.

use master_api::status::ApiError;
use serde_json::Value;

use crate::admission::{Operation, Plugin, Request};
use crate::json::{object_at, text, text_map};

const COPIED: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

#[derive(Debug)]
pub(super) struct PodTopologyLabels;

impl Plugin for PodTopologyLabels {
    fn mutate(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), ApiError> {
        let is_created = request.is("", "pods") && request.operation == Operation::Create;
        if !is_created && !request.is("", "pods/binding") {
            return Ok(());
        }
        let node = text(pod, "/spec/nodeName");
        if node.is_empty() {
            return Ok(());
        }
        let Some(node) = request.reader.get("", "nodes", "", node) else { return Ok(()) };
        let labels = text_map(&node, "/metadata/labels");
        for (key, value) in labels.into_iter().filter(|(key, _)| COPIED.contains(&key.as_str())) {
            object_at(pod, &["metadata", "labels"])[key] = Value::String(value);
        }
        Ok(())
    }
}
