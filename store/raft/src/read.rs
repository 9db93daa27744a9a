//! Linearizable reads on every member: what must be applied here before a read may be answered.
//!
//! Readers that come while one round is under way share the next. A follower asks the leader for its read
//! index; the leader confirms with a quorum that it still leads. Time proves nothing: fail-over by
//! connection passes the lease.
//!
//! A follower that asks says whom it has voted for. Of three members, it and the leader are a quorum: nobody
//! else need be asked. Whoever was elected before the readers came was elected by a majority, which has one of
//! those two in it; that one's vote would be for the newer term.
//!
//! # Invariants
//! - A round begins after each of its readers came, and so is the vote read that vouches for its leader.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::LinearizerOption;
use store_env::task::TaskResult;
use store_handle::{MemberId, ReadError, Revision, WAIT_MAX};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::{Core, LOOK_AGAIN};
use crate::types::{LogId, Vote};
use crate::wire::{Answer, Ask};

/// Readers that may wait before others have to.
pub(crate) const QUEUE_MAX: usize = 8_192;

/// One reader.
pub(crate) type Waiting = oneshot::Sender<Result<Revision, ReadError>>;

/// Waits until everything acknowledged before the call is applied here.
pub(crate) async fn read_index(core: &Core) -> Result<Revision, ReadError> {
    let (reader, answer) = oneshot::channel();
    let round = async {
        core.reads.send(reader).await.map_err(|_| no_quorum("the store is stopping"))?;
        answer.await.map_err(|_| no_quorum("the store is stopping"))?
    };
    // A round that is under way may take all its time, and then so may ours.
    let patience = WAIT_MAX * 2;
    let late = |_| no_quorum("too many readers wait");
    tokio::time::timeout(patience, round).await.map_err(late)?
}

/// Serves readers in rounds, until told to stop.
pub(crate) async fn run(
    core: Arc<Core>,
    mut queue: mpsc::Receiver<Waiting>,
    stop: CancellationToken,
) -> TaskResult {
    let mut readers = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            received = queue.recv_many(&mut readers, QUEUE_MAX) => {
                if received == 0 { return Ok(()) }
            }
        }
        let answer = tokio::select! {
            biased;
            () = stop.cancelled() => Err(no_quorum("the store is stopping")),
            answer = round(&core) => answer,
        };
        for reader in readers.drain(..) {
            // A reader that is gone wants no answer.
            drop(reader.send(answer.clone()));
        }
    }
}

async fn round(core: &Core) -> Result<Revision, ReadError> {
    let until = Instant::now() + WAIT_MAX;
    let mut reason = "no leader in time".to_owned();
    // A leader of an earlier version does not know the question.
    let mut vouches = true;
    while Instant::now() < until {
        let before = core.leadership.borrow().leader;
        let index = match core.leader() {
            Some(leader) if leader == core.id() => confirm(core).await,
            Some(leader) => {
                let within = until.saturating_duration_since(Instant::now()).min(ask_within(core));
                let question = match vouches {
                    true => Ask::ReadIndexWith(vote(core).await?),
                    false => Ask::ReadIndex,
                };
                vouches = false;
                let answer = tokio::select! {
                    biased;
                    answer = core.peers.ask(leader, &question, within) => answer,
                    // That one may be silent for ever.
                    () = core.led_by_another(before) => continue,
                };
                match answer {
                    Ok(Answer::ReadIndex(answer)) => answer,
                    Ok(other) => Err(format!("unexpected {other:?}")),
                    Err(error) => Err(error.to_string()),
                }
            }
            None => Err("no leader in time".into()),
        };
        match index {
            Ok(index) => {
                let progress = core.applied(index, until).await;
                let late = |_| no_quorum("this member lags behind the leader");
                return Ok(progress.map_err(late)?.revision);
            }
            Err(why) => reason = why,
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Err(no_quorum(&reason))
}

/// Whom this member has voted for by now.
async fn vote(core: &Core) -> Result<Vote, ReadError> {
    let read = core.raft.with_raft_state(|state| *state.vote_ref()).await;
    read.map_err(|_| no_quorum("the store is stopping"))
}

/// The index of everything acknowledged so far, if this member and `asker`, whose vote is this, are a quorum
/// that still follows this member.
pub(crate) async fn confirm_with(core: &Core, asker: MemberId, vote: Vote) -> Option<u64> {
    let me = core.id();
    let read = core.raft.with_raft_state(move |state| {
        let membership = state.membership_state.effective().membership();
        let voters = membership.get_joint_config();
        let is_ours = *state.vote_ref() == vote && vote.committed && vote.leader_id.voted_for == me;
        let committed = state.cluster_committed().copied();
        is_ours.then(|| vouched(me, asker, voters, vote.leader_id.term, committed)).flatten()
    });
    read.await.ok().flatten()
}

/// What is committed, if that is known of `term` itself, and `me` and `asker` are a majority of all `voters`.
fn vouched(
    me: MemberId,
    asker: MemberId,
    voters: &[BTreeSet<MemberId>],
    term: u64,
    committed: Option<LogId>,
) -> Option<u64> {
    let both = BTreeSet::from([me, asker]);
    let is_quorum =
        |voters: &BTreeSet<MemberId>| both.intersection(voters).count() * 2 > voters.len();
    // Before its first entry is committed, a leader does not know what its predecessors acknowledged.
    let committed = committed.filter(|id| id.committed_leader_id().term == term)?;
    voters.iter().all(is_quorum).then_some(committed.index)
}

/// Asks a quorum, as the leader: the index of everything acknowledged so far.
pub(crate) async fn confirm(core: &Core) -> Result<u64, String> {
    let within = ask_within(core);
    // Zero: an earlier acknowledgement proves nothing about now.
    let option = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(within);
    let confirmed = tokio::time::timeout(within * 2, core.raft.get_read_log_id(option)).await;
    match confirmed {
        Ok(Ok((read, _))) => Ok(read.index()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no quorum answered in time".into()),
    }
}

fn ask_within(core: &Core) -> Duration {
    Duration::from_millis(core.config.election_min_ms)
}

fn no_quorum(reason: &str) -> ReadError {
    ReadError::NoQuorum { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leader_and_asker_are_a_quorum_of_three_and_not_of_more() {
        let set = |ids: &[MemberId]| ids.iter().copied().collect::<BTreeSet<_>>();
        let (three, five, others) = (set(&[1, 2, 3]), set(&[1, 2, 3, 4, 5]), set(&[2, 3, 4]));
        let at = |term: u64, index| Some(LogId::new(term.into(), index));
        #[rustfmt::skip]
        let cases = [
            (2, vec![three.clone()],        at(7, 90), Some(90), "two of three"),
            (1, vec![three.clone()],        at(7, 90), None,     "the leader itself is one"),
            (4, vec![three.clone()],        at(7, 90), None,     "a learner has no vote"),
            (2, vec![five.clone()],         at(7, 90), None,     "two of five"),
            (2, vec![three.clone(), five],  at(7, 90), None,     "both sets of a joint membership count"),
            (2, vec![three.clone(), others],at(7, 90), None,     "a leader that leaves is none of the new"),
            (2, vec![set(&[1, 2])],         at(7, 90), Some(90), "two of two"),
            (2, vec![three.clone()],        at(6, 90), None,     "nothing of its own term is committed"),
            (2, vec![three],                None,      None,     "nothing is committed"),
        ];
        for (asker, voters, committed, expected, why) in cases {
            let found = vouched(1, asker, voters.as_slice(), 7, committed);
            assert_eq!(found, expected, "{why}");
        }
    }
}
