//! Kills the leading master under load, again and again, and tells what clients saw of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args as ClapArgs;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt as _};
use store_env::clock::{SharedClock, SystemClock};
use store_env::task::Crew;
use tokio_util::sync::CancellationToken;

use crate::caller;
use crate::cluster::Cluster;
use crate::load::{self, Ledger};

/// Load before the first kill, and between two.
const SETTLE: Duration = Duration::from_secs(1);
/// How long after a kill its consequences are looked for.
const AFTER_MS: u64 = 3_000;
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct Args {
    #[arg(long, env = "TRIREME_DATA_DIR")]
    data_dir: PathBuf,
    /// The `kctl` to use.
    #[arg(long, default_value = "kctl")]
    kctl: PathBuf,
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// URLs of the app, asked all the time.
    #[arg(long)]
    url: Vec<http::Uri>,
    /// Pods of a Deployment; one of them is deleted after each kill, and must be replaced.
    #[arg(long, default_value = "run=hello-node")]
    pods: String,
    /// Fail unless the median of the longest gaps is below this.
    #[arg(long, default_value_t = 1_000)]
    gap_max_ms: u64,
}

/// What one kill did.
#[derive(Clone, Copy, Debug)]
struct Kill {
    /// When it was done, on the machine's own clock.
    unix_ms: u64,
    gap_ms: u64,
    replaced_ms: u64,
}

/// Runs it and fails if a promise was broken.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let cluster = Cluster { kctl: args.kctl.clone(), data_dir: args.data_dir.clone() };
    let status = cluster.whole(WHOLE_WITHIN).await?;
    let servers: Vec<String> = status.masters.iter().map(|it| it.address.clone()).collect();
    let namespace = load::prepare(cluster.client(&servers)?).await?;
    let clock = SystemClock::shared();
    caller::start(&cluster.client(&servers)?, &namespace).await?;
    let ledger = Arc::new(Ledger::default());
    let stop = CancellationToken::new();
    let mut crew = Crew::new();
    for writer in 0..servers.len() {
        // Each writer prefers another master, and knows them all.
        let mut order = servers.clone();
        order.rotate_left(writer);
        let maps = Api::namespaced(cluster.client(&order)?, &namespace);
        crew.spawn(load::write(writer, maps, ledger.clone(), clock.clone(), stop.clone()));
    }
    for url in &args.url {
        crew.spawn(load::curl(url.clone(), ledger.clone(), stop.clone()));
    }
    let client = cluster.client(&servers)?;
    let mut kills = Vec::new();
    for number in 1..=args.kills {
        tokio::time::sleep(SETTLE).await;
        let kill = one(&args, &cluster, &client, &ledger, &clock).await?;
        println!(
            "kill {number:>2}: longest gap between acknowledged writes {:>5} ms, deleted pod replaced after {:>5} ms",
            kill.gap_ms, kill.replaced_ms
        );
        kills.push(kill);
        cluster.start().await?;
        cluster.whole(WHOLE_WITHIN).await?;
    }
    tokio::time::sleep(SETTLE).await;
    stop.cancel();
    crew.finish(Duration::from_secs(15)).await;
    report(&args, &client, &namespace, &ledger, &kills).await
}

async fn one(
    args: &Args,
    cluster: &Cluster,
    client: &Client,
    ledger: &Ledger,
    clock: &SharedClock,
) -> anyhow::Result<Kill> {
    let (killed_ms, unix_ms) = (clock.monotonic_ms(), clock.unix_ms());
    cluster.kill_leader().await?;
    let killed_at_ms = clock.monotonic_ms();
    let replaced_ms = replaced(args, client, clock, killed_at_ms).await?;
    let waited = clock.monotonic_ms() - killed_ms;
    tokio::time::sleep(Duration::from_millis(AFTER_MS.saturating_sub(waited))).await;
    let acknowledged = ledger.acknowledged_ms.lock().await;
    let gap_ms = load::longest_gap_ms(&acknowledged, killed_ms, killed_at_ms + AFTER_MS);
    Ok(Kill { unix_ms, gap_ms, replaced_ms })
}

/// Deletes one pod and waits for a new one that was not there before: it takes a live controller.
async fn replaced(
    args: &Args,
    client: &Client,
    clock: &SharedClock,
    since_ms: u64,
) -> anyhow::Result<u64> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let params = ListParams::default().labels(&args.pods);
    let names = |list: &kube::core::ObjectList<Pod>| -> Vec<String> {
        list.items.iter().filter_map(|pod| pod.metadata.name.clone()).collect()
    };
    let mut before: Option<Vec<String>> = None;
    loop {
        if clock.monotonic_ms() - since_ms > 20_000 {
            let list = pods.list(&params).await.map(|list| names(&list));
            bail!("no new pod 20 s after the kill: had {before:?}, now {list:?}");
        }
        match (&before, pods.list(&params).await) {
            (None, Ok(list)) => {
                let known = names(&list);
                // One that is ending already is replaced already.
                let alive = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
                let victim =
                    list.items.iter().find(alive).context("the app has no pods")?.name_any();
                if pods.delete(&victim, &DeleteParams::default()).await.is_ok() {
                    before = Some(known);
                }
            }
            (Some(known), Ok(list)) if names(&list).iter().any(|name| !known.contains(name)) => {
                return Ok(clock.monotonic_ms() - since_ms);
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn report(
    args: &Args,
    client: &Client,
    namespace: &str,
    ledger: &Ledger,
    kills: &[Kill],
) -> anyhow::Result<()> {
    let lost = load::lost(Api::namespaced(client.clone(), namespace), ledger).await?;
    let answers = caller::answers(client, namespace).await?;
    let called = median(
        kills
            .iter()
            .map(|kill| caller::longest_gap_ms(&answers, kill.unix_ms, kill.unix_ms + AFTER_MS)),
    );
    let failed = ledger.failed.lock().await;
    let acknowledged = ledger.must_exist.lock().await.len();
    let gap = median(kills.iter().map(|kill| kill.gap_ms));
    let replaced = median(kills.iter().map(|kill| kill.replaced_ms));
    println!();
    println!("leader killed under load: {} times", kills.len());
    println!("  acknowledged writes: {acknowledged}, lost: {}", lost.len());
    println!("  refused or unknown writes: {}", ledger.errors.load(Ordering::Relaxed));
    println!("  longest gap between acknowledged writes, median: {gap} ms");
    println!("  deleted pod replaced after the kill, median: {replaced} ms");
    println!(
        "  a pod that asks https://kubernetes.default: {} answers, longest gap, median: {called} ms",
        answers.len()
    );
    println!(
        "  requests to the app: {} answered, {} failed",
        ledger.answered.load(Ordering::Relaxed),
        failed.len()
    );
    load::sweep(client.clone(), namespace).await?;
    if let Some(name) = lost.first() {
        bail!("{} acknowledged writes are lost, the first is {name}", lost.len());
    }
    if let Some(error) = failed.first() {
        bail!("{} requests to the app failed, the first with: {error}", failed.len());
    }
    if gap >= args.gap_max_ms {
        bail!("the median gap of {gap} ms is not below {} ms", args.gap_max_ms);
    }
    if called >= args.gap_max_ms {
        bail!("the median gap of {called} ms in a pod is not below {} ms", args.gap_max_ms);
    }
    if replaced >= args.gap_max_ms {
        bail!("the median replacement of {replaced} ms is not below {} ms", args.gap_max_ms);
    }
    Ok(())
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
