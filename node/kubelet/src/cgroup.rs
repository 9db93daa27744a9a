//! Control groups of pods: made, limited and removed here, for the runtime does none of it.
//!
//! Two layouts: version 1, a hierarchy for each controller, and version 2, one for all.
//! Version 1's `cpuset` is left to the runtime: a new directory there starts without any CPU.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::amount;
use crate::error::{Error, Result};
use crate::qos;
use crate::resize;

const MOUNT: &str = "/sys/fs/cgroup";
const PERIOD_US: u64 = 100_000;
/// Version 1 hierarchies in which pods have directories that we make.
const OURS: &[&str] = &["cpu", "cpuacct", "memory", "pids"];

/// What a group of processes may use; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) cpu_shares: Option<u64>,
    pub(crate) cpu_quota_us: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
}

impl Limits {
    /// What lets a group live under either: the larger of both, or none.
    pub(crate) fn or_wider(self, other: Self) -> Self {
        let larger = |one: Option<u64>, two: Option<u64>| Some(one?.max(two?));
        Self {
            cpu_shares: larger(self.cpu_shares, other.cpu_shares),
            cpu_quota_us: larger(self.cpu_quota_us, other.cpu_quota_us),
            memory_bytes: larger(self.memory_bytes, other.memory_bytes),
        }
    }
}

/// The limits of a whole pod.
pub(crate) fn pod_limits(pod: &Pod) -> Limits {
    Limits {
        cpu_shares: Some(amount::shares(resize::request(pod, "cpu", amount::milli))),
        cpu_quota_us: resize::limit(pod, "cpu", amount::milli).map(amount::quota_us),
        memory_bytes: resize::limit(pod, "memory", amount::units),
    }
}

/// The machine's control groups.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    mount: PathBuf,
    is_v2: bool,
}

impl Cgroups {
    /// Looks which version is mounted.
    pub(crate) fn detect() -> Self {
        let mount = PathBuf::from(MOUNT);
        let is_v2 = mount.join("cgroup.controllers").exists();
        Self { mount, is_v2 }
    }

    /// Makes the pod's group with its limits. Idempotent. Without a root there are no groups: a
    /// runtime in memory has no processes to put into them.
    pub(crate) fn ensure_pod(&self, root: &str, pod: &Pod) -> Result<String> {
        if root.is_empty() {
            return Ok(String::new());
        }
        let path = qos::cgroup_path(root, pod);
        self.ensure(&path, pod_limits(pod))?;
        Ok(path)
    }

    /// Gives a pod's group other limits. Without a root there are no groups.
    pub(crate) fn limit_pod(&self, root: &str, pod: &Pod, limits: Limits) -> Result<()> {
        match root.is_empty() {
            true => Ok(()),
            false => self.ensure(&qos::cgroup_path(root, pod), limits),
        }
    }

    fn ensure(&self, path: &str, limits: Limits) -> Result<()> {
        match self.is_v2 {
            true => self.ensure_v2(path, limits),
            false => self.ensure_v1(path, limits),
        }
    }

    fn ensure_v1(&self, path: &str, limits: Limits) -> Result<()> {
        for controller in OURS {
            let directory = self.v1(controller, path);
            std::fs::create_dir_all(&directory).map_err(Error::io(&directory))?;
        }
        let (cpu, memory) = (self.v1("cpu", path), self.v1("memory", path));
        if let Some(shares) = limits.cpu_shares {
            write(&cpu.join("cpu.shares"), shares)?;
        }
        if let Some(quota_us) = limits.cpu_quota_us {
            write(&cpu.join("cpu.cfs_period_us"), PERIOD_US)?;
            write(&cpu.join("cpu.cfs_quota_us"), quota_us)?;
        }
        if let Some(bytes) = limits.memory_bytes {
            write(&memory.join("memory.limit_in_bytes"), bytes)?;
        }
        Ok(())
    }

