//! Namespaces of one's own: this program runs itself again in new ones of processes, mounts and network, and waits.
//!
//! # Invariants
//! - Whatever happens to either of the two, the kernel ends every process in there, and with them go networks and
//!   mounts. What is left, a folder and control groups, is removed by the one outside.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::unistd::geteuid;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// What must be there. Some is asked for only when a fault needs it.
const TOOLS: &[&str] = &["ip", "nft", "nsenter", "unshare", "setpriv", "mount"];

/// Where version 1 of control groups limits what goes to a disk.
pub(crate) const BLKIO: &str = "/sys/fs/cgroup/blkio";

/// Where control groups are.
const ALL_GROUPS: &str = "/sys/fs/cgroup";

/// The file of a run that names the groups of its nodes, which outlive them.
pub(crate) const GROUPS: &str = "groups";

const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Says what of this machine is missing.
fn check() -> anyhow::Result<()> {
    if !geteuid().is_root() {
        bail!("real faults need root: network namespaces, mounts, signals to other processes");
    }
    let missing: Vec<_> = TOOLS.iter().filter(|tool| find(tool).is_none()).copied().collect();
    if !missing.is_empty() {
        bail!("not on this machine: {} (Debian: iproute2 nftables util-linux)", missing.join(", "));
    }
    Ok(())
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Runs this program again with the same arguments and `--lab FOLDER`, in namespaces; how it ended.
pub(crate) async fn run_inside() -> anyhow::Result<ExitStatus> {
    check()?;
    let lab = std::env::temp_dir().join(format!("kchaos-real-{}", std::process::id()));
    std::fs::create_dir(&lab).with_context(|| lab.display().to_string())?;
    let ended = wait(&lab).await;
    clear_away(&lab).await;
    ended
}

async fn wait(lab: &Path) -> anyhow::Result<ExitStatus> {
    let (mut interrupted, mut ended) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // The folder where networks are named is there only since somebody named one.
    std::fs::create_dir_all("/run/netns")?;
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"])
        .args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--lab")
        .arg(lab)
        .kill_on_drop(true)
        .spawn()?;
    tokio::select! {
        biased;
        _ = interrupted.recv() => bail!("interrupted"),
        _ = ended.recv() => bail!("told to end"),
        status = child.wait() => Ok(status?),
    }
}

async fn clear_away(lab: &Path) {
    let groups = Path::new(BLKIO).join(lab.file_name().unwrap_or_default());
    let removed = async {
        // The last processes may be about to end.
        while groups.exists() && remove_groups(&groups).is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let noted = std::fs::read_to_string(lab.join(GROUPS)).unwrap_or_default();
        for group in noted.lines().flat_map(of_nodes) {
            while group.exists() && remove_tree(&group).is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        while lab.exists() && std::fs::remove_dir_all(lab).is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(GONE_WITHIN, removed).await.is_err() {
        println!("left behind: {} {}", lab.display(), groups.display());
    }
}

/// The groups of this name: one in each hierarchy.
fn of_nodes(name: &str) -> Vec<PathBuf> {
    let below = std::fs::read_dir(ALL_GROUPS).into_iter().flatten().flatten();
    let folders = below.map(|entry| entry.path()).chain([ALL_GROUPS.into()]);
    folders.map(|folder| folder.join(name)).filter(|group| group.is_dir()).collect()
}

/// Removes a group and all below it.
fn remove_tree(group: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(group)
}

/// So that what waits for a slow disk can end.
fn lift_limits(group: &Path) -> std::io::Result<()> {
    let file = group.join("blkio.throttle.write_bps_device");
    for line in std::fs::read_to_string(&file)?.lines() {
        let device = line.split_whitespace().next().unwrap_or_default();
        std::fs::write(&file, format!("{device} 0"))?;
    }
    Ok(())
}

fn remove_groups(groups: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(groups)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            lift_limits(&entry.path())?;
            std::fs::remove_dir(entry.path())?;
        }
    }
    std::fs::remove_dir(groups)
}
