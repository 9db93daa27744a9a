//! Fail-over by connection: when the leader's process ends, its connections close and nobody listens there
//! any more. That is certain at once, where time-outs need seconds.
//!
//! Every member attends to every other one over a stream that lasts as long as the other's process. When the
//! leader's ends, and dialling it again is refused, and most voters see the same, a follower elects itself
//! as if leadership had been handed to it. The others wait their turn, by rank.
//!
//! # Invariants
//! - A member that is cut off, and not the leader, disturbs nobody: it finds no majority that agrees.
//! - These elections pass the lease, which is why nothing here is ever read by lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::raft::TransferLeaderRequest;
use store_env::task::{Crew, TaskResult};
use store_handle::MemberId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::core::{Core, LOOK_AGAIN};
use crate::peers::AskError;
use crate::wire::{Answer, Ask};

/// How long the next in rank waits for the one before.
const RANK_DELAY: Duration = Duration::from_millis(60);

/// How often most voters are asked whether they see the same.
const ASK_TIMES: u32 = 5;

/// The shortest pause between two attempts to reach a member.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// The longest pause between two attempts to reach a member.
const PAUSE_MAX: Duration = Duration::from_millis(500);

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
            // Members come and go.
            () = tokio::time::sleep(PAUSE_MAX) => {}
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

/// Becomes leader in the place of `leader`, if most voters see it gone, too, and nobody was faster.
async fn take_over(core: &Core, leader: MemberId) {
    let voters = core.voters();
    if core.leader() != Some(leader) || !voters.contains(&core.id()) {
        return;
    }
    let before = |id: &&MemberId| **id != leader && **id < core.id();
    let rank = u32::try_from(voters.iter().filter(before).count()).unwrap_or(u32::MAX);
    tokio::time::sleep(RANK_DELAY * rank).await;
    for _ in 0..ASK_TIMES {
        if core.leader() != Some(leader) {
            return;
        }
        if most_agree(core, leader).await {
            elect(core, leader).await;
            return;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whether more than half of the voters, this one included, find the leader's process gone.
async fn most_agree(core: &Core, leader: MemberId) -> bool {
    let voters = core.voters();
    let mut agreeing = 1;
    let ask = |id: MemberId| async move {
        let asked = core.peers.ask(id, &Ask::IsGone(leader), core.peers.times().dial).await;
        match asked {
            Ok(Answer::IsGone(is_gone)) => is_gone,
            Ok(_) | Err(AskError::NotSent(_) | AskError::NoAnswer(_)) => false,
        }
    };
    let others = voters.iter().copied().filter(|id| *id != core.id() && *id != leader);
    let mut answers: FuturesUnordered<_> = others.map(ask).collect();
    while agreeing * 2 <= voters.len() {
        match answers.next().await {
            Some(is_gone) => agreeing += usize::from(is_gone),
            None => return false,
        }
    }
    true
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
