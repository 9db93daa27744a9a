//! Raft's invariants (Ongaro and Ousterhout 2014, figure 3), looked at after every step of a simulation.

mod election_safety;
mod leader_completeness;
mod log_matching;
mod one_vote;
mod revision_order;
mod state_machine_safety;

use std::fmt::Debug;

use store_handle::{Handle, MemberId, Revision};
use store_raft::{Progress, RaftStore};

use super::Verdict;
use crate::disk::Written;
use crate::world::World;

/// One member, as it is after a step.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub member: MemberId,
    /// How often it has started.
    pub life: u32,
    pub term: u64,
    /// Whether Raft says that it leads, which is some time before the store does.
    pub is_leader: bool,
    pub progress: Progress,
    pub compacted: Revision,
    pub store: &'a RaftStore,
}

/// What is to be seen after one step.
#[derive(Debug)]
pub struct Look<'a> {
    pub members: Vec<Seen<'a>>,
    /// What has reached the logs' disks in this step.
    pub written: Vec<(MemberId, Written)>,
}

impl<'a> Look<'a> {
    /// Looks at all members that are up.
    pub fn at(world: &'a World) -> Self {
        let one = |(member, store): (&MemberId, &'a std::sync::Arc<RaftStore>)| {
            let leadership = *store.leadership().borrow();
            Seen {
                member: *member,
                life: world.starts.get(member).copied().unwrap_or(0),
                term: leadership.term.0,
                is_leader: leadership.leader == Some(*member),
                progress: store.progress(),
                compacted: store.compacted(),
                store,
            }
        };
        let machines = world.machines.iter();
        let written = machines.flat_map(|(member, machine)| {
            let written = machine.log.take_written();
            let is_current = machine.epoch == world.epoch;
            written.into_iter().filter(move |_| is_current).map(|written| (*member, written))
        });
        Self { members: world.current().map(one).collect(), written: written.collect() }
    }
}

/// What must hold at any time.
pub trait Invariant: Debug {
    /// Looks at one step.
    fn look(&mut self, look: &Look<'_>) -> Verdict;
}

/// Every invariant, by name.
pub fn all() -> Vec<(&'static str, Box<dyn Invariant>)> {
    vec![
        ("election safety", Box::<election_safety::ElectionSafety>::default()),
        ("one vote a term", Box::<one_vote::OneVote>::default()),
        ("log matching", Box::<log_matching::LogMatching>::default()),
        ("leader completeness", Box::<leader_completeness::LeaderCompleteness>::default()),
        ("state machine safety", Box::<state_machine_safety::StateMachineSafety>::default()),
        ("revisions ascend", Box::<revision_order::RevisionOrder>::default()),
    ]
}
