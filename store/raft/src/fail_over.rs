//! Fail-over by connection: when the leader's process ends, its connections close and nobody listens there
//! any more. That is certain at once, where time-outs need seconds.
//!
//! Every member attends to every other one over a stream that lasts as long as the other's process. When the
//! leader's ends, and dialling it again is refused, and most voters see the same, one of these elects itself
//! as if leadership had been handed to it: the one with the longest log.
//!
//! # Invariants
//! - All who have heard each other find the same one: nobody stands against it, however slow its disk.
//! - A member that is cut off, and not the leader, disturbs nobody: it finds no majority that agrees.
//! - These elections pass the lease, which is why nothing here is ever read by lease.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::raft::TransferLeaderRequest;
use store_env::task::{Crew, TaskResult};
use store_handle::MemberId;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::{Core, LOOK_AGAIN};
use crate::peers::AskError;
use crate::wire::{Answer, Ask, View};

/// How long the others may take once enough have answered.
const STRAGGLERS_MAX: Duration = Duration::from_millis(50);

/// The shortest pause between two attempts to reach a member.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// The longest pause between two attempts to reach a member: well below the time-out, so that a leader is
/// attended to soon after it is elected.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Attends to the other members, and takes over from a leader whose process has ended.
pub(crate) async fn run(core: Arc<Core>, stop: CancellationToken) -> TaskResult {
    let (gone, mut departures) = mpsc::channel(16);
    let mut attended: BTreeMap<MemberId, CancellationToken> = BTreeMap::new();
    let mut crew = Crew::new();
    loop {
        let membership = core.metrics().membership_config;
        let nodes = membership.membership().nodes();
        let others: Vec<MemberId> =
            nodes.map(|(id, _)| *id).filter(|id| *id != core.id()).collect();
        attended.retain(|id, until| {
            let stays = others.contains(id);
            if !stays {
                until.cancel();
            }
            stays
        });
        for other in others {
            attended.entry(other).or_insert_with(|| {
                let until = stop.child_token();
                crew.spawn(attend(core.clone(), other, gone.clone(), until.clone()));
                until
            });
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            Some(leader) = departures.recv() => {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Ok(()),
                    () = take_over(&core, leader) => {}
                }
            }
            // Members come and go; of a new group none is known at first.
            () = tokio::time::sleep(if attended.is_empty() { PAUSE_MIN } else { PAUSE_MAX }) => {}
        }
    }
}

