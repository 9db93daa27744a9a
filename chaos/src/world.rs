//! What a simulation keeps outside its hosts: disks that outlive crashes, running stores, history and trace.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use store_handle::{Handle, MemberId};
use store_raft::RaftStore;
use store_raft::memory::{MemoryLog, MemoryState};

use crate::history::History;

/// A member's disks.
#[derive(Clone, Debug, Default)]
pub struct Disks {
    /// Keeps what was synced.
    pub log: MemoryLog,
    /// Loses what was not flushed.
    pub state: MemoryState,
}

/// Everything that hosts and the one who watches them share.
#[derive(Debug, Default)]
pub struct World {
    pub disks: BTreeMap<MemberId, Disks>,
    pub stores: BTreeMap<MemberId, Arc<RaftStore>>,
    /// How often each member has started.
    pub starts: BTreeMap<MemberId, u32>,
    /// A member whose process was killed starts again at this time, and nothing listens until then.
    pub down_until: BTreeMap<MemberId, Duration>,
    pub history: History,
    pub trace: Vec<String>,
    /// Clients stop asking.
    pub is_over: bool,
    last_value: u64,
}

/// Shared with hosts; never locked across an await.
pub type SharedWorld = Arc<Mutex<World>>;

/// The simulation's time.
pub fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// The same, in microseconds.
pub fn now_us() -> u64 {
    u64::try_from(now().as_micros()).unwrap_or(u64::MAX)
}

impl World {
    /// Adds a line to the trace.
    pub fn note(&mut self, at: Duration, line: impl Display) {
        self.trace.push(format!("{:10.6} {line}", at.as_secs_f64()));
    }

    /// A value that was never used before.
    pub fn fresh_value(&mut self) -> u64 {
        self.last_value += 1;
        self.last_value
    }

    /// The member that says it leads, of those that are up.
    pub fn leader(&self) -> Option<MemberId> {
        let leading = |store: &Arc<RaftStore>| {
            let leadership = *store.leadership().borrow();
            leadership.leads.then_some(leadership.term)
        };
        let leaders = self.stores.iter().filter_map(|(id, store)| Some((leading(store)?, *id)));
        leaders.max().map(|(_, id)| id)
    }
}
