//! Snapshots: what lets the log be purged, and what brings a member up that is too far behind.
//!
//! Building one moves no data: the applied state is on its disk already, so it is enough to note how far it
//! is applied, flush, and report that. Data moves only when another member needs it, as a stream of records.

use std::io;
use std::sync::Arc;

use openraft::RaftSnapshotBuilder;
use store_env::disk::Lane;

use crate::disk::{StateReplacement, StateView};
use crate::replica::Replica;
use crate::types::{Snapshot, SnapshotMeta, TypeConfig};

/// What a snapshot holds, in its three lives.
#[derive(Debug)]
pub enum SnapshotData {
    /// Made here: the state's disk itself.
    Flushed,
    /// To be sent.
    View(Box<dyn StateView>),
    /// Received in full, not yet installed.
    Received(Box<dyn StateReplacement>),
}

/// Flushes the state as of when it was made, or later.
#[derive(Debug)]
pub struct Builder {
    meta: SnapshotMeta,
    replica: Arc<Replica>,
    lane: Lane,
}

impl Builder {
    pub(crate) fn new(replica: Arc<Replica>, lane: Lane) -> Self {
        Self { meta: replica.snapshot_meta(), replica, lane }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let replica = self.replica.clone();
        self.lane.run(move || replica.flush()).await??;
        Ok(Snapshot { meta: self.meta.clone(), snapshot: SnapshotData::Flushed })
    }
}
