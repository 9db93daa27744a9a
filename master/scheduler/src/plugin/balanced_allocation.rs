//! NodeResourcesBalancedAllocation: cpu and memory of a node run out together.

use crate::node::NodeInfo;
use crate::plugin::{Judge, Plugin, SCORE_MAX};
use crate::pod::PodInfo;
use crate::state::State;

#[derive(Debug)]
pub(super) struct BalancedAllocation;

struct Balance<'a>(&'a PodInfo);

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn prepare<'a>(&'a self, _state: &'a State, pod: &'a PodInfo) -> Option<Box<dyn Judge + 'a>> {
        let asks = pod.request.cpu_m > 0 || pod.request.memory > 0;
        asks.then(|| Box::new(Balance(pod)) as Box<dyn Judge>)
    }
}

impl Judge for Balance<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let share = |used: i64, asked: i64, of: i64| {
            if of == 0 { SCORE_MAX } else { ((used + asked) * SCORE_MAX / of).min(SCORE_MAX) }
        };
        let cpu = share(node.used.cpu_m, self.0.request.cpu_m, node.allocatable.cpu_m);
        let memory = share(node.used.memory, self.0.request.memory, node.allocatable.memory);
        SCORE_MAX - (cpu - memory).abs() / 2
    }
}
