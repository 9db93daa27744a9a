//! What a simulation keeps outside its hosts: disks that outlive crashes, running stores, history and trace.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use store_env::clock::{Clock, SharedClock};
use store_handle::{Handle, MemberId, Revision};
use store_mvcc::codec::FormatVersion;
use store_raft::RaftStore;
use tokio_util::sync::CancellationToken;

use crate::clock::SimClock;
use crate::disk::{SimLog, SimState};
use crate::history::History;
use crate::kube::{self, Kube};
use crate::mutant::Mutation;
use crate::net::Links;
use crate::operator::Order;
use crate::workload::Workload;

/// What a member leaves behind when its process ends.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Keeps what was synced.
    pub log: SimLog,
    /// Loses what was not flushed.
    pub state: SimState,
    pub clock: SimClock,
    /// One of those that founded the group; others wait until they are added.
    pub is_founder: bool,
    /// The epoch that its data is of, and those before of which it knows.
    pub epoch: u64,
    pub former_epochs: Vec<u64>,
    /// The latest version of entries that its release reads.
    pub reads_format: FormatVersion,
}

/// What a watching client goes on from, on whatever member.
#[derive(Clone, Debug)]
pub struct Session {
    pub number: u32,
    pub seen: Option<Revision>,
}

/// Everything that hosts and the one who watches them share.
#[derive(Debug, Default)]
pub struct World {
    pub machines: BTreeMap<MemberId, Machine>,
    pub stores: BTreeMap<MemberId, Arc<RaftStore>>,
    /// How often each member has started.
    pub starts: BTreeMap<MemberId, u32>,
    /// A member whose process was killed starts again at this time, and nothing listens until then.
    pub down_until: BTreeMap<MemberId, Duration>,
    /// How often the group was rebuilt, and one: members of before are of another.
    pub epoch: u64,
    /// Who belongs to the group, as far as it has been told.
    pub members: BTreeSet<MemberId>,
    /// Who has been removed from it.
    pub removed: BTreeSet<MemberId>,
    /// Members that have stopped by themselves, and why.
    pub failed: BTreeMap<MemberId, String>,
    /// Members that are expected to stop: their disks do not do what they must.
    pub doomed: BTreeSet<MemberId>,
    /// How many faults keep each member down, and each direction of each link cut.
    pub down: BTreeMap<MemberId, u32>,
    pub cuts: BTreeMap<(MemberId, MemberId), u32>,
    pub orders: VecDeque<Order>,
    /// Who carries an order out, and in which of its lives.
    pub order_under_way: Option<(MemberId, u32, Order)>,
    pub links: Links,
    pub workloads: Vec<Workload>,
    pub snapshot_entries: (u64, u64),
    pub sessions: Vec<Session>,
    pub history: History,
    pub kube: Kube,
    pub trace: Vec<String>,
    /// What was found wrong while it ran.
    pub violations: Vec<String>,
    /// What happened, and how often.
    pub counts: BTreeMap<&'static str, usize>,
    pub mutation: Option<Mutation>,
    /// Clients stop asking.
    pub is_over: bool,
    /// The same for whoever is not to finish its pause first, as nobody is in a simulation.
    pub over: CancellationToken,
    last_value: u64,
}

/// Shared with hosts; never locked across an await.
pub type SharedWorld = Arc<Mutex<World>>;

/// Set where nothing is simulated: what clients, nodes and histories then go by.
static REAL: OnceLock<SharedClock> = OnceLock::new();

/// From now on this process goes by this clock: its masters are real ones.
pub fn be_real(clock: SharedClock) {
    // A second clock would be the same machine's.
    let _ = REAL.set(clock);
}

/// The simulation's time; of real masters, the machine's.
pub fn now() -> Duration {
    let real = || Some(Duration::from_micros(REAL.get()?.monotonic_us()));
    turmoil::sim_elapsed().or_else(real).unwrap_or_default()
}

/// What the calendar of clients and nodes shows.
pub fn unix_ms() -> u64 {
    REAL.get().map_or_else(|| SimClock::default().unix_ms(), |clock| clock.unix_ms())
}

/// The same, in microseconds.
pub fn now_us() -> u64 {
    u64::try_from(now().as_micros()).unwrap_or(u64::MAX)
}

/// A member's number on a machine that has run another one before is so much higher.
const NEXT_MEMBER: MemberId = 100;

/// The host of a member, or of another machine.
pub fn host(machine: MemberId) -> String {
    kube::host_of(machine).unwrap_or_else(|| format!("m{}", place(machine)))
}

/// The machine of a member, by number.
pub fn place(member: MemberId) -> u64 {
    member % NEXT_MEMBER
}

/// The member that runs on the machine of this one once its data is not that one's any more.
pub fn successor(member: MemberId) -> MemberId {
    member + NEXT_MEMBER
}

impl World {
    /// Adds a line to the trace.
    pub fn note(&mut self, at: Duration, line: impl Display) {
        self.trace.push(format!("{:10.6} {line}", at.as_secs_f64()));
    }

    /// Counts something that happened.
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A value that was never used before.
    pub fn fresh_value(&mut self) -> u64 {
        self.last_value += 1;
        self.last_value
    }

    /// The members that are up, but for those of an epoch that is over.
    pub fn current(&self) -> impl Iterator<Item = (&MemberId, &Arc<RaftStore>)> {
        self.stores.iter().filter(|(id, _)| self.is_current(**id))
    }

    /// Whether a member's data is of the group as it is now.
    pub fn is_current(&self, member: MemberId) -> bool {
        self.machines.get(&member).is_some_and(|machine| machine.epoch == self.epoch)
    }

    /// The member that says it leads, of those that are up.
    pub fn leader(&self) -> Option<MemberId> {
        let leading = |store: &Arc<RaftStore>| {
            let leadership = *store.leadership().borrow();
            leadership.leads.then_some(leadership.term)
        };
        let leaders = self.current().filter_map(|(id, store)| Some((leading(store)?, *id)));
        leaders.max().map(|(_, id)| id)
    }
}
