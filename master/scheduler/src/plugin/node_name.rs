//! NodeName: a pod that was made for one node goes nowhere else.
//!
//! Daemon pods say so by a required node affinity on `metadata.name`; a pod with `spec.nodeName` is
//! never seen here, since it is bound already. What is left is a nominated node that still exists.

use crate::node::NodeInfo;
use crate::plugin::{Judge, Plugin, Refusal};
use crate::pod::PodInfo;
use crate::state::State;

#[derive(Debug)]
pub(super) struct NodeName;

struct Only<'a>(&'a str);

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn prepare<'a>(&'a self, _state: &'a State, pod: &'a PodInfo) -> Option<Box<dyn Judge + 'a>> {
        let node = pod.node.as_deref()?;
        Some(Box::new(Only(node)))
    }
}

impl Judge for Only<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Refusal> {
        match node.name == self.0 {
            true => Ok(()),
            false => Err(Refusal::lasting("node(s) didn't match the requested node name")),
        }
    }
}
