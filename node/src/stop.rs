//! `knode stop-all`: ends everything of a node that outlives its agent, and leaves what is on disk.
//!
//! Pods are stopped as on a shutdown of the machine; their sandboxes and logs stay, so that a node which
//! is started again knows what it ran.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use node_cri::{CriClient, Runtime, v1};
use store_env::clock::SystemClock;

use crate::app::RECORD;
use crate::config::{PAUSE_IMAGE, RunArgs};
use crate::containerd::{Containerd, Layout};

/// Which node, and how patiently.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// The node's data directory
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// As given to `run`; needed where that left no record
    #[arg(long)]
    pub cluster_id: Option<String>,
    /// As given to `run`; needed where that left no record
    #[arg(long, value_name = "PATH")]
    pub cgroup_root: Option<String>,
    /// As given to `run`
    #[arg(long, value_name = "NAME")]
    pub netns: Option<String>,
    /// Seconds that containers get to end by themselves
    #[arg(long, default_value_t = 5)]
    pub grace: u64,
}

/// Stops the node's pods, its containerd and what they left: mounts, cgroups, rules.
pub async fn run(args: StopArgs) -> anyhow::Result<()> {
    let record: Option<RunArgs> = std::fs::read(args.data_dir.join(RECORD))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    let recorded = record.as_ref();
    let pause = recorded.map_or(PAUSE_IMAGE, |flags| flags.pause_image.as_str());
    let layout = Layout::under(&args.data_dir, pause);
    if layout.socket().exists() {
        // Only a containerd can give the pods' addresses back: if it is gone, it is started once more.
        match Containerd::ensure(layout.clone(), SystemClock::shared()).await {
            Ok(_) => stop_pods(&layout, Duration::from_secs(args.grace)).await,
            Err(error) => tracing::warn!(%error, "pods are stopped by force"),
        }
    }
    Containerd::stop(&layout).await;
    let root = args.cgroup_root.or(recorded.map(|flags| flags.cgroup_root.clone()));
    let root = root.filter(|root| !root.trim_matches('/').is_empty());
    if let Some(root) = &root {
        node_kubelet::kill_cgroups(root);
    }
    kill_shims(&layout.socket()).await;
    node_kubelet::unmount_all(&args.data_dir)?;
    if let Some(root) = &root {
        remove_cgroups(root).await;
    }
    let id = args.cluster_id.or(recorded.map(|flags| flags.cluster_id.clone()));
    if let Some(id) = id {
        let node = recorded.map(|flags| flags.name.as_str()).unwrap_or_default();
        let dns = recorded.map(|flags| flags.cluster_dns);
        remove_rules(&id, node, dns).await;
    }
    Ok(())
}

/// Stops all pods at once, sandboxes included. What fails is dealt with by force afterwards.
async fn stop_pods(layout: &Layout, grace: Duration) {
    let runtime = CriClient::new(&layout.socket());
    let containers = runtime.list_containers(Default::default()).await.unwrap_or_default();
    let running =
        containers.iter().filter(|found| found.state() == v1::ContainerState::ContainerRunning);
    for stopped in join_all(running.map(|found| runtime.stop_container(&found.id, grace))).await {
        if let Err(error) = stopped {
            tracing::warn!(%error, "container not stopped");
        }
    }
    let sandboxes = runtime.list_sandboxes(Default::default()).await.unwrap_or_default();
    for stopped in join_all(sandboxes.iter().map(|found| runtime.stop_sandbox(&found.id))).await {
        if let Err(error) = stopped {
            tracing::warn!(%error, "sandbox not stopped");
        }
    }
}

/// Shims outlive their containerd; those of this one name its socket.
async fn kill_shims(socket: &Path) {
    let socket = socket.display().to_string();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let is_shim = words.first().is_some_and(|name| name.contains("containerd-shim"));
        if is_shim && words.iter().any(|word| word.trim_end_matches(".ttrpc") == socket) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Processes that were killed just now may keep a cgroup busy for a moment.
async fn remove_cgroups(root: &str) {
    for _ in 0..20 {
        match node_kubelet::remove_cgroups(root) {
            Ok(()) => return,
            Err(error) => tracing::debug!(%error, "cgroup is busy"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tracing::warn!(root, "cgroups stay");
}

async fn remove_rules(cluster_id: &str, node: &str, dns: Option<std::net::Ipv4Addr>) {
    let tables = [format!("tri-{cluster_id}"), format!("tri-{cluster_id}-net-{node}")];
    for table in tables {
        if let Err(error) = node_proxy::nft::remove(&table).await {
            tracing::debug!(table, %error, "table not removed");
        }
    }
    if let Some(address) = dns
        && let Err(error) = node_dns::release(address).await
    {
        tracing::debug!(%address, %error, "address not released");
    }
}
