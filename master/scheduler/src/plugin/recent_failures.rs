//! A controller's pod that failed on a node is not sent there again at once (Borg does the same).

use crate::node::NodeInfo;
use crate::plugin::{Judge, Plugin, SCORE_MAX};
use crate::pod::PodInfo;
use crate::state::State;

#[derive(Debug)]
pub(super) struct RecentFailures;

struct Failures<'a> {
    state: &'a State,
    owner: &'a str,
}

impl Plugin for RecentFailures {
    fn name(&self) -> &'static str {
        "RecentFailures"
    }

    fn weight(&self) -> i64 {
        5
    }

    fn prepare<'a>(&'a self, state: &'a State, pod: &'a PodInfo) -> Option<Box<dyn Judge + 'a>> {
        let owner = pod.owner.as_deref()?;
        state.has_failures().then(|| Box::new(Failures { state, owner }) as Box<dyn Judge>)
    }
}

impl Judge for Failures<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        if self.state.failed_lately(self.owner, &node.name) { 0 } else { SCORE_MAX }
    }
}
