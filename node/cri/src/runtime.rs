//! `Runtime`: what a container runtime does for a kubelet, call by call as in CRI v1.
//!
//! Object-safe and shared, so that the kubelet runs unchanged on containerd, on another CRI socket or
//! on the in-memory [`crate::Fake`].

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::error::Result;
use crate::v1;

/// A runtime that is shared by all pod workers.
pub type SharedRuntime = Arc<dyn Runtime>;

/// Changes of containers as the runtime reports them.
pub type EventStream = BoxStream<'static, Result<v1::ContainerEventResponse>>;

/// A container runtime. Every call has a deadline of its own.
#[async_trait]
pub trait Runtime: Send + Sync + Debug + 'static {
    /// Name and version of the runtime.
    async fn version(&self) -> Result<v1::VersionResponse>;

    /// Conditions `RuntimeReady` and `NetworkReady`.
    async fn status(&self) -> Result<v1::RuntimeStatus>;

    /// Creates and starts a sandbox; returns its id.
    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String>;

    /// Stops a sandbox with all its containers and gives its network back. Idempotent.
    async fn stop_sandbox(&self, id: &str) -> Result<()>;

    /// Removes a sandbox with all its containers. Idempotent.
    async fn remove_sandbox(&self, id: &str) -> Result<()>;

    /// State, addresses and labels of a sandbox.
    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus>;

    /// The sandboxes whose labels contain `labels`, in any state.
    async fn list_sandboxes(&self, labels: BTreeMap<String, String>)
    -> Result<Vec<v1::PodSandbox>>;

    /// Creates a container in a sandbox; returns its id.
    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String>;

    /// Starts a created container.
    async fn start_container(&self, id: &str) -> Result<()>;

    /// Stops a container: SIGTERM, then SIGKILL after `grace`. Idempotent.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()>;

    /// Removes a container, killing it if it runs. Idempotent.
    async fn remove_container(&self, id: &str) -> Result<()>;

    /// The containers whose labels contain `labels`, in any state.
    async fn list_containers(&self, labels: BTreeMap<String, String>)
    -> Result<Vec<v1::Container>>;

    /// State, times, exit code and mounts of a container.
    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus>;

    /// Changes a running container's limits.
    async fn update_resources(
        &self,
        id: &str,
        resources: v1::LinuxContainerResources,
    ) -> Result<()>;

    /// Makes the runtime open the log file anew, after it was rotated away.
    async fn reopen_log(&self, id: &str) -> Result<()>;

    /// Runs a command in a container and waits for it.
    async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<v1::ExecSyncResponse>;

    /// URL at which a client may stream a command.
    async fn exec(&self, request: v1::ExecRequest) -> Result<String>;

    /// URL at which a client may stream a container's main process.
    async fn attach(&self, request: v1::AttachRequest) -> Result<String>;

    /// URL at which a client may reach ports of a sandbox.
    async fn port_forward(&self, request: v1::PortForwardRequest) -> Result<String>;

    /// CPU and memory use of all running containers.
    async fn list_stats(&self) -> Result<Vec<v1::ContainerStats>>;

    /// A stream of changes; `Unimplemented` where the runtime offers none (containerd before 1.7).
    async fn events(&self) -> Result<EventStream>;

    /// All images.
    async fn list_images(&self) -> Result<Vec<v1::Image>>;

    /// One image by reference or id; `None` when it is not there.
    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>>;

    /// Fetches an image from its registry; returns its reference.
    async fn pull_image(&self, image: &str, auth: Option<v1::AuthConfig>) -> Result<String>;

    /// Removes an image. Idempotent.
    async fn remove_image(&self, image: &str) -> Result<()>;

    /// Use of the file system that holds images.
    async fn image_fs(&self) -> Result<Vec<v1::FilesystemUsage>>;
}
