//! `kctl stop`: everything of a local cluster ends; its data stays, unless it is to be wiped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures::future::join_all;
use store_env::clock::SystemClock;

use super::layout::Layout;
use super::place::{self, NodePlace};
use super::progress::Progress;
use super::{Home, access, process, start};

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
    let cluster = layout.load()?;
    if cluster.is_none() && !start::is_one_of_several(&layout)? {
        progress.say(&format!("There is no cluster in {}", layout.shown()));
        return Ok(());
    }
    let (masters, nodes) = (place::masters(&layout)?, place::nodes(&layout)?);
    stop_nodes(&layout, &nodes).await?;
    if cluster.is_some() || !nodes.is_empty() {
        progress.done("nodes and their containers stopped");
    }
    let daemons: Vec<_> = masters.iter().map(|place| place.daemon(&layout)).collect();
    for stopped in join_all(daemons.iter().map(|daemon| daemon.stop(GRACE))).await {
        stopped?;
    }
    if !masters.is_empty() {
        progress.done("masters stopped");
    }
    if let Some(cluster) = &cluster {
        process::run_program("knode", &start::network_args(cluster, "down")).await?;
        progress.done("network taken down");
    }
    if args.wipe {
        std::fs::remove_dir_all(&layout.dir)?;
        access::forget(&layout)?;
        progress.done(&format!("{} removed", layout.shown()));
        for place in masters.iter().filter(|_| cluster.is_none()) {
            let name = &place.name;
            progress.say(&format!(
                "Unless it was removed before, on another master's machine: kctl cluster remove {name}"
            ));
        }
    }
    Ok(())
}

async fn stop_nodes(layout: &Layout, places: &[NodePlace]) -> anyhow::Result<()> {
    let stops = places.iter().map(|place| async move {
        place.daemon(layout)?.stop(GRACE).await?;
        // The agent leaves containers running when it ends; here they are to end as well.
        let data_dir = place.data_dir.display().to_string();
        let mut args = vec!["stop-all".into(), "--data-dir".into(), data_dir];
        args.extend(["--cluster-id".into(), place.local_id.clone()]);
        args.extend(["--cgroup-root".into(), format!("{}/{}", place.cgroup_root(), place.name)]);
        if let Some(netns) = &place.netns {
            args.extend(["--netns".into(), netns.clone()]);
        }
        process::run_program("knode", &args).await
    });
    for stopped in join_all(stops).await {
        stopped?;
    }
    for place in places {
        remove_cgroups(&place.cgroup_root());
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
