//! The member in this process: on a runtime of its own, so that no load from clients delays a heartbeat.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use store_env::clock::SharedClock;
use store_env::net::SharedNetwork;
use store_env::task::Group;
use store_etcd::urls;
use store_handle::Member;
use store_raft::{Deps, RaftStore};
use store_rocks::RocksState;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::disks;
use crate::identity::Identity;
use crate::quarantine;

/// Enough to hand leadership over and close the databases.
const GRACE: Duration = Duration::from_secs(5);

/// A running member, and the thread it lives on.
#[derive(Debug)]
pub(crate) struct StoreThread {
    pub(crate) handle: Arc<RaftStore>,
    pub(crate) state: RocksState,
    thread: std::thread::JoinHandle<anyhow::Result<()>>,
}

impl StoreThread {
    /// Opens the databases, founds or joins the group.
    pub(crate) fn start(
        config: &Config,
        identity: &Identity,
        network: SharedNetwork,
        clock: SharedClock,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let (log, state) = disks::open(&config.data_dir)?;
        let deps = Deps { network, clock, log, state: state.clone() };
        let (at_start, every) = (config.compares_at_start, config.compare_every);
        let is_marked = quarantine::is_marked(&config.data_dir)?;
        let config = raft_config(config, identity);
        let (report, started) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let mut group = Group::under(&stop);
                let store = RaftStore::start(config, deps, &mut group).await;
                let is_up = store.is_ok();
                if let Ok(store) = &store {
                    store.alarm(|alarms| alarms.is_corrupt |= is_marked);
                    store.exchange_alarms(&mut group);
                    store.compare_hashes(at_start, every, &mut group);
                }
                // The receiver is alive until it has heard from us.
                let _ = report.send(store);
                if is_up { Ok(group.run(GRACE).await?) } else { Ok(()) }
            })
        })?;
        let handle = started.recv().context("the store's thread ended while starting")??;
        Ok(Self { handle, state: RocksState::clone(&state), thread })
    }

    /// Waits until the member has ended. Its stop signal must have been given, or a task failed.
    pub(crate) async fn ended(self) -> anyhow::Result<()> {
        drop((self.handle, self.state));
        let thread = self.thread;
        let joined = store_env::task::blocking(move || thread.join()).await;
        joined.map_err(|_| anyhow::anyhow!("the store's thread panicked"))?
    }
}

fn raft_config(config: &Config, identity: &Identity) -> store_raft::Config {
    let member = Member {
        id: identity.member_id,
        name: config.name.clone(),
        peer_address: config.advertise_peer[0].address.clone(),
        labels: urls::labels(&config.advertise_peer, &config.advertise_client),
        is_voter: true,
    };
    let mut raft = store_raft::Config::new(identity.cluster_id, member, identity.start());
    raft.epoch = identity.epoch;
    raft.former_epochs = identity.former_epochs.clone();
    let mut listen = config.listen_peer.iter().map(|url| url.address.clone());
    raft.listen = listen.next().unwrap_or_default();
    raft.listen_also = listen.collect();
    raft.heartbeat_ms = config.heartbeat_ms;
    raft.election_min_ms = config.election_ms;
    raft.election_max_ms = 2 * config.election_ms;
    raft.snapshot_entries = config.snapshot_entries;
    raft.keep_entries = config.keep_entries;
    raft.cache_bytes = Some(config.cache_bytes);
    raft.slow_apply = config.slow_apply;
    raft
}
