//! The state machine as openraft drives it: entries in, replies out, snapshots both ways.
//!
//! # Path
//! a majority has the entry → here, on every member → [`Replica`] → the replies go back to whoever proposed
//!
//! # Invariants
//! - Apply and install never overlap: openraft calls them one after the other.
//! - The event loop waits for no reader, no disk and no long work: only what is certain to be short is applied
//!   on it, because to wake a thread and be woken by it takes longer than to apply a few commands.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use store_env::disk::Lane;
use tokio::time::Instant;

use crate::disk::{StateReplacement, StateView};
use crate::durations::Shared;
use crate::replica::{EntryReplies, Replica};
use crate::snapshot::{Builder, SnapshotData};
use crate::types::{Entry, LogId, Membership, Replies, Snapshot, SnapshotMeta, TypeConfig};

/// Entries applied as one write of the state's disk, and one hold of the state, at most.
const ENTRIES_MAX: usize = 64;

/// Payload bytes of those entries, about.
const BYTES_MAX: usize = 4 << 20;

/// Payload bytes that may be applied on the event loop, at most.
const SHORT_BYTES_MAX: usize = 64 << 10;

/// The upper bound of the first bucket that applies are counted in, as etcd's commits.
const APPLY_FIRST_US: u64 = 1_000;

/// The state machine.
#[derive(Clone, Debug)]
pub struct Machine {
    replica: Arc<Replica>,
    /// Applies and installs.
    apply: Lane,
    /// Flushes, so that no entry waits for one.
    flush: Lane,
    applies: Arc<Shared>,
}

impl Machine {
    pub(crate) fn new(
        replica: Arc<Replica>,
        threaded: bool,
        slow_over: Duration,
    ) -> io::Result<Self> {
        let lane = |name| if threaded { Lane::thread(name) } else { Ok(Lane::Inline) };
        let applies = Arc::new(Shared::new(APPLY_FIRST_US, slow_over));
        Ok(Self { replica, apply: lane("raft-apply")?, flush: lane("raft-flush")?, applies })
    }

    async fn apply_chunk(
        &self,
        chunk: Vec<Entry>,
        is_small: bool,
    ) -> io::Result<Vec<EntryReplies>> {
        let replica = self.replica.clone();
        if !is_small {
            return self.apply.run(move || replica.apply(replica.steps(chunk)?)).await?;
        }
        match replica.try_apply(replica.steps(chunk)?) {
            Ok(applied) => applied,
            Err(steps) => self.apply.run(move || replica.apply(steps)).await?,
        }
    }

    /// The lane on which entries are applied, for what must not overlap with that.
    pub(crate) fn apply_lane(&self) -> Lane {
        self.apply.clone()
    }

    /// The lane for flushes, and whatever else no entry should wait for.
    pub(crate) fn flush_lane(&self) -> Lane {
        self.flush.clone()
    }
}

impl Machine {
    /// How long it takes to apply what comes together, and to write it down.
    pub(crate) fn applies(&self) -> Arc<Shared> {
        self.applies.clone()
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        let meta = self.replica.snapshot_meta();
        Ok((meta.last_log_id, meta.last_membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        loop {
            let mut chunk = Vec::new();
            let mut responders = Vec::new();
            let mut bytes = 0;
            while chunk.len() < ENTRIES_MAX
                && bytes < BYTES_MAX
                && let Some((entry, responder)) = entries.try_next().await?
            {
                if let EntryPayload::Normal(proposal) = &entry.payload {
                    bytes += proposal.0.len();
                }
                chunk.push(entry);
                responders.push(responder);
            }
            if chunk.is_empty() {
                return Ok(());
            }
            let started = Instant::now();
            let replies = self.apply_chunk(chunk, bytes <= SHORT_BYTES_MAX).await?;
            let took = started.elapsed();
            if self.applies.note(took) {
                tracing::warn!(?took, entries = responders.len(), "applying took long");
            }
            for (responder, replies) in responders.into_iter().zip(replies) {
                if let Some(responder) = responder {
                    responder.send(Replies(replies));
                }
            }
        }
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder::new(self.replica.clone(), self.flush.clone())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let (replica, meta) = (self.replica.clone(), meta.clone());
        let install = move || {
            let replacement = match snapshot {
                SnapshotData::Received(replacement) => replacement,
                SnapshotData::View(view) => copied(view, replica.begin_replace()?)?,
                SnapshotData::Flushed => {
                    return Err(io::Error::other(
                        "a snapshot without its records cannot be installed",
                    ));
                }
            };
            replica.install(&meta, replacement)
        };
        self.apply.run(install).await?
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let replica = self.replica.clone();
        self.apply.run(move || replica.snapshot()).await?
    }
}

fn copied(
    mut view: Box<dyn StateView>,
    mut to: Box<dyn StateReplacement>,
) -> io::Result<Box<dyn StateReplacement>> {
    loop {
        let records = view.next_chunk(BYTES_MAX)?;
        if records.is_empty() {
            return Ok(to);
        }
        to.put(records)?;
    }
}
