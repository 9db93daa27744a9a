//! Links that carry nothing for a while: the parts of the group must not contradict each other.

use std::time::Duration;

use rand::Rng;
use store_handle::MemberId;

use super::{Fault, Field};
use crate::world::host;

/// Who is cut off from all others.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    /// It must stop leading by itself, and the others go on without it.
    Leader,
    /// It must answer nothing, and must not disturb the others when it is back.
    Follower,
    /// As many as can be spared.
    Minority,
    /// Any number, the leader among them or not.
    Half,
}

/// Two groups that do not hear each other.
#[derive(Debug)]
pub(super) struct Partition {
    who: Who,
    apart: Vec<MemberId>,
    others: Vec<MemberId>,
    resets: bool,
}

impl Partition {
    pub(super) fn of(who: Who) -> Self {
        Self { who, apart: Vec::new(), others: Vec::new(), resets: false }
    }

    /// As by a firewall that resets connections: it looks as if the process had ended, and it has not.
    pub(super) fn resetting(who: Who) -> Self {
        Self { resets: true, ..Self::of(who) }
    }
}

impl Fault for Partition {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let mut members = field.shuffled();
        let minority = (members.len() - 1) / 2;
        let count = match self.who {
            Who::Leader | Who::Follower => 1,
            Who::Minority => minority,
            Who::Half => field.rng.random_range(1..members.len()),
        };
        let leader = field.leader();
        match self.who {
            Who::Leader => members.sort_by_key(|member| *member != leader),
            Who::Follower => members.sort_by_key(|member| *member == leader),
            Who::Minority | Who::Half => {}
        }
        self.apart = members[..count.max(1)].to_vec();
        // Machines that do not belong to the group stay with the majority.
        let all: Vec<MemberId> = field.world.lock().machines.keys().copied().collect();
        self.others = all.into_iter().filter(|id| !self.apart.contains(id)).collect();
        field.cut(&self.apart, &self.others);
        if self.resets {
            let links = field.world.lock().links.clone();
            let pairs =
                self.apart.iter().flat_map(|one| self.others.iter().map(move |it| (one, it)));
            pairs.for_each(|(one, other)| links.break_all(&host(*one), &host(*other)));
        }
        format!("partition: {:?} apart from {:?}, leader {leader}", self.apart, self.others)
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        field.mend(&self.apart, &self.others);
    }
}

/// The leader still sends, or still hears, but not both.
#[derive(Debug, Default)]
pub(super) struct OneWay(Vec<(MemberId, MemberId)>);

impl Fault for OneWay {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let leader = field.leader();
        let is_deaf = field.rng.random_bool(0.5);
        let link = |other| if is_deaf { (other, leader) } else { (leader, other) };
        self.0 = field.others(leader).into_iter().map(link).collect();
        self.0.iter().for_each(|(from, to)| field.cut_one_way(*from, *to));
        format!("leader {leader} is {}", if is_deaf { "deaf" } else { "mute" })
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        self.0.iter().for_each(|(from, to)| field.mend_one_way(*from, *to));
    }
}

/// One member hears all others, and these hear only half of each other.
#[derive(Debug, Default)]
pub(super) struct Bridge(Vec<MemberId>, Vec<MemberId>);

impl Fault for Bridge {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let members = field.shuffled();
        let (bridge, shores) = members.split_at(1);
        let (left, right) = shores.split_at(shores.len() / 2);
        (self.0, self.1) = (left.to_vec(), right.to_vec());
        field.cut(left, right);
        format!("only {bridge:?} is between {left:?} and {right:?}")
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        field.mend(&self.0, &self.1);
    }
}

/// A member's links come and go.
#[derive(Debug, Default)]
pub(super) struct Flapping {
    member: Vec<MemberId>,
    others: Vec<MemberId>,
    is_cut: bool,
    next: Duration,
}

impl Fault for Flapping {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let member = if field.rng.random_bool(0.5) { field.leader() } else { field.follower() };
        (self.member, self.others) = (vec![member], field.others(member));
        format!("the links of {member} flap")
    }

    fn step(&mut self, field: &mut Field<'_, '_>) {
        let now = field.sim.elapsed();
        if now < self.next {
            return;
        }
        self.next = now + field.millis(30, 700);
        if self.is_cut {
            field.mend(&self.member, &self.others);
        } else {
            field.cut(&self.member, &self.others);
        }
        self.is_cut = !self.is_cut;
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        if self.is_cut {
            field.mend(&self.member, &self.others);
        }
    }
}