    fn ensure_v2(&self, path: &str, limits: Limits) -> Result<()> {
        let mut directory = self.mount.clone();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            // A controller must be passed down at every level above the group that uses it.
            let control = directory.join("cgroup.subtree_control");
            for controller in ["cpu", "memory", "pids", "cpuset", "io"] {
                let _ = std::fs::write(&control, format!("+{controller}"));
            }
            directory.push(part);
            std::fs::create_dir_all(&directory).map_err(Error::io(&directory))?;
        }
        if let Some(shares) = limits.cpu_shares {
            write(&directory.join("cpu.weight"), 1 + (shares.max(2) - 2) * 9_999 / 262_142)?;
        }
        if let Some(quota_us) = limits.cpu_quota_us {
            let file = directory.join("cpu.max");
            std::fs::write(&file, format!("{quota_us} {PERIOD_US}")).map_err(Error::io(&file))?;
        }
        if let Some(bytes) = limits.memory_bytes {
            write(&directory.join("memory.max"), bytes)?;
        }
        Ok(())
    }

    fn v1(&self, controller: &str, path: &str) -> PathBuf {
        self.mount.join(controller).join(path.trim_start_matches('/'))
    }

    /// Removes the group and all below it, in every hierarchy. What still has processes stays, and is
    /// reported.
    pub(crate) fn remove(&self, path: &str) -> Result<()> {
        if path.starts_with("/kubepods") {
            return Ok(());
        }
        let mut failed = Ok(());
        for root in self.hierarchies() {
            let directory = root.join(path.trim_start_matches('/'));
            if directory.is_dir()
                && let Err(source) = remove_tree(&directory)
            {
                failed = Err(Error::Io { path: directory, source });
            }
        }
        failed
    }

    /// Uids of the pods that have a group under `root`.
    pub(crate) fn pods(&self, root: &str) -> Vec<(String, String)> {
        if root.is_empty() {
            return Vec::new();
        }
        let top = if self.is_v2 { self.mount.clone() } else { self.mount.join("memory") };
        let mut found = Vec::new();
        for parent in ["kubepods", "kubepods/burstable", "kubepods/besteffort"] {
            let path = format!("{root}/{parent}");
            let Ok(entries) = std::fs::read_dir(top.join(path.trim_start_matches('/'))) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if let Some(uid) = name.strip_prefix("pod") {
                    found.push((uid.to_owned(), format!("{path}/{name}")));
                }
            }
        }
        found
    }

    fn hierarchies(&self) -> Vec<PathBuf> {
        if self.is_v2 {
            return vec![self.mount.clone()];
        }
        let entries = std::fs::read_dir(&self.mount).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

/// Removes the cgroup `root` of a node with everything under it, and those above it that are empty then.
pub fn remove_all(root: &str) -> Result<()> {
    let cgroups = Cgroups::detect();
    cgroups.remove(root)?;
    for hierarchy in cgroups.hierarchies() {
        let above = Path::new(root.trim_matches('/')).ancestors().skip(1);
        for parent in above.filter(|parent| !parent.as_os_str().is_empty()) {
            // What another node still uses does not go.
            let _ = std::fs::remove_dir(hierarchy.join(parent));
        }
    }
    Ok(())
}

/// Kills every process in the cgroup `root` of a node and below it.
pub fn kill_all(root: &str) {
    for hierarchy in Cgroups::detect().hierarchies() {
        kill_tree(&hierarchy.join(root.trim_matches('/')));
    }
}

fn kill_tree(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        kill_tree(&entry.path());
    }
    let processes = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines().filter_map(|line| line.parse().ok()) {
        // It may have ended by itself; then there is nothing to do.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

fn write(file: &Path, value: u64) -> Result<()> {
    std::fs::write(file, value.to_string()).map_err(Error::io(file))
}

/// Control groups are removed directory by directory, leaves first; their files go by themselves.
fn remove_tree(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match std::fs::remove_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn pod_has_its_own_limits_or_those_of_its_containers() {
        let main = |limits: Value| json!({"name": "c", "resources": {"limits": limits}});
        let check = |spec: Value, expected: [Option<u64>; 3]| {
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            let Limits { cpu_shares, cpu_quota_us, memory_bytes } = pod_limits(&pod);
            assert_eq!([cpu_shares, cpu_quota_us, memory_bytes], expected, "{spec}");
        };
        let (full, none) = (json!({"cpu": "1", "memory": "1k"}), json!({}));
        check(json!({"containers": [main(none.clone())]}), [Some(2), None, None]);
        let both = [main(full.clone()), main(full.clone())];
        check(json!({"containers": both}), [Some(2_048), Some(200_000), Some(2_000)]);
        let one = [main(full.clone()), main(none.clone())];
        check(json!({"containers": one}), [Some(1_024), None, None]);
        // Those that start count as those that stay.
        let starting = json!({"containers": both, "initContainers": [main(json!({"cpu": "3", "memory": "1k"}))]});
        check(starting, [Some(3_072), Some(300_000), Some(2_000)]);
        let endless = json!({"containers": both, "initContainers": [main(none.clone())]});
        check(endless, [Some(2_048), None, None]);
        // What the pod says comes first, and running it costs.
        let whole = json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "4"}});
        let whole = json!({"containers": one, "resources": whole, "overhead": {"cpu": "1"}});
        check(whole, [Some(1_536), Some(500_000), None]);
    }
}
