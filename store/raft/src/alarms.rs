//! What is wrong with which member: each says it of itself, and asks the others every second.
//!
//! The log carries none of it. A disk that is full, or a state that has diverged, is a fact about one machine;
//! what it must lead to (no writes that grow, no answers from a state that cannot be trusted) is decided by
//! whoever serves a client.
//!
//! # Invariants
//! - What was heard last of a member that is not reached any more holds until it is heard again, or removed.
//! - A member that has diverged does not lead for longer than it takes to hand over; nor one without room, while
//!   another has some.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use store_env::task::TaskResult;
use store_handle::{Alarms, MemberId, room};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::durations::Durations;
use crate::members;
use crate::wire::{Answer, Ask};

/// How often the others are asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The upper bound of the first bucket that round trips are counted in, as etcd's.
const ROUND_TRIP_FIRST_US: u64 = 100;

/// What is known of all members, this one among them.
#[derive(Debug, Default)]
pub(crate) struct Board {
    alarms: watch::Sender<BTreeMap<MemberId, Alarms>>,
    trips: Mutex<BTreeMap<MemberId, Durations>>,
}

impl Board {
    pub(crate) fn of(&self, member: MemberId) -> Alarms {
        self.alarms.borrow().get(&member).copied().unwrap_or_default()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<BTreeMap<MemberId, Alarms>> {
        self.alarms.subscribe()
    }

    /// Whether anything is wrong with anybody.
    pub(crate) fn has_any(&self) -> bool {
        !self.alarms.borrow().is_empty()
    }

    /// Those of `voters` whose lack of room forbids growth.
    pub(crate) fn in_the_way(&self, voters: &BTreeSet<MemberId>) -> Vec<MemberId> {
        room::in_the_way(&self.alarms.borrow(), voters)
    }

    pub(crate) fn trips(&self) -> BTreeMap<MemberId, Durations> {
        self.trips.lock().clone()
    }

    /// Changes what is known of a member.
    pub(crate) fn change(&self, member: MemberId, change: impl FnOnce(&mut Alarms)) {
        self.alarms.send_if_modified(|all| {
            let before = all.get(&member).copied().unwrap_or_default();
            let mut now = before;
            change(&mut now);
            match now.is_empty() {
                true => drop(all.remove(&member)),
                false => drop(all.insert(member, now)),
            }
            if now != before {
                tracing::warn!(member = format!("{member:x}"), alarms = ?now, "alarms");
            }
            now != before
        });
    }

    /// Forgets those who are no members any more.
    fn keep(&self, members: &[MemberId]) {
        let is_kept = |id: &MemberId| members.contains(id);
        self.alarms.send_if_modified(|all| {
            let before = all.len();
            all.retain(|id, _| is_kept(id));
            all.len() != before
        });
        self.trips.lock().retain(|id, _| is_kept(id));
    }
}

/// Tells the others, and hears from them, until told to stop.
pub(crate) async fn run(core: Arc<Core>, stop: CancellationToken) -> TaskResult {
    let mut changes = core.alarms.changes();
    loop {
        let membership = core.metrics().membership_config;
        let ids: Vec<MemberId> = membership.membership().nodes().map(|(id, _)| *id).collect();
        if !ids.is_empty() {
            let mut kept = ids.clone();
            kept.push(core.id());
            core.alarms.keep(&kept);
            core.peers.keep(&kept);
        }
        let own = core.alarms.of(core.id());
        let others = ids.into_iter().filter(|id| *id != core.id());
        let exchange = join_all(others.map(|id| exchange(&core, id, own)));
        let heard: Vec<Option<MemberId>> = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            heard = exchange => heard,
        };
        if core.leader() == Some(core.id()) {
            let heard = heard.into_iter().flatten().collect();
            hand_over(&core, own, &heard).await;
        }
        let own_changed =
            changes.wait_for(|all| all.get(&core.id()).copied().unwrap_or_default() != own);
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            changed = own_changed => drop(changed?),
            () = tokio::time::sleep(ASK_EVERY) => {}
        }
    }
}

/// Lets another one lead, if what is wrong with this one says so and one of those just heard is better.
async fn hand_over(core: &Core, own: Alarms, heard: &BTreeSet<MemberId>) {
    let outcome = if own.is_corrupt && core.voters().len() > 1 {
        tracing::warn!("this member's state has diverged: handing over");
        members::hand_over_here(core, None).await
    } else if own.no_space
        && let Some(to) =
            members::next_to(core, |id| heard.contains(&id) && core.alarms.of(id).is_empty())
    {
        tracing::warn!(
            to = format!("{to:x}"),
            "this member has no room: handing over to one that has"
        );
        members::hand_over_here(core, Some(to)).await
    } else {
        Ok(())
    };
    if let Err(reason) = outcome {
        tracing::warn!(?reason, "not handed over");
    }
}

/// Tells another member, and hears from it; `None` if it does not answer.
async fn exchange(core: &Core, other: MemberId, own: Alarms) -> Option<MemberId> {
    let within = core.peers.times().keep_alive_timeout;
    let started = Instant::now();
    // Who does not answer, or does not know the question, leaves things as they are.
    let answer = core.peers.ask(other, &Ask::Alarms(own), within).await;
    let Ok(Answer::Alarms(theirs)) = answer else { return None };
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let mut trips = core.alarms.trips.lock();
    trips.entry(other).or_insert_with(|| Durations::from_us(ROUND_TRIP_FIRST_US)).note(micros);
    drop(trips);
    core.alarms.change(other, |known| *known = theirs);
    Some(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn board_tells_changes_only_and_forgets_who_is_gone() {
        let board = Board::default();
        let mut changes = board.changes();
        board.change(1, |_| {});
        assert!(!changes.has_changed().unwrap());
        board.change(1, |alarms| alarms.no_space = true);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        board.change(1, |alarms| alarms.no_space = true);
        board.keep(&[1, 2]);
        assert!(!changes.has_changed().unwrap());
        assert!(board.of(1).no_space && board.of(2).is_empty());
        board.keep(&[2]);
        assert!(changes.has_changed().unwrap() && changes.borrow().is_empty());
    }
}
