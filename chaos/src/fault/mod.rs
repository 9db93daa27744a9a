//! What goes wrong: one file a fault, or a few that are alike. Each lasts for a while, and is then healed.
//!
//! # Invariants
//! - Faults may overlap: a link that two of them cut is whole again once both are healed.

mod bit_rot;
mod clock;
mod crash;
mod delay;
mod failing_disk;
mod field;
mod lag;
mod membership;
mod node;
mod node_link;
mod partition;
mod pause;
mod recover;
mod slow_disk;
mod upgrade;

use std::fmt::Debug;
use std::time::Duration;

pub use field::Field;

/// Something that goes wrong for a while.
pub trait Fault: Debug {
    /// Lets it happen; returns what was done, for the trace.
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String;

    /// How long it must last to show what it is for.
    fn least(&self) -> Duration {
        Duration::from_millis(500)
    }

    /// After every step while it lasts.
    fn step(&mut self, _field: &mut Field<'_, '_>) {}

    /// Ends it.
    fn heal(&mut self, field: &mut Field<'_, '_>);
}

/// What takes the place of a fault that is left out.
#[derive(Debug)]
pub struct LeftOut {
    pub least: Duration,
}

impl Fault for LeftOut {
    fn inject(&mut self, _field: &mut Field<'_, '_>) -> String {
        "left out".into()
    }

    fn least(&self) -> Duration {
        self.least
    }

    fn heal(&mut self, _field: &mut Field<'_, '_>) {}
}

/// A kind of fault.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub name: &'static str,
    pub make: fn() -> Box<dyn Fault>,
}

macro_rules! kinds {
    ($($name:literal: $make:expr,)*) => {
        &[$(Kind { name: $name, make: || Box::new($make) }),*]
    };
}

/// Every kind.
pub const KINDS: &[Kind] = kinds! {
    "partition-leader": partition::Partition::of(partition::Who::Leader),
    "partition-follower": partition::Partition::of(partition::Who::Follower),
    "partition-minority": partition::Partition::of(partition::Who::Minority),
    "reset-leader": partition::Partition::resetting(partition::Who::Leader),
    "split": partition::Partition::of(partition::Who::Half),
    "one-way": partition::OneWay::default(),
    "bridge": partition::Bridge::default(),
    "flapping": partition::Flapping::default(),
    "delay": delay::Delay::default(),
    "broken-connections": delay::BrokenConnections::default(),
    "kill-leader": crash::Kill::of(crash::Who::Leader),
    "kill-any": crash::Kill::of(crash::Who::Any),
    "crash-machine": crash::Crash::of(crash::Who::Any),
    "crash-leader": crash::Crash::of(crash::Who::Leader),
    "crash-several": crash::Crash::of(crash::Who::Several),
    "crash-minority": crash::Crash::of(crash::Who::Minority),
    "crash-majority": crash::Crash::of(crash::Who::Majority),
    "crash-all": crash::Crash::of(crash::Who::All),
    "crash-loop": crash::CrashLoop::default(),
    "bit-rot-log": bit_rot::BitRot::of_log(),
    "bit-rot-state": bit_rot::BitRot::of_state(),
    "disk-full": failing_disk::FailingDisk::full(),
    "fsync-error": failing_disk::FailingDisk::broken(),
    "slow-disk": slow_disk::SlowDisk::default(),
    "clock-jump": clock::Jump::default(),
    "clock-drift": clock::Drift,
    "pause": pause::Pause::default(),
    "hand-over": membership::HandOver,
    "replace-member": membership::Replace::default(),
    "remove-member": membership::Remove::default(),
    "return-removed": membership::ReturnRemoved,
    "grow": membership::Grow,
    "lose-majority": recover::Recover::default(),
    "upgrade-member": upgrade::Upgrade::forward(),
    "roll-back-member": upgrade::Upgrade::back(),
    "lag": lag::Lag::default(),
    "silence-node": node::Silent::of(node::Who::One),
    "silence-most": node::Silent::of(node::Who::MostOfZone),
    "silence-zone": node::Silent::of(node::Who::Zone),
    "mute-node": node_link::NodeLink::of(node_link::What::Mute),
    "deaf-node": node_link::NodeLink::of(node_link::What::Deaf),
    "node-off-leader": node_link::NodeLink::of(node_link::What::OffLeader),
    "node-off-most": node_link::NodeLink::of(node_link::What::OffMost),
    "restart-kubelet": node::Restart,
    "interrupted-snapshot": lag::InterruptedSnapshot::default(),
};

/// The kind of this name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}
