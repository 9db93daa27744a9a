//! A member of the group: everything started, and the store's handle on top.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use openraft::ServerState;
use store_env::disk::Lane;
use store_env::net::Listener;
use store_env::rng;
use store_env::task::{Group, TaskResult};
use store_handle::contents::Contents;
use store_handle::figures::{Counts, Exchanged};
use store_handle::hub::Hub;
use store_handle::lessor::{self, Leases};
use store_handle::{
    Alarms, Command, Export, Handle, Hash, Leadership, LeaseId, LeaseInfo, Member, MemberId,
    MembershipChange, ProposeError, RangeReply, RangeRequest, ReadError, Reply, Revision, Role,
    Status, Term, WatchRequest, Watcher,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::alarms::{self, Board};
use crate::config::{Config, Deps, Start, StartError};
use crate::core::{Core, LOOK_AGAIN};
use crate::disk::StateView;
use crate::door::Closing;
use crate::durations::Durations;
use crate::log::Log;
use crate::log_time::LogTime;
use crate::machine::Machine;
use crate::network::Lines;
use crate::peers::{Identity, Peers, Times};
use crate::replica::Replica;
use crate::types::{MemberNode, Raft};
use crate::{
    door, fail_over, format, hashes, leading, log_size, members, propose, read, slow_disk,
    succession, sweeper,
};

/// How long a member that stops waits for what it has proposed.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// How long Raft may take to stop.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

/// A member of a group that runs Raft.
#[derive(Debug)]
pub struct RaftStore {
    core: Arc<Core>,
}

impl RaftStore {
    /// Opens the disks, listens, and takes part in the group for as long as `group` runs.
    ///
    /// Must be called on the runtime that Raft shall run on: one of its own, where load from clients must
    /// not delay heartbeats. The handle may be used from any runtime. When the group is told to stop, a
    /// leader first hands over.
    pub async fn start(
        mut config: Config,
        deps: Deps,
        group: &mut Group,
    ) -> Result<Arc<Self>, StartError> {
        format::announce(config.reads_format, &mut config.member.labels);
        let raft_config = Arc::new(config.to_openraft()?);
        let member = config.member.clone();
        let mut listeners = Vec::new();
        for address in std::iter::once(&config.listen).chain(&config.listen_also) {
            let listener = deps.network.listen(address).await;
            let failed = |source| StartError::Listen { address: address.clone(), source };
            listeners.push(listener.map_err(failed)?);
        }
        let log =
            Log::open(deps.log, deps.clock.clone(), config.threads).map_err(StartError::Log)?;
        let replica = Replica::open(deps.state, config.cache_bytes).map_err(StartError::State)?;
        let replica = Arc::new(replica.reading(config.reads_format));
        let machine = Machine::new(replica.clone(), config.threads, config.slow_apply)
            .map_err(StartError::State)?;
        let times = Times::new(config.heartbeat_ms, config.election_min_ms);
        let (cluster_id, epoch) = (config.cluster_id, config.epoch);
        let me = Identity { cluster_id, epoch, from: member.id, to: 0 };
        let peers = Peers::new(deps.network, times, me);
        let (syncs, length) = (log.stats(), log.length());
        let (apply, flush) = (machine.apply_lane(), machine.flush_lane());
        let history = if config.threads { Lane::thread("watch-history") } else { Ok(Lane::Inline) };
        let history = history.map_err(StartError::State)?;
        let applies = machine.applies();
        let lines = Lines { me: member.id, peers: peers.clone() };
        let clock = deps.clock.clone();
        let raft = Raft::new(member.id, raft_config, lines, log, machine).await;
        let raft = raft.map_err(|error| StartError::Raft { reason: error.to_string() })?;
        found(&raft, &config).await?;
        let (proposals, proposed) = mpsc::channel(propose::QUEUE_MAX);
        let (reads, readers) = mpsc::channel(read::QUEUE_MAX);
        let core = Arc::new(Core {
            raft,
            replica,
            log: length,
            peers,
            log_time: LogTime::new(deps.clock),
            flush,
            syncs,
            applies,
            alarms: Board::default(),
            leadership: watch::Sender::new(Leadership::default()),
            proposals,
            reads,
            incarnation: rng::draw(),
            config,
        });
        let store = Arc::new(Self { core });
        store.spawn(group, listeners, proposed, readers);
        let (core, hub) = (&store.core, store.core.replica.hub.clone());
        let (contents, replica) = (core.replica.contents.clone(), core.replica.clone());
        let flush = core.flush.clone();
        group.spawn("watch hub", |stop| Hub::run(hub, contents, history, stop));
        group.spawn("sweeper", |stop| sweeper::run(replica, apply, flush, clock, stop));
        Ok(store)
    }

    fn spawn(
        self: &Arc<Self>,
        group: &mut Group,
        listeners: Vec<Box<dyn Listener>>,
        proposed: mpsc::Receiver<propose::Pending>,
        readers: mpsc::Receiver<read::Waiting>,
    ) {
        let (drained, closing) = (CancellationToken::new(), Closing::default());
        let core = &self.core;
        let leases = self.clone();
        group.spawn("raft door", |_| door::run(core.clone(), listeners, closing.clone()));
        group.spawn("raft", |stop| stay(core.clone(), stop, drained.clone(), closing));
        group.spawn("raft proposals", |stop| propose::run(core.clone(), proposed, stop, drained));
        group.spawn("raft reads", |stop| read::run(core.clone(), readers, stop));
        group.spawn("raft leadership", |stop| leading::run(core.clone(), stop));
        group.spawn("raft promotion", |stop| members::promote(core.clone(), stop));
        group.spawn("raft log size", |stop| log_size::run(core.clone(), stop));
        group.spawn("raft slow disk", |stop| slow_disk::run(core.clone(), stop));
        group.spawn("raft introduction", |stop| members::introduce(core.clone(), stop));
        group.spawn("raft succession", |stop| succession::run(core.clone(), stop));
        group.spawn("raft fail-over", |stop| fail_over::run(core.clone(), stop));
        group.spawn("lessor", |stop| async move { lessor::run(&*leases, stop).await });
    }

    /// Exchanges alarms with the other members for as long as `group` runs. On this member's runtime.
    pub fn exchange_alarms(&self, group: &mut Group) {
        let core = self.core.clone();
        group.spawn("raft alarms", |stop| alarms::run(core, stop));
    }

    /// Compares checksums with the other members: once at the start, if told so, and `every` so often while
    /// this member leads. On this member's runtime.
    pub fn compare_hashes(&self, at_start: bool, every: Option<Duration>, group: &mut Group) {
        let core = self.core.clone();
        group.spawn("raft hashes", move |stop| hashes::run(core, at_start, every, stop));
    }

    /// Changes what is wrong with this member.
    pub fn alarm(&self, change: impl FnOnce(&mut Alarms)) {
        self.core.alarms.change(self.core.id(), change);
    }

    /// How long syncs of the log took.
    pub fn sync_durations(&self) -> Durations {
        self.core.syncs.durations()
    }

    /// How long it took to apply what came together, and to write it to the state's disk.
    pub fn apply_durations(&self) -> Durations {
        self.core.applies.now()
    }

    /// How long the other members take to answer.
    pub fn round_trips(&self) -> BTreeMap<MemberId, Durations> {
        self.core.alarms.trips()
    }

    /// Syncs of the log so far, and the operations they covered.
    pub fn syncs(&self) -> (u64, u64) {
        self.core.syncs.totals()
    }

    /// Bytes that were written to the log.
    pub fn log_bytes(&self) -> u64 {
        self.core.syncs.bytes()
    }

    /// How often it took longer than it should to apply what came together.
    pub fn slow_applies(&self) -> u64 {
        self.core.applies.slow()
    }

    /// What was applied and swept by this process.
    pub fn counts(&self) -> Counts {
        self.core.replica.counts()
    }

    /// What this process has exchanged with each other member.
    pub fn exchanged(&self) -> BTreeMap<MemberId, Exchanged> {
        self.core.peers.exchanged()
    }

    /// How many entries are applied here, and up to which revision.
    pub fn progress(&self) -> crate::replica::Progress {
        *self.core.replica.progress().borrow()
    }

    /// Whether the log, as far as it is applied here, says that this member was removed.
    pub fn was_removed(&self) -> bool {
        self.core.replica.was_removed(self.core.id())
    }

    /// Whether everything that was compacted is gone from this member's disk, as far as the disk was told.
    pub fn is_swept(&self) -> bool {
        self.core.replica.is_swept()
    }

    /// Runs `look` on the state, for checks that compare members.
    pub fn inspect<T>(&self, look: impl FnOnce(&store_mvcc::State) -> T) -> T {
        look(&self.core.replica.contents.read())
    }

    /// The state and its records, for checks that compare members.
    pub fn contents(&self) -> &Contents {
        &self.core.replica.contents
    }

    /// Flushes the state now, so that the log before it can be purged.
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        let triggered = self.core.raft.trigger().snapshot().await;
        triggered.map_err(|error| ProposeError::NotProposed { reason: error.to_string() })
    }
}

