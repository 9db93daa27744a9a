//! The store's member in this process: on a runtime of its own, so that API load never delays a heartbeat.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use store_env::clock::SharedClock;
use store_env::net::Tcp;
use store_env::task::Group;
use store_handle::Member;
use store_raft::{Deps, RaftStore, Start};
use store_rocks::space::{self, Limits};
use store_rocks::{RocksLog, RocksState};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Origin};
use crate::desk::API_LABEL;
use crate::keys::Keys;

/// Enough to hand leadership over and close the databases.
const GRACE: Duration = Duration::from_secs(5);

/// A running member, and the thread it lives on.
#[derive(Debug)]
pub struct StoreThread {
    pub handle: Arc<RaftStore>,
    state: RocksState,
    folder: PathBuf,
    thread: std::thread::JoinHandle<anyhow::Result<()>>,
}

impl StoreThread {
    /// Opens the databases, joins or founds the group.
    pub fn start(
        config: &Config,
        keys: &Keys,
        clock: SharedClock,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let folder = config.data_dir.join("store");
        std::fs::create_dir_all(&folder)?;
        let state = RocksState::open(&folder.join("state"))?;
        let deps = Deps {
            network: Tcp::shared(keys.peer_tls()?),
            clock,
            log: Arc::new(RocksLog::open(&folder.join("log"))?),
            state: Arc::new(state.clone()),
        };
        let config = raft_config(config);
        let (report, started) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let mut group = Group::under(&stop);
                let store = RaftStore::start(config, deps, &mut group).await;
                let is_up = store.is_ok();
                if let Ok(store) = &store {
                    store.exchange_alarms(&mut group);
                }
                // The receiver is alive until it has heard from us.
                let _ = report.send(store);
                if is_up { Ok(group.run(GRACE).await?) } else { Ok(()) }
            })
        })?;
        let handle = started.recv().context("the store's thread ended while starting")??;
        Ok(Self { handle, state, folder, thread })
    }

    /// Watches how much room is left on its disk.
    pub fn watch_space(&self, group: &mut Group) {
        let (folder, store, state) = (self.folder.clone(), self.handle.clone(), self.state.clone());
        let limits = Limits::default();
        group.spawn("space", move |stop| space::watch(folder, limits, store, state, stop));
    }

    /// Waits until the member has ended. Its stop signal must have been given, or a task failed.
    pub async fn ended(self) -> anyhow::Result<()> {
        drop((self.handle, self.state));
        let thread = self.thread;
        let joined = store_env::task::blocking(move || thread.join()).await;
        joined.map_err(|_| anyhow::anyhow!("the store's thread panicked"))?
    }
}

fn raft_config(config: &Config) -> store_raft::Config {
    let member = Member {
        id: config.member_id,
        name: config.name.clone(),
        peer_address: config.peer_advertise.to_string(),
        labels: [(API_LABEL.to_owned(), format!("https://{}", config.api_advertise))].into(),
        is_voter: true,
    };
    let start = match config.origin {
        Origin::Init => Start::Found(vec![member.clone()]),
        Origin::Join => Start::Join,
    };
    let mut raft = store_raft::Config::new(config.cluster_id, member, start);
    raft.listen = config.peer_listen.to_string();
    raft.heartbeat_ms = config.heartbeat_ms;
    raft.election_min_ms = config.election_ms;
    raft.election_max_ms = 2 * config.election_ms;
    raft
}
