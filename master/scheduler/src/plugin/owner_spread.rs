//! Default spreading: the pods of one controller are put on different nodes and zones, where nothing
//! else was asked for.
//!
//! Counts are kept by controller as pods come and go, so that a large Deployment costs no more than a
//! small one.

use crate::node::NodeInfo;
use crate::plugin::{Judge, Plugin, SCORE_MAX, stretch};
use crate::pod::PodInfo;
use crate::state::{self, State};

#[derive(Debug)]
pub(super) struct OwnerSpread;

struct Siblings<'a>(&'a state::OwnerSpread);

impl Plugin for OwnerSpread {
    fn name(&self) -> &'static str {
        "OwnerSpread"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn prepare<'a>(&'a self, state: &'a State, pod: &'a PodInfo) -> Option<Box<dyn Judge + 'a>> {
        if !pod.spread.is_empty() {
            return None;
        }
        let siblings = state.owner(pod.owner.as_deref()?)?;
        Some(Box::new(Siblings(siblings)))
    }
}

impl Judge for Siblings<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        // A sibling in the zone weighs a third of one on the node; nodes without a zone share one.
        let in_zone = self.0.zones.get(node.zone()).copied().unwrap_or_default();
        let here = self.0.nodes.get(&node.slot).copied().unwrap_or_default();
        here * SCORE_MAX + in_zone * SCORE_MAX / 3
    }

    fn normalize(&self, scores: &mut [i64]) {
        stretch(scores, true);
    }
}
