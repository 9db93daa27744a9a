//! What the runtime has of a pod: its sandboxes and containers, newest first.
//!
//! Learnt from the runtime alone: labels and annotations on sandboxes and containers carry what a
//! kubelet that was just started must know (uid, restart count, hash, how to stop).

use std::collections::BTreeMap;
use std::net::IpAddr;

use node_cri::v1;
use node_cri::{Result, Runtime};

use crate::amount;
use crate::resize::Actual;

pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
pub(crate) const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
pub(crate) const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub(crate) const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub(crate) const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// The resources with which a container was started, as JSON.
pub(crate) const STARTED_WITH: &str = "io.trireme.container.resources";
pub(crate) const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Created,
    Running,
    Exited { code: i32, reason: String, message: String, finished_ms: u64 },
    Unknown,
}

/// One container that the runtime knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerView {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) sandbox_id: String,
    pub(crate) restarts: u32,
    pub(crate) state: State,
    pub(crate) created_ms: u64,
    pub(crate) started_ms: u64,
    pub(crate) image: String,
    pub(crate) image_id: String,
    pub(crate) hash: String,
    pub(crate) log_path: String,
    pub(crate) user: Option<(i64, i64, Vec<i64>)>,
    pub(crate) actual: Actual,
    pub(crate) annotations: BTreeMap<String, String>,
}

impl ContainerView {
    pub(crate) fn is_running(&self) -> bool {
        self.state == State::Running
    }
}

/// One sandbox that the runtime knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SandboxView {
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) is_ready: bool,
    pub(crate) created_ms: u64,
    pub(crate) ips: Vec<IpAddr>,
}

/// Everything that the runtime knows of one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PodView {
    /// Newest first.
    pub(crate) sandboxes: Vec<SandboxView>,
    /// Newest first.
    pub(crate) containers: Vec<ContainerView>,
}

impl PodView {
    /// Asks the runtime about the pod `uid`.
    pub(crate) async fn read(runtime: &dyn Runtime, uid: &str) -> Result<Self> {
        let labels = BTreeMap::from([(POD_UID.to_owned(), uid.to_owned())]);
        let mut view = Self::default();
        for sandbox in runtime.list_sandboxes(labels.clone()).await? {
            match runtime.sandbox_status(&sandbox.id).await {
                Ok(status) => view.sandboxes.push(sandbox_view(&status)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        for container in runtime.list_containers(labels).await? {
            match runtime.container_status(&container.id).await {
                Ok(status) => {
                    view.containers.push(container_view(&container.pod_sandbox_id, status));
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        view.sandboxes.sort_by_key(|found| std::cmp::Reverse((found.created_ms, found.attempt)));
        view.containers.sort_by_key(|found| std::cmp::Reverse((found.created_ms, found.restarts)));
        Ok(view)
    }

    /// The sandbox in use: the newest, when it is ready.
    pub(crate) fn ready_sandbox(&self) -> Option<&SandboxView> {
        self.sandboxes.first().filter(|sandbox| sandbox.is_ready)
    }

    /// The newest container of this name.
    pub(crate) fn latest(&self, name: &str) -> Option<&ContainerView> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The newest container of this name in this sandbox.
    pub(crate) fn latest_in(&self, sandbox_id: &str, name: &str) -> Option<&ContainerView> {
        self.containers
            .iter()
            .find(|container| container.name == name && container.sandbox_id == sandbox_id)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &ContainerView> {
        self.containers.iter().filter(|container| container.is_running())
    }

    pub(crate) fn is_anything_up(&self) -> bool {
        self.running().next().is_some() || self.sandboxes.iter().any(|sandbox| sandbox.is_ready)
    }
}

fn millis(nanos: i64) -> u64 {
    u64::try_from(nanos / 1_000_000).unwrap_or_default()
}

fn sandbox_view(status: &v1::PodSandboxStatus) -> SandboxView {
    let network = status.network.as_ref();
    let extra = network.into_iter().flat_map(|found| &found.additional_ips).map(|ip| &ip.ip);
    let ips = network.map(|found| &found.ip).into_iter().chain(extra);
    SandboxView {
        id: status.id.clone(),
        attempt: status.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
        is_ready: status.state() == v1::PodSandboxState::SandboxReady,
        created_ms: millis(status.created_at),
        ips: ips.filter_map(|ip| ip.parse().ok()).collect(),
    }
}

fn actual(limits: v1::LinuxContainerResources) -> Actual {
    let some = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let quota = some(limits.cpu_quota).zip(some(limits.cpu_period));
    Actual {
        cpu_request_milli: some(limits.cpu_shares).map(amount::milli_of_shares),
        cpu_limit_milli: quota.map(|(quota, period)| quota * 1_000 / period),
        memory_limit_bytes: some(limits.memory_limit_in_bytes),
    }
}

fn container_view(sandbox_id: &str, status: v1::ContainerStatus) -> ContainerView {
    let state = match status.state() {
        v1::ContainerState::ContainerCreated => State::Created,
        v1::ContainerState::ContainerRunning => State::Running,
        v1::ContainerState::ContainerExited => State::Exited {
            code: status.exit_code,
            // Only an exited container was killed for memory: with a limit on the pod, containerd 1.6
            // gives the reason to survivors too.
            reason: status.reason.clone(),
            message: status.message.clone(),
            finished_ms: millis(status.finished_at),
        },
        v1::ContainerState::ContainerUnknown => State::Unknown,
    };
    let attempt = status.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
    let annotations: BTreeMap<String, String> = status.annotations.into_iter().collect();
    let restarts = annotations.get(RESTART_COUNT).and_then(|count| count.parse().ok());
    let user = status.user.and_then(|user| user.linux);
    let limits = status.resources.and_then(|resources| resources.linux);
    let actual = limits.map_or_else(Actual::default, actual);
    ContainerView {
        id: status.id,
        name: status.metadata.map(|metadata| metadata.name).unwrap_or_default(),
        sandbox_id: sandbox_id.to_owned(),
        restarts: restarts.unwrap_or(attempt),
        state,
        created_ms: millis(status.created_at),
        started_ms: millis(status.started_at),
        image: status.image.map(|image| image.image).unwrap_or_default(),
        image_id: status.image_ref,
        hash: annotations.get(CONTAINER_HASH).cloned().unwrap_or_default(),
        log_path: status.log_path,
        actual,
        user: user.map(|user| (user.uid, user.gid, user.supplemental_groups)),
        annotations,
    }
}
