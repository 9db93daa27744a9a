//! TaintNodesByCondition: a new node takes no pods until a controller has seen it ready.

use master_api::status::ApiError;
use serde_json::{Value, json};

use crate::admission::{Operation, Plugin, Request};
use crate::json::{array_at, items, text};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

#[derive(Debug)]
pub(super) struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn mutate(&self, request: &Request<'_>, node: &mut Value) -> Result<(), ApiError> {
        let has_taint = |taint: &Value| {
            text(taint, "/key") == NOT_READY && text(taint, "/effect") == "NoSchedule"
        };
        let is_create = request.is("", "nodes") && request.operation == Operation::Create;
        if is_create && !items(node, "/spec/taints").iter().any(has_taint) {
            array_at(node, &["spec", "taints"])
                .push(json!({ "key": NOT_READY, "effect": "NoSchedule" }));
        }
        Ok(())
    }
}
