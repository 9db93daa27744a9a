//! A group of members for tests: each on a runtime of its own, which can be killed, or all on the test's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store_env::clock::{SharedClock, SystemClock, TokioClock};
use store_env::net::{MemoryNetwork, SharedNetwork};
use store_env::task::{Crew, Group};
use store_handle::{
    Command, Handle, Member, MemberId, Op, ProposeError, PutRequest, RangeRequest, Reply, Revision,
    Txn,
};
use store_raft::disk::{LogDisk, StateDisk};
use store_raft::memory::{MemoryLog, MemoryState};
use store_raft::{Config, Deps, RaftStore, Start};
use tokio_util::sync::CancellationToken;

const EPOCH_MS: u64 = 1_795_000_000_000;

/// What a member leaves behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disks {
    pub(crate) log: MemoryLog,
    pub(crate) state: MemoryState,
}

/// A running member.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) store: Arc<RaftStore>,
    stop: CancellationToken,
    ended: tokio::sync::oneshot::Receiver<Result<(), String>>,
    runtime: Option<tokio::runtime::Runtime>,
    /// Frozen until this is dropped.
    frozen: Option<std::sync::mpsc::Sender<()>>,
}

#[derive(Debug, Default)]
pub(crate) struct Cluster {
    network: Option<SharedNetwork>,
    pub(crate) disks: BTreeMap<MemberId, Disks>,
    pub(crate) nodes: BTreeMap<MemberId, Node>,
    pub(crate) addresses: BTreeMap<MemberId, String>,
    /// The latest version of entries that a member reads; 1 otherwise.
    pub(crate) formats: BTreeMap<MemberId, u8>,
    /// Of members of a group that was rebuilt; 1 otherwise.
    pub(crate) epochs: BTreeMap<MemberId, u64>,
    pub(crate) snapshot_entries: u64,
    /// As usual, if `None`.
    pub(crate) log_bytes: Option<u64>,
    pub(crate) election_ms: u64,
    pub(crate) heartbeat_ms: u64,
    /// Log disks of a special kind.
    pub(crate) logs: BTreeMap<MemberId, Arc<dyn LogDisk>>,
    /// State disks of a special kind.
    pub(crate) states: BTreeMap<MemberId, Arc<dyn StateDisk>>,
}

pub(crate) fn member(id: MemberId) -> Member {
    Member {
        id,
        name: format!("m{id}"),
        peer_address: format!("m{id}:1"),
        labels: BTreeMap::from([("api".into(), format!("https://m{id}:6443"))]),
        is_voter: true,
    }
}

pub(crate) fn config(id: MemberId, start: Start) -> Config {
    let mut config = Config::new(0xfeed, member(id), start);
    (config.heartbeat_ms, config.election_min_ms, config.election_max_ms) = (50, 500, 1_000);
    // What a member keeps in memory is its own affair: nobody may notice.
    config.cache_bytes = id.is_multiple_of(2).then_some(0);
    config
}

