//! NodeUnschedulable: a cordoned node takes only pods that tolerate that.

use crate::node::NodeInfo;
use crate::plugin::{Judge, Plugin, Refusal};
use crate::pod::PodInfo;
use crate::state::State;

const TAINT: &str = "node.kubernetes.io/unschedulable";

#[derive(Debug)]
pub(super) struct NodeUnschedulable;

struct Cordon;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn prepare<'a>(&'a self, _state: &'a State, pod: &'a PodInfo) -> Option<Box<dyn Judge + 'a>> {
        (!pod.tolerates(TAINT, "", "NoSchedule")).then(|| Box::new(Cordon) as Box<dyn Judge>)
    }
}

impl Judge for Cordon {
    fn filter(&self, node: &NodeInfo) -> Result<(), Refusal> {
        match node.is_unschedulable {
            true => Err(Refusal::lasting("node(s) were unschedulable")),
            false => Ok(()),
        }
    }
}
