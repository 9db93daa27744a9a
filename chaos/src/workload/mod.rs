//! What clients do. Each runs inside a member's host, over that member's handle, and dies with it.

mod fenced;
mod register;

use std::sync::Arc;

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use store_env::task::TaskResult;
use store_handle::{Command, Handle, MemberId, Op, PutRequest, Txn};
use tokio_util::sync::CancellationToken;

use crate::world::SharedWorld;

pub(crate) use fenced::KEY as FENCED_KEY;
pub(crate) use register::number;

/// Where a client runs.
#[derive(Debug)]
pub struct Seat {
    pub client: u32,
    pub member: MemberId,
    pub handle: Arc<dyn Handle>,
    pub world: SharedWorld,
    pub rng: StdRng,
}

/// A kind of client.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: &'static str,
    /// How many of them run on each member.
    pub clients: u32,
    pub run: fn(Seat, CancellationToken) -> BoxFuture<'static, TaskResult>,
}

/// Reads, puts and compare-and-puts of many keys.
pub const REGISTERS: Workload = Workload {
    name: "registers",
    clients: 3,
    run: |seat, stop| Box::pin(register::run(seat, stop, true)),
};

/// The same, with a bug put in: it reads without a read index. A mutant, which checks must find.
pub const STALE_READS: Workload = Workload {
    name: "stale reads",
    clients: 3,
    run: |seat, stop| Box::pin(register::run(seat, stop, false)),
};

/// Writes by whoever leads, fenced to its term.
pub const FENCED: Workload =
    Workload { name: "fenced", clients: 1, run: |seat, stop| Box::pin(fenced::run(seat, stop)) };

fn put(key: String, value: u64) -> Op {
    let value = value.to_string().into();
    Op::Put(PutRequest { key: key.into(), value, ..PutRequest::default() })
}

fn txn(txn: Txn) -> Command {
    Command::Txn(txn)
}