/// Founds the group, if this member shall and nothing is there yet.
async fn found(raft: &Raft, config: &Config) -> Result<(), StartError> {
    let failed = |reason: String| StartError::Raft { reason };
    let Start::Found(founders) = &config.start else { return Ok(()) };
    if raft.is_initialized().await.map_err(|error| failed(error.to_string()))? {
        return Ok(());
    }
    let nodes: BTreeMap<MemberId, MemberNode> =
        founders.iter().map(|member| (member.id, member.into())).collect();
    raft.initialize(nodes).await.map_err(|error| failed(error.to_string()))
}

/// Stays until told to stop; then lets what is under way end, hands over, and last of all closes the door.
async fn stay(
    core: Arc<Core>,
    stop: CancellationToken,
    drained: CancellationToken,
    closing: Closing,
) -> TaskResult {
    stop.cancelled().await;
    // Without a quorum nothing ends, and nobody can take over either. A member whose disk has failed stops at once.
    let has_failed = core.metrics().running_state.is_err();
    let drain = if has_failed { Duration::ZERO } else { DRAIN_MAX };
    let _ = tokio::time::timeout(drain, drained.cancelled()).await;
    if core.leader() == Some(core.id()) && core.voters().len() > 1 {
        match members::hand_over_here(&core, None).await {
            Ok(()) => tracing::info!(leader = ?core.leader(), "handed over"),
            Err(reason) => tracing::warn!(?reason, "not handed over"),
        }
    }
    let shut = tokio::time::timeout(SHUTDOWN_MAX, core.raft.shutdown()).await;
    closing.begin.cancel();
    // Answers that are on their way get out.
    tokio::time::sleep(LOOK_AGAIN * 5).await;
    closing.end.cancel();
    match shut {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(late) => Err(late.into()),
    }
}

