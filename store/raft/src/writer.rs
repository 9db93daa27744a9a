//! The one writer of the log's disk: drains its queue into one commit, then tells everybody.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use openraft::storage::IOFlushed;
use store_env::clock::SharedClock;
use store_env::disk::start_thread;
use store_env::task::Crew;
use tokio::sync::{mpsc, oneshot};

use crate::disk::{LogDisk, LogOp};
use crate::sync_stats::SyncStats;
use crate::types::TypeConfig;

/// How many jobs may wait before Raft waits for the disk; also what one commit takes at most.
const JOBS_MAX: usize = 1_024;

/// Operations, and whom to tell when they are durable.
pub(crate) struct Job {
    pub(crate) ops: Vec<LogOp>,
    pub(crate) done: Done,
}

/// Who waits for a job.
pub(crate) enum Done {
    Appended { callback: IOFlushed<TypeConfig>, last: Option<u64> },
    Waiting(oneshot::Sender<io::Result<()>>),
    Nobody,
}

/// Writes jobs in the order in which they come.
#[derive(Debug)]
pub(crate) enum Writer {
    /// On a task, which takes the time that the disk says (simulations).
    Task {
        queue: mpsc::Sender<Job>,
        _crew: Crew,
    },
    Thread {
        queue: mpsc::Sender<Job>,
        thread: JoinHandle<()>,
    },
}

impl Writer {
    pub(crate) fn start(
        disk: Arc<dyn LogDisk>,
        clock: SharedClock,
        stats: Arc<SyncStats>,
        durable: Arc<AtomicU64>,
        threaded: bool,
    ) -> io::Result<Self> {
        let mut desk = Desk { disk, clock, stats, durable, failed: None };
        let (sender, mut receiver) = mpsc::channel::<Job>(JOBS_MAX);
        if !threaded {
            let mut crew = Crew::new();
            crew.spawn(desk.serve(receiver));
            return Ok(Self::Task { queue: sender, _crew: crew });
        }
        let thread = start_thread("raft-log", move || {
            let mut jobs = Vec::new();
            while receiver.blocking_recv_many(&mut jobs, JOBS_MAX) > 0 {
                let (ops, waiting) = gather(std::mem::take(&mut jobs));
                let started_us = desk.clock.monotonic_us();
                desk.commit(&ops, waiting, started_us);
            }
        })?;
        Ok(Self::Thread { queue: sender, thread })
    }

    /// Ends it; when this returns, it has let go of the disk. May take as long as a disk takes.
    pub(crate) fn finish(self) {
        if let Self::Thread { queue, thread } = self {
            drop(queue);
            // A panic has been told already.
            drop(thread.join());
        }
    }

    /// Hands a job over; its end is told to whom it names.
    pub(crate) async fn submit(&self, job: Job) -> io::Result<()> {
        let (Self::Task { queue, .. } | Self::Thread { queue, .. }) = self;
        queue.send(job).await.map_err(|_| stopped())
    }

    /// Writes `ops` and waits until they are durable.
    pub(crate) async fn write(&self, ops: Vec<LogOp>) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.submit(Job { ops, done: Done::Waiting(sender) }).await?;
        receiver.await.map_err(|_| stopped())?
    }
}

fn stopped() -> io::Error {
    io::Error::other("the log's writer has stopped")
}

/// Where the writing is done.
#[derive(Debug)]
pub(crate) struct Desk {
    disk: Arc<dyn LogDisk>,
    clock: SharedClock,
    stats: Arc<SyncStats>,
    durable: Arc<AtomicU64>,
    failed: Option<String>,
}

/// What these jobs write, and who waits for it.
fn gather(jobs: Vec<Job>) -> (Vec<LogOp>, Vec<Done>) {
    let mut ops = Vec::with_capacity(jobs.len());
    let mut waiting = Vec::with_capacity(jobs.len());
    for job in jobs {
        ops.extend(job.ops);
        waiting.push(job.done);
    }
    (ops, waiting)
}

impl Desk {
    async fn serve(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::new();
        while queue.recv_many(&mut jobs, JOBS_MAX).await > 0 {
            let (ops, waiting) = gather(std::mem::take(&mut jobs));
            let started_us = self.clock.monotonic_us();
            let takes = if self.failed.is_none() { self.disk.takes(&ops) } else { Duration::ZERO };
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            self.commit(&ops, waiting, started_us);
        }
    }

    fn commit(&mut self, ops: &[LogOp], waiting: Vec<Done>, started_us: u64) {
        // What a failed sync left on the disk is unknowable: after one, everything fails.
        if self.failed.is_none() {
            self.failed = self.disk.commit(ops).err().map(|error| error.to_string());
            let took_us = self.clock.monotonic_us().saturating_sub(started_us);
            self.stats.note(took_us, ops.len(), ops.iter().map(LogOp::bytes).sum());
        }
        for done in waiting {
            let result = match &self.failed {
                Some(reason) => Err(io::Error::other(reason.clone())),
                None => Ok(()),
            };
            self.tell(done, result);
        }
    }

    fn tell(&self, done: Done, result: io::Result<()>) {
        match done {
            Done::Appended { callback, last } => {
                if let (Ok(()), Some(last)) = (&result, last) {
                    self.durable.fetch_max(last, Ordering::AcqRel);
                }
                callback.io_completed(result);
            }
            // Whoever waited may be gone: the write counts all the same.
            Done::Waiting(sender) => drop(sender.send(result)),
            Done::Nobody => {}
        }
    }
}
