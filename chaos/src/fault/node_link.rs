//! Links between a node and masters that carry nothing, or one way only.
//!
//! A node that reaches any master is not silent: an eviction from it is wrong. Of one that is not heard, and of one
//! that hears nothing, a master may think so.

use std::time::Duration;

use rand::Rng;
use store_handle::MemberId;

use super::{Fault, Field, node};
use crate::kube;
use crate::world::host;

/// What is left of the node's links.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// Masters do not hear it.
    Mute,
    /// It does not hear masters, which hear what it still says.
    Deaf,
    /// The leader is out of reach.
    OffLeader,
    /// One master is within reach.
    OffMost,
}

/// See the file's header.
#[derive(Debug)]
pub(super) struct NodeLink {
    what: What,
    node: MemberId,
    masters: Vec<MemberId>,
}

impl NodeLink {
    pub(super) fn of(what: What) -> Self {
        Self { what, node: 0, masters: Vec::new() }
    }

    /// Each direction that carries nothing.
    fn directions(&self) -> Vec<(MemberId, MemberId)> {
        let of = |master: &MemberId| match self.what {
            What::Mute => vec![(self.node, *master)],
            What::Deaf => vec![(*master, self.node)],
            What::OffLeader | What::OffMost => vec![(self.node, *master), (*master, self.node)],
        };
        self.masters.iter().flat_map(of).collect()
    }

    fn may_be_silent(&self) -> bool {
        matches!(self.what, What::Mute | What::Deaf)
    }
}

impl Fault for NodeLink {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let nodes = field.world.lock().kube.nodes;
        self.node = kube::node(field.rng.random_range(1..=nodes.max(1)));
        self.masters = field.world.lock().machines.keys().copied().collect();
        match self.what {
            What::Mute | What::Deaf => {}
            What::OffLeader => self.masters = vec![field.leader()],
            What::OffMost => {
                let kept = field.rng.random_range(0..self.masters.len());
                self.masters.remove(kept);
            }
        }
        for (from, to) in self.directions() {
            field.cut_one_way(from, to);
        }
        let name = host(self.node);
        if self.may_be_silent() {
            node::fall_silent(field, std::slice::from_ref(&name));
        }
        format!("{name} and {:?}: {:?}", self.masters, self.what)
    }

    /// Until it is noticed, and pods leave.
    fn least(&self) -> Duration {
        Duration::from_secs(12)
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        for (from, to) in self.directions() {
            field.mend_one_way(from, to);
        }
        if self.may_be_silent() {
            node::be_heard(field, &[host(self.node)]);
        }
    }
}
