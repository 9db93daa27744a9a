//! Requests that come together are put to the store together, and their callers are woken here.
//!
//! The store lives on a thread of its own. To cross over for each request, and back for each reply, would
//! cost more than all else that is done for it.
//!
//! # Invariants
//! - A round of readers begins after each of its readers came.

use std::sync::Arc;
use std::time::Duration;

use store_env::task::{Crew, Group, TaskResult};
use store_handle::{Command, Handle, ProposeError, ReadError, Reply, Revision, WAIT_MAX};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::{self, Reads};

/// Requests that may wait to be gathered before those who bring more have to.
const WAITING_MAX: usize = 4_096;

/// A round of readers that takes longer is slow, as in etcd.
const SLOW: Duration = Duration::from_millis(500);

type Write = (Command, oneshot::Sender<Result<Reply, ProposeError>>);
type Read = oneshot::Sender<Result<Revision, ReadError>>;

/// Where requests are gathered.
#[derive(Debug)]
pub(crate) struct Gather {
    writes: mpsc::Sender<Write>,
    reads: mpsc::Sender<Read>,
}

impl Gather {
    /// Its tasks run in `group`.
    pub(crate) fn start(handle: &Arc<dyn Handle>, counted: &Arc<Reads>, group: &mut Group) -> Self {
        let (writes, written) = mpsc::channel(WAITING_MAX);
        let (reads, readers) = mpsc::channel(WAITING_MAX);
        let (writer, reader, counted) = (handle.clone(), handle.clone(), counted.clone());
        group.spawn("proposals", |stop| write(writer, written, stop));
        group.spawn("read indexes", |stop| read(reader, readers, counted, stop));
        Self { writes, reads }
    }

    pub(crate) async fn propose(&self, command: Command) -> Result<Reply, ProposeError> {
        let stopping = || ProposeError::NotProposed { reason: "the server is stopping".into() };
        let (reply, answer) = oneshot::channel();
        self.writes.send((command, reply)).await.map_err(|_| stopping())?;
        let lost = |_| ProposeError::Unknown { reason: "the server is stopping".into() };
        answer.await.map_err(lost)?
    }

    pub(crate) async fn read_index(&self) -> Result<Revision, ReadError> {
        let stopping = || ReadError::NoQuorum { reason: "the server is stopping".into() };
        let (reply, answer) = oneshot::channel();
        self.reads.send(reply).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

async fn write(
    handle: Arc<dyn Handle>,
    mut waiting: mpsc::Receiver<Write>,
    stop: CancellationToken,
) -> TaskResult {
    let mut crew = Crew::new();
    let mut gathered = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            received = waiting.recv_many(&mut gathered, WAITING_MAX) => {
                if received == 0 { break }
            }
        }
        let (commands, replies): (Vec<_>, Vec<_>) = gathered.drain(..).unzip();
        let handle = handle.clone();
        crew.spawn(async move {
            let answers = handle.propose_many(commands).await;
            // A caller that is gone wants no answer.
            replies.into_iter().zip(answers).for_each(|(reply, answer)| drop(reply.send(answer)));
        });
    }
    drop(waiting);
    crew.finish(WAIT_MAX).await;
    Ok(())
}

async fn read(
    handle: Arc<dyn Handle>,
    mut waiting: mpsc::Receiver<Read>,
    counted: Arc<Reads>,
    stop: CancellationToken,
) -> TaskResult {
    let mut gathered = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            received = waiting.recv_many(&mut gathered, WAITING_MAX) => {
                if received == 0 { return Ok(()) }
            }
        }
        let began = Instant::now();
        let answer = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            answer = handle.read_index() => answer,
        };
        if began.elapsed() > SLOW {
            metrics::one(&counted.slow);
        }
        if answer.is_err() {
            metrics::one(&counted.failed);
        }
        gathered.drain(..).for_each(|reply: Read| drop(reply.send(answer.clone())));
    }
}
