//! NodePorts: two pods never share a port of a node.

use crate::node::NodeInfo;
use crate::plugin::{Event, Judge, Plugin, Refusal};
use crate::pod::PodInfo;
use crate::state::State;

#[derive(Debug)]
pub(super) struct NodePorts;

struct Ports<'a>(&'a PodInfo);

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn profits_from(&self, event: Event) -> bool {
        matches!(event, Event::Node | Event::PodGone)
    }

    fn prepare<'a>(&'a self, _state: &'a State, pod: &'a PodInfo) -> Option<Box<dyn Judge + 'a>> {
        (!pod.ports.is_empty()).then(|| Box::new(Ports(pod)) as Box<dyn Judge>)
    }
}

impl Judge for Ports<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Refusal> {
        match node.has_free(&self.0.ports) {
            true => Ok(()),
            false => Err(Refusal::resolvable(
                "node(s) didn't have free ports for the requested pod ports",
            )),
        }
    }
}
