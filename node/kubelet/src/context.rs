//! What every pod worker works with, and the facts of the machine.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use master_client::informer::Store;
use master_client::masters::Masters;
use node_cri::SharedRuntime;
use store_env::clock::SharedClock;

use crate::cgroup::Cgroups;
use crate::config::Config;
use crate::events::Recorder;
use crate::field::Facts;
use crate::image::Images;
use crate::ledger::Ledger;
use crate::objects::Objects;
use crate::pod;
use crate::probe::Probes;
use crate::statuses::Statuses;
use crate::view::PodView;
use crate::volume::Volumes;

/// CPU and memory of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) cpu_milli: u64,
    pub(crate) memory_bytes: u64,
}

impl Machine {
    /// Looks at this machine.
    pub(crate) fn read() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = total.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        let cpu_milli = u64::try_from(cores).unwrap_or(1) * 1_000;
        Self { cpu_milli, memory_bytes: kib.unwrap_or(0) * 1_024 }
    }
}

/// Shared by all pod workers.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: SharedClock,
    pub(crate) runtime: SharedRuntime,
    pub(crate) objects: Objects,
    pub(crate) volumes: Volumes,
    pub(crate) images: Images,
    pub(crate) cgroups: Cgroups,
    pub(crate) probes: Probes,
    pub(crate) events: Recorder,
    pub(crate) statuses: Arc<Statuses>,
    pub(crate) services: Option<Store<Service>>,
    pub(crate) machine: Machine,
    pub(crate) ledger: Ledger,
    /// `None` for a node without masters.
    pub(crate) masters: Option<Masters>,
}

impl Context {
    /// What the pod's fields and amounts can refer to.
    pub(crate) fn facts(&self, pod: &Pod, view: &PodView) -> Facts {
        Facts {
            host_ip: self.config.node_ip,
            pod_ips: self.pod_ips(pod, view),
            cpu_milli: self.machine.cpu_milli,
            memory_bytes: self.machine.memory_bytes,
        }
    }

    /// The pod's addresses, as far as it has some now.
    pub(crate) fn pod_ips(&self, pod: &Pod, view: &PodView) -> Vec<IpAddr> {
        match view.ready_sandbox() {
            Some(_) if pod::is_host_network(pod) => vec![self.config.node_ip],
            Some(sandbox) => sandbox.ips.clone(),
            None => Vec::new(),
        }
    }

    /// Where a container's last words are.
    pub(crate) fn message_file(
        &self,
        uid: &str,
        container: &str,
        restarts: u32,
    ) -> std::path::PathBuf {
        let containers = self.config.pod_dir(uid).join("containers");
        containers.join(container).join(restarts.to_string())
    }
}

/// The text of a file of the machine; empty when it cannot be read.
pub(crate) fn machine_file(path: &str) -> String {
    std::fs::read_to_string(Path::new(path)).unwrap_or_default()
}
