//! What clients do. Each runs inside a member's host, over that member's handle, and dies with it.

mod bank;
mod compaction;
mod fenced;
mod lease;
mod register;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use store_env::task::TaskResult;
use store_handle::{Command, Handle, MemberId, Op, ProposeError, PutRequest, Reply, Txn};
use tokio_util::sync::CancellationToken;

pub(crate) use bank::{ACCOUNTS, amount};
pub(crate) use fenced::KEY as FENCED_KEY;

use crate::history::Outcome;
use crate::world::SharedWorld;

/// Where a client runs.
#[derive(Debug)]
pub struct Seat {
    pub client: u32,
    pub member: MemberId,
    pub handle: Arc<dyn Handle>,
    pub world: SharedWorld,
    pub rng: StdRng,
}

impl Seat {
    /// Waits so long; returns whether to go on. Once all is over, returns only when told to stop.
    async fn pause(&self, pause: Duration, stop: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(pause) => {}
        }
        if self.world.lock().is_over {
            stop.cancelled().await;
            return false;
        }
        true
    }
}

/// A kind of client.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: &'static str,
    /// What it does, in a sentence.
    pub title: &'static str,
    /// How many of them run on each member.
    pub clients: u32,
    pub run: fn(Seat, CancellationToken) -> BoxFuture<'static, TaskResult>,
}

/// Every workload.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "registers",
        title: "reads, puts and compare-and-puts of many keys",
        clients: 3,
        run: |seat, stop| Box::pin(register::run(seat, stop, false)),
    },
    Workload {
        name: "readers",
        title: "reads of the same keys, and nothing that could wait for a quorum",
        clients: 2,
        run: |seat, stop| Box::pin(register::run(seat, stop, true)),
    },
    Workload {
        name: "fenced",
        title: "a controller on each member: writes while it leads, fenced to its term",
        clients: 1,
        run: |seat, stop| Box::pin(fenced::run(seat, stop)),
    },
    Workload {
        name: "bank",
        title: "transactions that move amounts between accounts, and reads of all accounts",
        clients: 1,
        run: |seat, stop| Box::pin(bank::run(seat, stop)),
    },
    Workload {
        name: "watches",
        title: "watches that end and resume where they were, on whatever member",
        clients: 3,
        run: |seat, stop| Box::pin(watch::run(seat, stop)),
    },
    Workload {
        name: "leases",
        title: "leases that are renewed for a while, and the keys that hang on them",
        clients: 2,
        run: |seat, stop| Box::pin(lease::run(seat, stop)),
    },
    Workload {
        name: "compaction",
        title: "whoever leads forgets history that is hardly old",
        clients: 1,
        run: |seat, stop| Box::pin(compaction::run(seat, stop)),
    },
];

/// The workload of this name.
pub fn find(name: &str) -> Option<Workload> {
    WORKLOADS.iter().find(|workload| workload.name == name).copied()
}

fn put(key: String, value: String) -> Op {
    Op::Put(PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() })
}

/// Proposes a transaction whose success is a write.
async fn write(handle: &dyn Handle, txn: Txn) -> Outcome {
    match handle.propose(Command::Txn(txn), None).await {
        Ok(Reply::Txn(reply)) if reply.succeeded => Outcome::Wrote { revision: reply.revision },
        Ok(_) => Outcome::Differed,
        Err(
            ProposeError::NotProposed { .. }
            | ProposeError::NoSpace { .. }
            | ProposeError::Refused(_),
        ) => Outcome::Nothing,
        Err(ProposeError::Unknown { .. }) => Outcome::Unknown,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
