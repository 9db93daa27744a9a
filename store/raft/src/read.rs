//! Linearizable reads on every member: what must be applied here before a read may be answered.
//!
//! Readers that come while one round is under way share the next. A follower asks the leader for its read
//! index; the leader confirms with a quorum that it still leads. Time proves nothing: fail-over by
//! connection passes the lease.
//!
//! # Invariants
//! - A round begins after each of its readers came.

use std::sync::Arc;
use std::time::Duration;

use openraft::LinearizerOption;
use store_env::task::TaskResult;
use store_handle::{ReadError, Revision, WAIT_MAX};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::{Core, LOOK_AGAIN};
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
    while Instant::now() < until {
        let index = match core.leader() {
            Some(leader) if leader == core.id() => confirm(core).await,
            Some(leader) => {
                let within = until.saturating_duration_since(Instant::now()).min(ask_within(core));
                match core.peers.ask(leader, &Ask::ReadIndex, within).await {
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