impl Handle for RaftStore {
    fn propose(
        &self,
        command: Command,
        fence: Option<Term>,
    ) -> BoxFuture<'_, Result<Reply, ProposeError>> {
        Box::pin(propose::propose(&self.core, command, fence))
    }

    fn propose_many(
        &self,
        commands: Vec<Command>,
    ) -> BoxFuture<'_, Vec<Result<Reply, ProposeError>>> {
        Box::pin(propose::propose_many(&self.core, commands))
    }

    fn read_index(&self) -> BoxFuture<'_, Result<Revision, ReadError>> {
        Box::pin(read::read_index(&self.core))
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeReply, ReadError> {
        self.core.replica.contents.range(request)
    }

    fn revision(&self) -> Revision {
        self.core.replica.contents.read().revision()
    }

    fn compacted(&self) -> Revision {
        self.core.replica.contents.read().compacted()
    }

    fn watch(&self, request: WatchRequest) -> Result<Watcher, ReadError> {
        self.core.replica.hub.watch(&*self.core.replica.contents, request)
    }

    fn lease(&self, id: LeaseId) -> LeaseInfo {
        self.core.replica.contents.read().lease(id).at(self.core.now_ms())
    }

    fn leases(&self) -> Vec<LeaseId> {
        self.core.replica.contents.read().leases()
    }

    fn hash(&self, revision: Revision) -> Result<Hash, ReadError> {
        hashes::hash(&self.core, revision)
    }

    fn export(&self) -> io::Result<Box<dyn Export>> {
        Ok(Box::new(Exported(self.core.replica.view()?)))
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.core.leadership.subscribe()
    }

    fn alarms(&self) -> watch::Receiver<BTreeMap<MemberId, Alarms>> {
        self.core.alarms.changes()
    }

    fn members(&self) -> Vec<Member> {
        members::list(&self.core)
    }

    fn change_membership(
        &self,
        change: MembershipChange,
    ) -> BoxFuture<'_, Result<(), ProposeError>> {
        Box::pin(members::change(&self.core, change))
    }

    fn transfer_leadership(&self, to: Option<MemberId>) -> BoxFuture<'_, Result<(), ProposeError>> {
        Box::pin(members::hand_over(&self.core, to))
    }

    fn status(&self) -> Status {
        let core = &self.core;
        let metrics = core.metrics();
        let progress = self.progress();
        let replication = metrics.replication.unwrap_or_default();
        let matched = replication.into_iter().map(|(id, log)| (id, log.map_or(0, |id| id.index)));
        Status {
            id: core.id(),
            cluster_id: core.config.cluster_id,
            role: match metrics.state {
                ServerState::Leader => Role::Leader,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Learner | ServerState::Shutdown => Role::Learner,
            },
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied_index: progress.index,
            revision: progress.revision,
            sync_p99_ms: core.syncs.p99_ms(),
            matched: matched.collect(),
        }
    }
}

/// The state's records, without those that the group keeps beside them.
#[derive(Debug)]
struct Exported(Box<dyn StateView>);

impl Export for Exported {
    fn next_chunk(&mut self, bytes_max: usize) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        loop {
            let chunk = self.0.next_chunk(bytes_max)?;
            let is_end = chunk.is_empty();
            let own: Vec<_> =
                chunk.into_iter().filter(|(key, _)| store_mvcc::record::is_state(key)).collect();
            if is_end || !own.is_empty() {
                return Ok(own);
            }
        }
    }
}

impl Leases for RaftStore {
    fn due(&self) -> Vec<LeaseId> {
        // Looked at on every member, so that each knows how late it is when nothing is written.
        let now_ms = self.core.now_ms();
        if !self.core.leadership.borrow().leads {
            return Vec::new();
        }
        self.core.replica.contents.read().leases_due(now_ms, lessor::LEASES_MAX)
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Reply, ProposeError>> {
        let term = self.core.leadership.borrow().term;
        Handle::propose(self, command, Some(term))
    }
}
