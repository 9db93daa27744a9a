//! What a member is made of, in the order it starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use store_env::clock::{SharedClock, SystemClock};
use store_env::net::{Listener, Plain, Tcp};
use store_env::task::Group;
use store_etcd::front::{Door, Serves};
use store_etcd::urls::Url;
use store_etcd::{Durations, Facade, Facts, Figures, serve};
use store_handle::{Handle, MemberId};
use store_raft::RaftStore;
use store_rocks::RocksState;
use store_rocks::space::{self, Limits, Room};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Retention};
use crate::identity::Identity;
use crate::raft::StoreThread;
use crate::{compaction, quarantine, tls};

/// What tasks get to end by themselves.
const GRACE: Duration = Duration::from_secs(5);
/// How long another member may take to take the lead over.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);

/// Runs a member until `stop`, or until a part of it fails.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let clock = SystemClock::shared();
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot create {}", config.data_dir.display()))?;
    let serves = if config.listen_http.is_empty() { Serves::All } else { Serves::Grpc };
    let mut api = listen(&config, &config.listen_client, serves).await?;
    api.extend(listen(&config, &config.listen_http, Serves::Http).await?);
    let plain = listen(&config, &config.listen_metrics, Serves::Http).await?;
    let network = tls::peers(config.peer_tls.as_ref(), config.listening)?;
    let identity = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        found = Identity::find(&config, &network) => found?,
    };
    tracing::info!(
        name = config.name,
        member = format!("{:x}", identity.member_id),
        cluster = format!("{:x}", identity.cluster_id),
        "starting"
    );
    let store_stop = CancellationToken::new();
    let store = StoreThread::start(&config, &identity, network, clock.clone(), store_stop.clone())?;
    let handle: Arc<dyn Handle> = store.handle.clone();
    let known = Known::of(&config, &store);

    // Not under `stop`: the lead is handed over first, while clients are still served.
    let serving = CancellationToken::new();
    let mut group = Group::under(&serving);
    let facade = Facade::start(
        handle.clone(),
        clock.clone(),
        Arc::new(known),
        config.api.clone(),
        &mut group,
    );
    for (listener, door) in api {
        let facade = facade.clone();
        group.spawn("api", move |stop| serve::api(facade, door, listener, stop));
    }
    for (listener, _) in plain {
        let facade = facade.clone();
        group.spawn("metrics", move |stop| serve::plain(facade, listener, stop));
    }
    group.spawn("leader changes", move |stop| serve::observe(facade, stop));
    compact(&config.retention, &handle, clock, &mut group);
    guard(&config, &store, &mut group);
    let leaving = async {
        stop.cancelled().await;
        hand_over(&*handle).await;
        serving.cancel();
        std::future::pending::<()>().await;
    };
    // Whatever ends first, the other half is brought down with it.
    let store_ended = store.ended();
    tokio::pin!(store_ended);
    let served = group.run(GRACE);
    tokio::pin!(served);
    tokio::select! {
        biased;
        ended = &mut served => {
            store_stop.cancel();
            let store = store_ended.await;
            ended?;
            store
        }
        ended = &mut store_ended => {
            serving.cancel();
            served.await?;
            ended.context("the store stopped")
        }
        () = leaving => Ok(()),
    }
}

/// Watches the disk, and what the others say of this member's data.
fn guard(config: &Config, store: &StoreThread, group: &mut Group) {
    let (folder, limits) = (config.data_dir.clone(), config.limits);
    let (watched, state) = (store.handle.clone(), store.state.clone());
    group.spawn("space", move |stop| space::watch(folder, limits, watched, state, stop));
    let (folder, watched) = (config.data_dir.clone(), store.handle.clone());
    group.spawn("quarantine", move |stop| quarantine::watch(folder, watched, stop));
}

/// Forgets history as the flags say.
fn compact(retention: &Retention, handle: &Arc<dyn Handle>, clock: SharedClock, group: &mut Group) {
    let handle = handle.clone();
    match *retention {
        Retention::All => {}
        Retention::For(keep) => group.spawn("compactor", move |stop| {
            store_handle::compactor::run(handle, clock, keep, stop)
        }),
        Retention::Revisions(keep) => {
            group.spawn("compactor", move |stop| compaction::by_revision(handle, keep, stop));
        }
    }
}

async fn listen(
    config: &Config,
    urls: &[Url],
    serves: Serves,
) -> anyhow::Result<Vec<(Box<dyn Listener>, Door)>> {
    let mut listeners = Vec::new();
    for url in urls {
        let network = match (&config.client_tls, url.is_tls) {
            (Some(files), true) => tls::clients(files, config.listening)?,
            (None, true) => anyhow::bail!("{url} needs --cert-file and --key-file"),
            (_, false) => Tcp::listening(Plain, config.listening),
        };
        let listener = network.listen(&url.address).await;
        let listener = listener.with_context(|| format!("cannot listen on {url}"))?;
        listeners.push((listener, Door { is_secure: url.is_tls, serves }));
    }
    Ok(listeners)
}

/// Lets another member lead, if this one does and there is another.
async fn hand_over(handle: &dyn Handle) {
    let status = handle.status();
    let voters = handle.members().iter().filter(|member| member.is_voter).count();
    if status.leader != Some(status.id) || voters < 2 {
        return;
    }
    match tokio::time::timeout(HAND_OVER_MAX, handle.transfer_leadership(None)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "not handed over"),
        Err(_) => tracing::warn!("not handed over in time"),
    }
}

/// What the API says about this process.
#[derive(Debug)]
struct Known {
    data_dir: PathBuf,
    limits: Limits,
    store: Arc<RaftStore>,
    state: RocksState,
}

impl Known {
    fn of(config: &Config, store: &StoreThread) -> Self {
        Self {
            data_dir: config.data_dir.clone(),
            limits: config.limits,
            store: store.handle.clone(),
            state: store.state.clone(),
        }
    }
}

impl Facts for Known {
    fn db_bytes(&self) -> u64 {
        self.state.bytes()
    }

    fn db_live_bytes(&self) -> u64 {
        self.state.live_bytes().min(self.state.bytes())
    }

    fn db_bytes_max(&self) -> u64 {
        // What cannot be seen is not promised.
        let room = Room::of(&self.data_dir, &self.state).unwrap_or_default();
        room.used_max(self.limits)
    }

    fn reclaim(&self) -> std::io::Result<()> {
        self.state.reclaim()
    }

    fn sync_durations(&self) -> Durations {
        shown(self.store.sync_durations())
    }

    fn apply_durations(&self) -> Durations {
        shown(self.store.apply_durations())
    }

    fn round_trips(&self) -> BTreeMap<MemberId, Durations> {
        let trips = self.store.round_trips().into_iter();
        trips.map(|(id, durations)| (id, shown(durations))).collect()
    }

    fn syncs(&self) -> (u64, u64) {
        self.store.syncs()
    }

    fn figures(&self) -> Figures {
        Figures {
            counts: self.store.counts(),
            exchanged: self.store.exchanged(),
            slow_applies: self.store.slow_applies(),
            log_bytes: self.store.log_bytes(),
        }
    }
}

fn shown(durations: store_raft::Durations) -> Durations {
    let seconds = |micros: u64| micros as f64 / 1e6;
    let bound = |bucket: usize| seconds(durations.first_us << bucket);
    let counts = durations.counts.iter().enumerate();
    Durations {
        buckets: counts.map(|(bucket, count)| (bound(bucket), *count)).collect(),
        count: durations.count,
        sum_s: seconds(durations.sum_us),
    }
}
