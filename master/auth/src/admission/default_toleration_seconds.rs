//! DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready or unreachable.

use master_api::status::ApiError;
use serde_json::{Value, json};

use crate::admission::{Operation, Plugin, Request};
use crate::json::{array_at, items, text};

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

#[derive(Debug)]
pub(super) struct DefaultTolerationSeconds;

impl Plugin for DefaultTolerationSeconds {
    fn mutate(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if !request.is("", "pods")
            || !matches!(request.operation, Operation::Create | Operation::Update)
        {
            return Ok(());
        }
        for taint in TAINTS {
            let tolerates = |toleration: &Value| {
                let (key, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
                (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
            };
            if items(pod, "/spec/tolerations").iter().any(tolerates) {
                continue;
            }
            array_at(pod, &["spec", "tolerations"]).push(json!({
                "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
        Ok(())
    }
}
