//! What goes wrong: one file a fault. Each can be healed.

mod crash_all;
mod crash_machine;
mod kill_leader;
mod one_way;
mod partition_follower;
mod partition_leader;

use std::fmt::Debug;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use store_handle::MemberId;
use turmoil::Sim;

pub use crash_all::CrashAll;
pub use crash_machine::CrashMachine;
pub use kill_leader::KillLeader;
pub use one_way::OneWay;
pub use partition_follower::PartitionFollower;
pub use partition_leader::PartitionLeader;

use crate::sim::{MEMBERS, host};
use crate::world::SharedWorld;

/// Something that goes wrong for a while.
pub trait Fault: Debug {
    /// Lets it happen; returns what was done, for the trace.
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String;

    /// Ends it.
    fn heal(&mut self, field: &mut Field<'_, '_>);
}

/// Where faults happen.
pub struct Field<'a, 's> {
    pub sim: &'a mut Sim<'s>,
    pub world: &'a SharedWorld,
    pub rng: &'a mut StdRng,
}

impl Debug for Field<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Field")
    }
}

impl Field<'_, '_> {
    /// The leader; while there is none, any member.
    pub fn leader(&mut self) -> MemberId {
        let leader = self.world.lock().leader();
        leader.unwrap_or_else(|| self.rng.random_range(1..=MEMBERS))
    }

    /// A member that does not lead.
    pub fn follower(&mut self) -> MemberId {
        let leader = self.leader();
        (leader + self.rng.random_range(1..MEMBERS) - 1) % MEMBERS + 1
    }

    /// All but one.
    pub fn others(member: MemberId) -> impl Iterator<Item = MemberId> {
        (1..=MEMBERS).filter(move |other| *other != member)
    }

    /// Cuts a member off from all others.
    pub fn isolate(&mut self, member: MemberId) {
        Self::others(member).for_each(|other| self.sim.partition(host(member), host(other)));
    }

    /// Ends every partition of a member.
    pub fn reconnect(&mut self, member: MemberId) {
        Self::others(member).for_each(|other| self.sim.repair(host(member), host(other)));
    }

    /// Ends a member as a power failure does: nothing of it answers any more.
    pub fn crash(&mut self, member: MemberId) {
        self.sim.crash(host(member));
        let mut world = self.world.lock();
        world.stores.remove(&member);
        let state = &world.disks[&member].state;
        // The disk may have written some of what was not flushed.
        let kept = self.rng.random_range(0..=state.unflushed());
        state.crash(kept);
    }

    /// Ends a member's process; its machine refuses connections until it starts again.
    pub fn kill(&mut self, member: MemberId, down_for: Duration) {
        self.crash(member);
        let until = self.sim.elapsed() + down_for;
        self.world.lock().down_until.insert(member, until);
        self.sim.bounce(host(member));
    }

    /// Starts a member that was crashed.
    pub fn restart(&mut self, member: MemberId) {
        self.world.lock().down_until.remove(&member);
        self.sim.bounce(host(member));
    }
}
