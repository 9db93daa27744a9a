//! What goes wrong: one file a fault, or a few that are alike. Each lasts for a while, and is then healed.

mod clock;
mod damage;
mod disk;
mod kill;
mod partition;
mod pause;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use super::lab::Switch;
use super::machine::Machine;
use super::masters::Masters;

/// What faults act on.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) switch: Switch,
    pub(crate) machines: Vec<Machine>,
    /// If whole masters are on them.
    pub(crate) masters: Option<Arc<Masters>>,
    /// Machines with nodes on them: they may be cut off from masters, and nothing else befalls them.
    pub(crate) nodes: Vec<Machine>,
    pub(crate) rng: SmallRng,
    /// Who led when the fault came.
    pub(crate) leader: usize,
    /// Whose place is to be taken by one with an empty disk, once all else is healed.
    pub(crate) spoiled: Vec<usize>,
}

impl Field {
    fn followers(&mut self) -> Vec<usize> {
        let mut all: Vec<_> = (0..self.machines.len()).filter(|it| *it != self.leader).collect();
        all.shuffle(&mut self.rng);
        all
    }

    fn follower(&mut self) -> usize {
        self.followers()[0]
    }

    fn any(&mut self) -> usize {
        self.rng.random_range(0..self.machines.len())
    }

    fn name(&self, machine: usize) -> String {
        let is_leader = if machine == self.leader { " (leader)" } else { "" };
        format!("{}{is_leader}", self.machines[machine].name())
    }

    fn names(&self, machines: &[usize]) -> String {
        machines.iter().map(|it| self.name(*it)).collect::<Vec<_>>().join(", ")
    }
}

/// Something that goes wrong for a while.
pub(crate) trait Fault: Debug + Send {
    /// Lets it happen; returns what was done.
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String>;

    /// How long it lasts.
    fn lasts(&self) -> Duration {
        LASTS
    }

    /// Whether no other may come with it: it takes from one member what a majority had synced, or most members
    /// have to go on.
    fn is_alone(&self) -> bool {
        false
    }

    /// Within this, a client that was at the leader and knows the others has its writes acknowledged again.
    fn clients_move_within(&self) -> Option<Duration> {
        None
    }

    /// What of this machine is missing for it.
    fn lacks(&self, _field: &Field) -> Option<&'static str> {
        None
    }

    /// Ends it.
    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()>;
}

/// A kind of fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) make: fn() -> Box<dyn Fault>,
}

macro_rules! kinds {
    ($($name:literal: $make:expr,)*) => {
        &[$(Kind { name: $name, make: || Box::new($make) }),*]
    };
}

/// How long most faults last.
const LASTS: Duration = Duration::from_secs(4);

/// Every kind.
pub(crate) const KINDS: &[Kind] = kinds! {
    "kill-leader": kill::Kill::of(kill::Who::Leader),
    "kill-follower": kill::Kill::of(kill::Who::Follower),
    "kill-all": kill::Kill::of(kill::Who::All),
    "stop-leader": kill::Stop::default(),
    "pause-leader": pause::Pause::of(pause::Who::Leader),
    "pause-follower": pause::Pause::of(pause::Who::Follower),
    "partition-leader": partition::Partition::of(partition::Who::Leader),
    "partition-minority": partition::Partition::of(partition::Who::Minority),
    "one-way": partition::OneWay::default(),
    "bridge": partition::Bridge::default(),
    "clients-from-leader": partition::Partition::of(partition::Who::Clients),
    "silence-node": partition::Partition::of(partition::Who::Node),
    "silence-nodes": partition::Partition::of(partition::Who::Nodes),
    "silence-one-way": partition::NodeOneWay::default(),
    "disk-full": disk::Full::default(),
    "disks-low": disk::Low::default(),
    "disk-slow": disk::Slow::to(200_000),
    "disk-stalls": disk::Slow::to(1_000),
    "corrupt-file": damage::Damage::Flip,
    "truncate-log": damage::Damage::Cut,
    "clock-jump": clock::Jump::default(),
};
