//! NodeResourcesFit: a node has room for what a pod requests, and how its room is best used.

use crate::node::NodeInfo;
use crate::plugin::{Event, Judge, Plugin, Refusal, SCORE_MAX};
use crate::pod::PodInfo;
use crate::resources::Resources;
use crate::state::State;

/// Which nodes are filled first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The emptiest: load is spread (worst fit).
    #[default]
    LeastAllocated,
    /// The fullest: machines become free (best fit).
    MostAllocated,
    /// Borg's middle way: full, but with as little stranded of one resource as of the other.
    Hybrid,
}

#[derive(Debug)]
pub(super) struct ResourcesFit {
    strategy: Strategy,
}

impl ResourcesFit {
    pub(super) fn new(strategy: Strategy) -> Self {
        Self { strategy }
    }
}

struct Fit<'a> {
    strategy: Strategy,
    state: &'a State,
    pod: &'a PodInfo,
}

impl Plugin for ResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn profits_from(&self, event: Event) -> bool {
        matches!(event, Event::Node | Event::PodGone)
    }

    fn prepare<'a>(&'a self, state: &'a State, pod: &'a PodInfo) -> Option<Box<dyn Judge + 'a>> {
        Some(Box::new(Fit { strategy: self.strategy, state, pod }))
    }
}

impl Judge for Fit<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Refusal> {
        let mut promised = self.state.nominated(&node.name).filter(|other| {
            other.priority >= self.pod.priority
                && other.key != self.pod.key
                && !node.pods.contains_key(&other.key)
        });
        let missing = match promised.next() {
            None => missing(&self.pod.request, &node.used, &node.allocatable),
            Some(first) => {
                let mut used = node.used.clone();
                used.add(&first.request);
                promised.for_each(|other| used.add(&other.request));
                missing(&self.pod.request, &used, &node.allocatable)
            }
        };
        if missing.is_empty() {
            return Ok(());
        }
        // Without any pod the node would still be too small: nobody needs to go for this one.
        let is_resolvable =
            self::missing(&self.pod.request, &Resources::default(), &node.allocatable).is_empty();
        Err(Refusal { reasons: missing, is_resolvable })
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        let used = |used: i64, asked: i64, of: i64| {
            if of == 0 { SCORE_MAX } else { ((used + asked) * SCORE_MAX / of).min(SCORE_MAX) }
        };
        let cpu = used(node.used_guess.cpu_m, self.pod.guess.cpu_m, node.allocatable.cpu_m);
        let memory = used(node.used_guess.memory, self.pod.guess.memory, node.allocatable.memory);
        match self.strategy {
            Strategy::LeastAllocated => SCORE_MAX - (cpu + memory) / 2,
            Strategy::MostAllocated => (cpu + memory) / 2,
            Strategy::Hybrid => (cpu + memory) / 4 + (SCORE_MAX - (cpu - memory).abs()) / 2,
        }
    }
}

/// What there is too little of, in upstream's words.
fn missing(request: &Resources, used: &Resources, allocatable: &Resources) -> Vec<String> {
    let mut missing = Vec::new();
    if used.pods + 1 > allocatable.pods {
        missing.push("Too many pods".to_owned());
    }
    let mut check = |name: &str, asked: i64, used: i64, of: i64| {
        if asked > 0 && asked > of - used {
            missing.push(format!("Insufficient {name}"));
        }
    };
    check("cpu", request.cpu_m, used.cpu_m, allocatable.cpu_m);
    check("memory", request.memory, used.memory, allocatable.memory);
    check("ephemeral-storage", request.storage, used.storage, allocatable.storage);
    for (name, asked) in &request.others {
        let amount = |of: &Resources| of.others.get(name).copied().unwrap_or_default();
        check(name, *asked, amount(used), amount(allocatable));
    }
    missing
}