/// Three (or so many) members on the caller's runtime, in its time; each with so many bytes of values in
/// memory.
pub(crate) async fn in_line(
    count: u64,
    cache_bytes: Option<usize>,
) -> (Vec<Arc<dyn Handle>>, Crew) {
    let network: SharedNetwork = Arc::new(MemoryNetwork::default());
    let mut crew = Crew::new();
    let mut members: Vec<Arc<dyn Handle>> = Vec::new();
    for id in 1..=count {
        let mut config = config(id, Start::Found((1..=count).map(member).collect()));
        config.threads = false;
        config.cache_bytes = cache_bytes;
        let deps = Deps {
            network: network.clone(),
            clock: TokioClock::shared(EPOCH_MS),
            log: Arc::new(MemoryLog::default()),
            state: Arc::new(MemoryState::default()),
        };
        let mut group = Group::under(&CancellationToken::new());
        members.push(RaftStore::start(config, deps, &mut group).await.unwrap());
        crew.spawn(async move { group.run(Duration::from_secs(5)).await.unwrap() });
    }
    (members, crew)
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let network: SharedNetwork = Arc::new(MemoryNetwork::default());
        let network = Some(network);
        Self {
            network,
            snapshot_entries: 10_000,
            election_ms: 500,
            heartbeat_ms: 50,
            ..Self::default()
        }
    }

    /// Members 1 to `count`, founded together, led by one of them.
    pub(crate) async fn founded(count: u64) -> Self {
        let mut cluster = Self::new();
        cluster.found(count).await;
        cluster
    }

    pub(crate) async fn found(&mut self, count: u64) {
        for id in 1..=count {
            self.start(id, Start::Found((1..=count).map(member).collect())).await;
        }
        self.leader().await;
    }

    pub(crate) async fn start(&mut self, id: MemberId, start: Start) {
        self.try_start(id, start).await.unwrap();
    }

    /// Starts a member, or says why it does not start.
    pub(crate) async fn try_start(&mut self, id: MemberId, start: Start) -> Result<(), String> {
        let mut config = config(id, start);
        config.heartbeat_ms = self.heartbeat_ms;
        config.election_min_ms = self.election_ms;
        config.election_max_ms = 2 * self.election_ms;
        config.snapshot_entries = self.snapshot_entries;
        config.keep_entries = self.snapshot_entries / 2;
        config.log_bytes = self.log_bytes.unwrap_or(config.log_bytes);
        if let Some(address) = self.addresses.get(&id) {
            (config.listen, config.member.peer_address) = (address.clone(), address.clone());
        }
        if let Some(epoch) = self.epochs.get(&id) {
            (config.epoch, config.former_epochs) = (*epoch, (1..*epoch).collect());
        }
        config.reads_format = self.formats.get(&id).copied().unwrap_or(1);
        let disks = self.disks.entry(id).or_default().clone();
        let clock: SharedClock = SystemClock::shared();
        let network = self.network.clone().expect("a cluster has a network");
        let log = self.logs.get(&id).cloned().unwrap_or_else(|| Arc::new(disks.log));
        let state = self.states.get(&id).cloned().unwrap_or_else(|| Arc::new(disks.state));
        let deps = Deps { network, clock, log, state };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let stop = CancellationToken::new();
        let mut group = Group::under(&stop);
        let (sender, started) = tokio::sync::oneshot::channel();
        let (ending, ended) = tokio::sync::oneshot::channel();
        let run = async move {
            let store = RaftStore::start(config, deps, &mut group).await;
            sender.send(store).unwrap();
            let ended = group.run(Duration::from_secs(10)).await;
            let _ = ending.send(ended.map_err(|error| error.to_string()));
        };
        runtime.spawn(run);
        match started.await.unwrap() {
            Ok(store) => {
                let runtime = Some(runtime);
                self.nodes.insert(id, Node { store, stop, ended, runtime, frozen: None });
                Ok(())
            }
            Err(error) => {
                runtime.shutdown_background();
                Err(error.to_string())
            }
        }
    }

    /// Ends a member as `kill -9` would: its connections close, what it had not flushed is lost.
    pub(crate) async fn kill(&mut self, id: MemberId) {
        let runtime = self.nodes.remove(&id).unwrap().runtime.take().unwrap();
        let (sender, gone) = tokio::sync::oneshot::channel();
        let end = move || {
            runtime.shutdown_timeout(Duration::from_secs(5));
            sender.send(()).unwrap();
        };
        store_env::disk::start_thread("kill", end).unwrap();
        gone.await.unwrap();
        self.disks[&id].state.crash(0);
    }

    /// Stops a member as SIGSTOP would: its connections stay open, and nothing comes through them.
    pub(crate) fn freeze(&mut self, id: MemberId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let (sender, thawed) = std::sync::mpsc::channel();
        node.frozen = Some(sender);
        // Its runtime has one thread.
        node.runtime.as_ref().unwrap().spawn(async move {
            let _ = thawed.recv();
        });
    }

    /// Stops a member as its operator would.
    pub(crate) async fn stop(&mut self, id: MemberId) {
        let mut node = self.nodes.remove(&id).unwrap();
        node.stop.cancel();
        (&mut node.ended).await.unwrap().unwrap();
    }

    /// Waits until a member has given up; why.
    pub(crate) async fn gives_up(&mut self, id: MemberId) -> String {
        let mut node = self.nodes.remove(&id).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(30), &mut node.ended).await;
        ended.expect("it gives up").unwrap().unwrap_err()
    }

    pub(crate) fn store(&self, id: MemberId) -> &Arc<RaftStore> {
        &self.nodes[&id].store
    }

    /// Waits until a member leads.
    pub(crate) async fn leader(&self) -> MemberId {
        let leads = || self.nodes.iter().find(|(_, n)| n.store.leadership().borrow().leads);
        eventually("a member leads", async || leads().is_some()).await;
        *leads().unwrap().0
    }

    pub(crate) async fn follower(&self) -> MemberId {
        let leader = self.leader().await;
        *self.nodes.keys().find(|id| **id != leader).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits for a condition, in real time.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}

pub(crate) fn put(key: &str, value: impl Into<Bytes>) -> Command {
    let put = PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.into(),
        ..PutRequest::default()
    };
    Command::Txn(Txn { success: vec![Op::Put(put)], ..Txn::default() })
}

/// Puts, and returns the revision.
pub(crate) async fn write(
    store: &RaftStore,
    key: &str,
    value: &str,
) -> Result<Revision, ProposeError> {
    match store.propose(put(key, value.to_owned()), None).await? {
        Reply::Txn(reply) => Ok(reply.revision),
        other => panic!("unexpected {other:?}"),
    }
}

/// Puts until it is acknowledged: what was under way when a leader died has no known outcome.
pub(crate) async fn insist(store: &RaftStore, key: &str, value: &str) -> Revision {
    loop {
        match write(store, key, value).await {
            Ok(revision) => return revision,
            Err(ProposeError::Refused(refused)) => panic!("{refused}"),
            Err(_) => {}
        }
    }
}

/// A linearizable read.
pub(crate) async fn read(store: &RaftStore, key: &str) -> Option<String> {
    store.read_index().await.unwrap();
    let range = store_handle::KeyRange::key(key.to_owned());
    let reply = store.range(&RangeRequest { range, ..RangeRequest::default() }).unwrap();
    reply.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}