/// Watches one member's process, and says so each time it is found to have ended.
async fn attend(
    core: Arc<Core>,
    other: MemberId,
    gone: mpsc::Sender<MemberId>,
    until: CancellationToken,
) {
    let watch = async {
        let mut incarnation = None;
        let mut is_lost = false;
        let mut pause = PAUSE_MIN;
        loop {
            match core.peers.attend(other).await {
                Ok((hello, mut stream)) => {
                    // It was back before we could see that it was gone.
                    if incarnation
                        .replace(hello.incarnation)
                        .is_some_and(|i| i != hello.incarnation)
                    {
                        say(&gone, other).await;
                    }
                    while let Ok(Some(_)) = stream.message().await {}
                    (is_lost, pause) = (true, PAUSE_MIN);
                }
                Err(error) => tracing::debug!(member = other, %error, "not reached"),
            }
            // A process that ends closes its connections a moment before its listener, or after it.
            if is_lost && core.peers.is_refused(other).await {
                tracing::info!(member = other, "its process has ended");
                say(&gone, other).await;
                is_lost = false;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    };
    tokio::select! {
        biased;
        () = until.cancelled() => {}
        () = watch => {}
    }
}

async fn say(gone: &mpsc::Sender<MemberId>, member: MemberId) {
    // Nobody listens any more: the store is stopping.
    let _ = gone.send(member).await;
}

/// Becomes leader in the place of `leader`, if most voters see it gone, too, and it is this member's turn.
async fn take_over(core: &Core, leader: MemberId) {
    // Longer than that, and Raft's own election has begun.
    let until = Instant::now() + Duration::from_millis(core.config.election_min_ms);
    while core.leader() == Some(leader) && Instant::now() < until {
        let voters = core.voters();
        let Some(mine) = state(core, true).await else { return };
        let mut seen = views(core, leader, &voters).await;
        seen.insert(core.id(), mine);
        if is_turn_of(core.id(), &seen, voters.len()) {
            elect(core, leader).await;
            return;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What this member has, and thinks of another one.
pub(crate) async fn state(core: &Core, is_gone: bool) -> Option<View> {
    let read = core.raft.with_raft_state(move |state| {
        let last = state.log_ids.last();
        let last_log = last.map_or((0, 0), |id| (id.leader_id.term, id.index));
        View { is_gone, term: state.vote_ref().leader_id.term, last_log }
    });
    read.await.ok()
}

/// What the other voters say of the leader: those that answer soon.
async fn views(
    core: &Core,
    leader: MemberId,
    voters: &BTreeSet<MemberId>,
) -> BTreeMap<MemberId, View> {
    let ask = |id: MemberId| async move {
        let asked = core.peers.ask(id, &Ask::IsGone(leader), core.peers.times().dial).await;
        match asked {
            Ok(Answer::IsGone(view)) => view.map(|view| (id, view)),
            Ok(_) | Err(AskError::NotSent(_) | AskError::NoAnswer(_)) => None,
        }
    };
    let others = voters.iter().copied().filter(|id| *id != core.id() && *id != leader);
    let mut answers: FuturesUnordered<_> = others.map(ask).collect();
    let mut seen = BTreeMap::new();
    while let Some(answer) = answers.next().await {
        seen.extend(answer);
        if (1 + seen.len()) * 2 > voters.len() {
            break;
        }
    }
    let stragglers = async {
        while let Some(answer) = answers.next().await {
            seen.extend(answer)
        }
    };
    // Whoever is silent longer is slower than an election.
    let _ = tokio::time::timeout(STRAGGLERS_MAX, stragglers).await;
    seen
}

/// Whether, of those who see the leader gone, `me` is the one to take over.
fn is_turn_of(me: MemberId, seen: &BTreeMap<MemberId, View>, voters: usize) -> bool {
    let agreeing = || seen.iter().filter(|(_, view)| view.is_gone);
    let term = seen.get(&me).map(|view| view.term);
    let stands = seen.values().any(|view| Some(view.term) > term);
    let best = agreeing().max_by_key(|(id, view)| (view.last_log, Reverse(**id)));
    !stands && agreeing().count() * 2 > voters && best.is_some_and(|(id, _)| *id == me)
}

async fn elect(core: &Core, leader: MemberId) {
    let Ok(vote) = core.raft.with_raft_state(|state| *state.vote_ref()).await else { return };
    // Read again, with the vote: nobody else may have been elected meanwhile.
    if core.leader() != Some(leader) || vote.leader_id.voted_for != leader {
        return;
    }
    tracing::info!(leader, "taking over from a leader whose process has ended");
    let request = TransferLeaderRequest::new(vote, core.id(), None);
    if let Err(error) = core.raft.handle_transfer_leader(request).await {
        tracing::warn!(%error, "not taken over");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(views: &[(MemberId, bool, u64, u64)]) -> BTreeMap<MemberId, View> {
        let view = |&(id, is_gone, term, index)| (id, View { is_gone, term, last_log: (1, index) });
        views.iter().map(view).collect()
    }

    fn turns(views: &[(MemberId, bool, u64, u64)], voters: usize) -> Vec<MemberId> {
        let seen = seen(views);
        seen.keys().copied().filter(|id| is_turn_of(*id, &seen, voters)).collect()
    }

    #[test]
    fn it_is_the_turn_of_exactly_one() {
        assert_eq!(turns(&[(1, true, 4, 9), (2, true, 4, 9)], 3), [1]);
        assert_eq!(turns(&[(1, true, 4, 8), (2, true, 4, 9)], 3), [2], "the longer log");
        assert_eq!(
            turns(&[(1, false, 4, 9), (2, true, 4, 9), (3, true, 4, 8)], 4),
            [],
            "no majority"
        );
        assert_eq!(
            turns(&[(1, false, 4, 9), (2, true, 4, 9), (3, true, 4, 8), (4, true, 4, 9)], 5),
            [2]
        );
    }

    #[test]
    fn nobody_stands_against_one_who_stands() {
        assert_eq!(turns(&[(1, true, 4, 9), (2, true, 5, 9)], 3), []);
    }
}
