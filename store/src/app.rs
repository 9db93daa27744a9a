//! What a member is made of, in the order it starts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use store_env::clock::{SharedClock, SystemClock};
use store_env::net::{Listener, Plain, Tcp};
use store_env::task::Group;
use store_etcd::urls::Url;
use store_etcd::{Facade, Facts, serve};
use store_handle::Handle;
use store_raft::RaftStore;
use tokio_util::sync::CancellationToken;

use crate::compaction;
use crate::config::{Config, Retention};
use crate::identity::Identity;
use crate::raft::StoreThread;
use crate::tls;

/// What tasks get to end by themselves.
const GRACE: Duration = Duration::from_secs(5);
/// How long another member may take to take the lead over.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);

/// Runs a member until `stop`, or until a part of it fails.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let clock = SystemClock::shared();
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot create {}", config.data_dir.display()))?;
    let api = listen(&config, &config.listen_client).await?;
    let plain = listen(&config, &config.listen_metrics).await?;
    let network = tls::peers(config.peer_tls.as_ref())?;
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
    let known = Known { data_dir: config.data_dir.clone(), store: store.handle.clone() };

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
    for listener in api {
        let facade = facade.clone();
        group.spawn("api", move |stop| serve::api(facade, listener, stop));
    }
    for listener in plain {
        let facade = facade.clone();
        group.spawn("metrics", move |stop| serve::plain(facade, listener, stop));
    }
    group.spawn("leader changes", move |stop| serve::observe(facade, stop));
    compact(&config.retention, &handle, clock, &mut group);
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

async fn listen(config: &Config, urls: &[Url]) -> anyhow::Result<Vec<Box<dyn Listener>>> {
    let mut listeners = Vec::new();
    for url in urls {
        let network = match (&config.client_tls, url.is_tls) {
            (Some(files), true) => tls::clients(files)?,
            (None, true) => anyhow::bail!("{url} needs --cert-file and --key-file"),
            (_, false) => Tcp::shared(Plain),
        };
        let listener = network.listen(&url.address).await;
        listeners.push(listener.with_context(|| format!("cannot listen on {url}"))?);
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
    store: Arc<RaftStore>,
}

impl Facts for Known {
    fn disk_bytes(&self) -> u64 {
        bytes_of(&self.data_dir)
    }

    fn syncs(&self) -> (u64, u64) {
        self.store.syncs()
    }
}

/// Bytes of the files in a folder and those inside it; what cannot be read is not counted.
fn bytes_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_of(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}
