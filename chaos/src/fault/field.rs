//! Where faults happen: the simulation's network and machines, and who is where.

use std::fmt::Debug;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use store_env::rng;
use store_handle::MemberId;
use store_mvcc::codec;
use turmoil::Sim;

use crate::clock::SimClock;
use crate::disk::{SimLog, SimState};
use crate::kube;
use crate::kube::workload::Workload;
use crate::member;
use crate::mutant::Mutation;
use crate::operator::Order;
use crate::world::{Machine, SharedWorld, host, place, successor};

/// See the file's header.
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
    /// Everybody who belongs to the group.
    pub fn members(&self) -> Vec<MemberId> {
        self.world.lock().members.iter().copied().collect()
    }

    /// The same, in any order.
    pub fn shuffled(&mut self) -> Vec<MemberId> {
        let mut members = self.members();
        members.shuffle(self.rng);
        members
    }

    /// The leader; while there is none, any member.
    pub fn leader(&mut self) -> MemberId {
        let leader = self.world.lock().leader();
        leader.unwrap_or_else(|| self.shuffled()[0])
    }

    /// A member that does not lead.
    pub fn follower(&mut self) -> MemberId {
        let leader = self.leader();
        let others = self.shuffled().into_iter().find(|other| *other != leader);
        others.unwrap_or(leader)
    }

    /// All machines but one, members or not.
    pub fn others(&self, member: MemberId) -> Vec<MemberId> {
        self.world.lock().machines.keys().copied().filter(|other| *other != member).collect()
    }

    /// A time between these, in milliseconds.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..to))
    }

    /// Cuts one direction of a link.
    pub fn cut_one_way(&mut self, from: MemberId, to: MemberId) {
        let mut world = self.world.lock();
        let cuts = world.cuts.entry((from, to)).or_default();
        *cuts += 1;
        if *cuts == 1 {
            self.sim.partition_oneway(host(from), host(to));
        }
    }

    /// Ends one cut of one direction.
    pub fn mend_one_way(&mut self, from: MemberId, to: MemberId) {
        let mut world = self.world.lock();
        let cuts = world.cuts.entry((from, to)).or_default();
        *cuts = cuts.saturating_sub(1);
        if *cuts == 0 {
            self.sim.repair_oneway(host(from), host(to));
        }
    }

    /// Cuts each of `some` off from each of `others`.
    pub fn cut(&mut self, some: &[MemberId], others: &[MemberId]) {
        for one in some {
            for other in others {
                self.cut_one_way(*one, *other);
                self.cut_one_way(*other, *one);
            }
        }
    }

    /// Ends such a cut.
    pub fn mend(&mut self, some: &[MemberId], others: &[MemberId]) {
        for one in some {
            for other in others {
                self.mend_one_way(*one, *other);
                self.mend_one_way(*other, *one);
            }
        }
    }

    /// Whether no fault keeps this member down.
    pub fn is_up(&self, member: MemberId) -> bool {
        self.world.lock().down.get(&member).is_none_or(|faults| *faults == 0)
    }

    /// Ends a member as a power failure does: nothing of it answers any more.
    pub fn crash(&mut self, member: MemberId) {
        let is_first = {
            let mut world = self.world.lock();
            let faults = world.down.entry(member).or_default();
            *faults += 1;
            *faults == 1
        };
        if is_first {
            self.lose_power(member);
        }
    }

    /// Starts a member that was crashed, unless another fault keeps it down.
    pub fn restart(&mut self, member: MemberId) {
        let is_last = {
            let mut world = self.world.lock();
            let faults = world.down.entry(member).or_default();
            *faults = faults.saturating_sub(1);
            *faults == 0
        };
        if is_last {
            let mut world = self.world.lock();
            world.down_until.remove(&member);
            world.failed.remove(&member);
            drop(world);
            self.sim.bounce(host(member));
        }
    }

    /// Ends a member's process; its machine refuses connections until it starts again.
    pub fn kill(&mut self, member: MemberId, down_for: Duration) {
        if !self.is_up(member) {
            return;
        }
        self.lose_power(member);
        let until = self.sim.elapsed() + down_for;
        {
            let mut world = self.world.lock();
            world.down_until.insert(member, until);
            world.failed.remove(&member);
        }
        self.sim.bounce(host(member));
    }

    fn lose_power(&mut self, member: MemberId) {
        self.sim.crash(host(member));
        let mut world = self.world.lock();
        world.stores.remove(&member);
        let machine = world.machines[&member].clone();
        machine.state.crash();
        if machine.log.crash() {
            world.count("torn writes");
        }
    }

    /// Sets a machine up, on which a member will run once it is started.
    pub fn provide(&mut self, member: MemberId, is_founder: bool) {
        self.set_up(member, is_founder);
        let world = self.world.clone();
        self.sim.host(host(member), move || member::serve(member, world.clone()));
    }

    /// Gives a member empty disks.
    fn set_up(&mut self, member: MemberId, is_founder: bool) {
        let mut world = self.world.lock();
        let mutation = world.mutation;
        let formats = world.machines.values().map(|machine| machine.reads_format);
        let machine = Machine {
            log: SimLog::new(rng::named("log disk", member), mutation),
            state: SimState::new(rng::named("state disk", member), mutation),
            clock: SimClock::default(),
            is_founder,
            epoch: world.epoch,
            former_epochs: Vec::new(),
            // Nobody adds a member of a release that another has left behind.
            reads_format: formats.max().unwrap_or(codec::VERSION),
        };
        if mutation == Some(Mutation::ClockStandsStill) {
            machine.clock.freeze();
        }
        world.machines.insert(member, machine);
    }

    /// Takes a member's machine, empties its disks, and starts it as a member that waits to be added; returns
    /// that one's number.
    pub fn wipe(&mut self, member: MemberId) -> MemberId {
        let next = successor(member);
        self.leave(member);
        self.set_up(next, false);
        self.sim.bounce(host(next));
        next
    }

    /// Lets another member have this one's machine, which stands still.
    pub fn leave(&mut self, member: MemberId) {
        self.sim.crash(host(member));
        let mut world = self.world.lock();
        world.machines.remove(&member);
        world.stores.remove(&member);
        world.down.remove(&member);
        world.down_until.remove(&member);
        world.failed.remove(&member);
        world.doomed.remove(&member);
    }

    /// Sets up a node of Kubernetes.
    pub fn provide_node(&mut self, number: u64) {
        let world = self.world.clone();
        self.sim.host(host(kube::node(number)), move || kube::node::serve(number, world.clone()));
    }

    /// Sets up the host of a client of Kubernetes.
    pub fn provide_client(&mut self, number: u64, workload: Workload) {
        let world = self.world.clone();
        let serve = move || kube::client::serve(number, workload, world.clone());
        self.sim.host(host(kube::client(number)), serve);
    }

    /// Sets up a machine that nobody has used, for a member to be added; returns its number.
    pub fn newcomer(&mut self) -> MemberId {
        let last =
            self.world.lock().machines.keys().map(|member| place(*member)).max().unwrap_or(0);
        self.provide(last + 1, false);
        last + 1
    }

    /// Whether the operator has something to do.
    pub fn has_orders(&self) -> bool {
        let world = self.world.lock();
        !world.orders.is_empty() || world.order_under_way.is_some()
    }

    /// Tells the operator what to do next.
    pub fn order(&mut self, order: Order) {
        self.world.lock().orders.push_back(order);
    }
}
