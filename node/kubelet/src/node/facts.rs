//! What is reported of the machine: sizes, versions, addresses, conditions.
//!
//! Pure where it can be: conditions are derived from what was seen.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus,
    NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use node_cri::v1;

use crate::context::{Context, machine_file};
use crate::status::time;

/// Memory below which the node says that it is short of it.
const MEMORY_LOW_BYTES: u64 = 100 << 20;
/// Share of the disk below which the node says that it is full, in percent.
const DISK_LOW_PERCENT: u64 = 5;
const IMAGES_MAX: usize = 50;

/// What was seen of the runtime and the machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Why the runtime cannot be worked with, if so.
    pub(super) runtime_problem: Option<String>,
    /// Why pods would get no network, if so.
    pub(super) network_problem: Option<String>,
    pub(super) memory_free_bytes: u64,
    pub(super) disk_free_bytes: u64,
    pub(super) disk_bytes: u64,
}

/// The conditions that follow, with the times of those before where nothing changed.
pub(super) fn conditions(seen: &Seen, before: &[NodeCondition], now_ms: u64) -> Vec<NodeCondition> {
    let problem = seen.runtime_problem.as_ref().or(seen.network_problem.as_ref());
    let is_disk_full = seen.disk_free_bytes * 100 < seen.disk_bytes * DISK_LOW_PERCENT;
    let is_memory_low = seen.memory_free_bytes < MEMORY_LOW_BYTES;
    let pressure = |kind: &'static str, is_on: bool, on: &'static str, off: &'static str| {
        let resource = kind.trim_end_matches("Pressure").to_lowercase();
        let message = match is_on {
            true => format!("kubelet has {resource} pressure"),
            false => format!(
                "kubelet has {} {resource} available",
                if resource == "disk" { "no" } else { "sufficient" }
            ),
        };
        let message = message.replace("no disk available", "no disk pressure");
        (kind, is_on, if is_on { on } else { off }, message)
    };
    let all = [
        pressure(
            "MemoryPressure",
            is_memory_low,
            "KubeletHasInsufficientMemory",
            "KubeletHasSufficientMemory",
        ),
        pressure(
            "DiskPressure",
            is_disk_full,
            "KubeletHasDiskPressure",
            "KubeletHasNoDiskPressure",
        ),
        pressure("PIDPressure", false, "KubeletHasInsufficientPID", "KubeletHasSufficientPID"),
        match problem {
            None => ("Ready", true, "KubeletReady", "kubelet is posting ready status".to_owned()),
            Some(problem) => ("Ready", false, "KubeletNotReady", problem.clone()),
        },
    ];
    let dated = all.into_iter().map(|(kind, is_true, reason, message)| {
        let status = if is_true { "True" } else { "False" };
        let known = before.iter().find(|known| known.type_ == kind && known.status == status);
        let since = known.and_then(|known| known.last_transition_time.clone());
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_heartbeat_time: Some(time(now_ms)),
            last_transition_time: since.or(Some(time(now_ms))),
        }
    });
    let foreign = before.iter().filter(|known| {
        !matches!(&*known.type_, "MemoryPressure" | "DiskPressure" | "PIDPressure" | "Ready")
    });
    foreign.cloned().chain(dated).collect()
}

/// Memory that could be used now, and the disk under the data directory.
pub(super) fn measure(cx: &Context, seen: &mut Seen) {
    let info = machine_file("/proc/meminfo");
    let free = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = free.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    seen.memory_free_bytes = kib.map_or(u64::MAX, |kib| kib * 1_024);
    if let Ok(disk) = nix::sys::statvfs::statvfs(&cx.config.data_dir) {
        seen.disk_bytes = disk.blocks() * disk.fragment_size();
        seen.disk_free_bytes = disk.blocks_available() * disk.fragment_size();
    }
}

/// Everything in the status but the conditions.
pub(super) fn status(
    cx: &Context,
    seen: &Seen,
    version: &v1::VersionResponse,
    images: &[v1::Image],
) -> NodeStatus {
    let config = &cx.config;
    let amounts: BTreeMap<String, Quantity> = [
        ("cpu", (cx.machine.cpu_milli / 1_000).to_string()),
        ("memory", format!("{}Ki", cx.machine.memory_bytes / 1_024)),
        ("pods", config.pods_max.to_string()),
        ("ephemeral-storage", format!("{}Ki", seen.disk_bytes / 1_024)),
    ]
    .into_iter()
    .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
    .collect();
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    NodeStatus {
        capacity: Some(amounts.clone()),
        allocatable: Some(amounts),
        addresses: Some(vec![
            address("InternalIP", config.node_ip.to_string()),
            address("Hostname", config.node_name.clone()),
        ]),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(config.listen.port()) }),
        }),
        node_info: Some(system(version)),
        images: Some(container_images(images)),
        ..Default::default()
    }
}

fn container_images(images: &[v1::Image]) -> Vec<ContainerImage> {
    let mut images: Vec<&v1::Image> = images.iter().collect();
    images.sort_by_key(|image| (std::cmp::Reverse(image.size), image.id.clone()));
    let listed = images.into_iter().take(IMAGES_MAX).map(|image| ContainerImage {
        names: Some(image.repo_digests.iter().chain(&image.repo_tags).cloned().collect()),
        size_bytes: i64::try_from(image.size).ok(),
    });
    listed.collect()
}

fn system(version: &v1::VersionResponse) -> NodeSystemInfo {
    let line = |path: &str| machine_file(path).trim().to_owned();
    let release = machine_file("/etc/os-release");
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    NodeSystemInfo {
        architecture: architecture.to_owned(),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: format!(
            "{}://{}",
            version.runtime_name,
            version.runtime_version.split('~').next().unwrap_or_default()
        ),
        kernel_version: line("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: crate::VERSION.to_owned(),
        machine_id: line("/etc/machine-id"),
        operating_system: "linux".to_owned(),
        os_image: pretty.map(|name| name.trim_matches('"').to_owned()).unwrap_or_default(),
        system_uuid: line("/sys/class/dmi/id/product_uuid"),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_is_ready_only_with_a_runtime_and_a_network() {
        let check = |runtime: Option<&str>, network: Option<&str>, expected: &str| {
            let seen = Seen {
                runtime_problem: runtime.map(str::to_owned),
                network_problem: network.map(str::to_owned),
                memory_free_bytes: 1 << 30,
                disk_free_bytes: 50,
                disk_bytes: 100,
            };
            let conditions = conditions(&seen, &[], 1_000);
            let ready = conditions.iter().find(|found| found.type_ == "Ready").unwrap();
            let message = ready.message.clone().unwrap();
            assert_eq!(format!("{}: {message}", ready.status), expected);
        };
        check(None, None, "True: kubelet is posting ready status");
        check(Some("runtime down"), None, "False: runtime down");
        check(None, Some("no CNI"), "False: no CNI");
    }

    #[test]
    fn condition_keeps_the_moment_at_which_it_changed() {
        let seen = Seen { memory_free_bytes: 1, disk_bytes: 100, ..Default::default() };
        let first = conditions(&seen, &[], 1_000);
        let second = conditions(&seen, &first, 9_000);
        let times = |all: &[NodeCondition]| {
            all.iter().map(|found| found.last_transition_time.clone()).collect::<Vec<_>>()
        };
        assert_eq!(times(&first), times(&second));
        let on = second.iter().filter(|found| found.status == "True");
        assert_eq!(
            on.map(|found| &*found.type_).collect::<Vec<_>>(),
            ["MemoryPressure", "DiskPressure", "Ready"]
        );
    }
}
