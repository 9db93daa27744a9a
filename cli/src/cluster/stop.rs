//! `kctl stop`: everything of a local cluster ends; its data stays, unless it is to be wiped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures::future::join_all;
use master_client::kubeconfig;
use store_env::clock::SystemClock;

use super::Home;
use super::install;
use super::layout::{Cluster, Layout};
use super::process;
use super::progress::Progress;
use super::start;

/// What a daemon gets to put its things in order.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
pub struct StopArgs {
    #[command(flatten)]
    home: Home,
    /// Remove the cluster's data, network and context as well.
    #[arg(long)]
    wipe: bool,
}

/// Stops nodes with their containers, then masters, then takes the network down.
pub(super) async fn run(args: StopArgs) -> anyhow::Result<()> {
    let layout = Layout::of(&args.home)?;
    let progress = Progress::new(SystemClock::shared());
    let Some(cluster) = layout.load()? else {
        progress.say(&format!("There is no cluster in {}", install::shown(&layout.dir)));
        return Ok(());
    };
    stop_nodes(&layout, &cluster).await?;
    remove_cgroups(&cluster.cgroup_root());
    progress.done("nodes and their containers stopped");
    let daemons: Vec<_> = (0..cluster.masters.len())
        .map(|index| start::master_place(&layout, &cluster, index).daemon(&layout))
        .collect();
    for stopped in join_all(daemons.iter().map(|daemon| daemon.stop(GRACE))).await {
        stopped?;
    }
    progress.done("masters stopped");
    process::run_program("knode", &start::network_args(&cluster, "down")).await?;
    progress.done("network taken down");
    if args.wipe {
        wipe(&layout)?;
        progress.done(&format!("{} removed", install::shown(&layout.dir)));
    }
    Ok(())
}

async fn stop_nodes(layout: &Layout, cluster: &Cluster) -> anyhow::Result<()> {
    let places: Vec<_> = (0..cluster.nodes.len())
        .map(|index| start::node_place(layout, cluster, index))
        .filter(install::NodePlace::exists)
        .collect();
    let stops = places.iter().map(|place| async move {
        place.daemon(layout)?.stop(GRACE).await?;
        // The agent leaves containers running when it ends; here they are to end as well.
        let mut args =
            vec!["stop-all".into(), "--data-dir".into(), install::shown(&place.data_dir)];
        args.extend(["--cluster-id".into(), place.cluster_id.clone()]);
        args.extend(["--cgroup-root".into(), format!("{}/{}", place.cgroup_root, place.name)]);
        if let Some(netns) = &place.netns {
            args.extend(["--netns".into(), netns.clone()]);
        }
        process::run_program("knode", &args).await
    });
    for stopped in join_all(stops).await {
        stopped?;
    }
    Ok(())
}

/// Removes the cluster's own cgroup, under which each node had one, from every hierarchy (v1) or the only
/// one (v2). A cgroup that still holds a process cannot be removed, and stays.
fn remove_cgroups(root: &str) {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let folders = hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
    for folder in folders {
        remove_empty(&folder.join(root.trim_start_matches('/')));
    }
}

fn remove_empty(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        remove_empty(&entry.path());
    }
    // Only an empty one can be removed; its files belong to the kernel.
    let _ = std::fs::remove_dir(folder);
}

fn wipe(layout: &Layout) -> anyhow::Result<()> {
    std::fs::remove_dir_all(&layout.dir)?;
    if let Some(own) = start::own_kubeconfig().filter(|own| own.exists()) {
        let name = start::context_name(layout);
        let mut config = kubeconfig::load_file(&own)?;
        config.clusters.retain(|entry| entry.name != name);
        config.contexts.retain(|entry| entry.name != name);
        config.users.retain(|entry| entry.name != format!("{name}-admin"));
        if config.current_context == name {
            config.current_context.clear();
        }
        kubeconfig::save(&config, &own)?;
    }
    Ok(())
}
