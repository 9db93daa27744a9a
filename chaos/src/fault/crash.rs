//! Machines that lose their power, and processes that are killed.
//!
//! Of a machine without power no connection is closed, and none refused. The machine of a process that was
//! killed refuses connections at once. Either loses what was not synced.

use std::time::Duration;

use rand::Rng;
use store_handle::MemberId;

use super::{Fault, Field};

/// Who it happens to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    Leader,
    Any,
    /// Two or more at once.
    Several,
    /// As many as can be spared.
    Minority,
    /// The quorum is lost for a while, the leader with it.
    Majority,
    All,
}

fn choose(field: &mut Field<'_, '_>, who: Who) -> Vec<MemberId> {
    let mut members = field.shuffled();
    let majority = members.len() / 2 + 1;
    let count = match who {
        Who::Leader | Who::Any => 1,
        Who::Several => field.rng.random_range(2..=members.len().max(2)),
        Who::Minority => members.len() - majority,
        Who::Majority => majority,
        Who::All => members.len(),
    };
    if matches!(who, Who::Leader | Who::Majority) {
        let leader = field.leader();
        members.sort_by_key(|member| *member != leader);
    }
    members.truncate(count);
    members
}

/// No power for a while.
#[derive(Debug)]
pub(super) struct Crash(Who, Vec<MemberId>);

impl Crash {
    pub(super) fn of(who: Who) -> Self {
        Self(who, Vec::new())
    }
}

impl Fault for Crash {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        self.1 = choose(field, self.0);
        self.1.iter().for_each(|member| field.crash(*member));
        format!("no power: {:?}", self.1)
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        self.1.iter().for_each(|member| field.restart(*member));
    }
}

/// The process ends: the others see it at once, and a follower takes over.
#[derive(Debug)]
pub(super) struct Kill(Who);

impl Kill {
    pub(super) fn of(who: Who) -> Self {
        Self(who)
    }
}

impl Fault for Kill {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let member = choose(field, self.0)[0];
        // It may be back before anybody has noticed.
        let down_for = field.millis(1, 2_000);
        field.kill(member, down_for);
        format!("{member} is killed, and back after {down_for:?}")
    }

    fn heal(&mut self, _field: &mut Field<'_, '_>) {}
}

/// A process that is killed again and again, soon after it has started.
#[derive(Debug, Default)]
pub(super) struct CrashLoop {
    member: MemberId,
    next: Duration,
}

impl Fault for CrashLoop {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        self.member = if field.rng.random_bool(0.5) { field.leader() } else { field.follower() };
        format!("{} is killed again and again", self.member)
    }

    fn step(&mut self, field: &mut Field<'_, '_>) {
        let now = field.sim.elapsed();
        if now >= self.next {
            let down_for = field.millis(1, 60);
            self.next = now + down_for + field.millis(20, 900);
            field.kill(self.member, down_for);
        }
    }

    fn heal(&mut self, _field: &mut Field<'_, '_>) {}
}
