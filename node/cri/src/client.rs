//! The CRI client: tonic over the runtime's unix socket, every call with a deadline.
//!
//! Connects lazily and again by itself, so that it outlives restarts of the runtime.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use hyper_util::rt::TokioIo;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::error::{Error, Result};
use crate::runtime::{EventStream, Runtime};
use crate::v1;

/// For calls that only look.
const LOOK: Duration = Duration::from_secs(10);
/// For calls that change something without waiting for a process or a network.
const CHANGE: Duration = Duration::from_secs(120);
/// For a pull.
const PULL: Duration = Duration::from_secs(15 * 60);
/// What a call may take beyond the time-out that it carries itself.
const MARGIN: Duration = Duration::from_secs(30);
/// Containers' output through `exec_sync` can be up to 16 MiB on each stream.
const MESSAGE_BYTES_MAX: usize = 40 << 20;

/// A CRI v1 runtime behind a unix socket.
#[derive(Debug, Clone)]
pub struct CriClient {
    socket: PathBuf,
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

impl CriClient {
    /// A client of the runtime at `socket`, which need not exist yet. Must be called inside a tokio
    /// runtime.
    pub fn new(socket: &Path) -> Self {
        let path = socket.to_owned();
        let connect = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://runtime.invalid")
            .connect_timeout(Duration::from_secs(3))
            .connect_with_connector_lazy(connect);
        Self {
            socket: socket.to_owned(),
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
        }
    }

    /// Where the runtime listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// Awaits one call with its deadline and reads its error.
async fn call<T>(
    name: &'static str,
    deadline: Duration,
    request: impl Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T> {
    match tokio::time::timeout(deadline, request).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Error::from_status(name, &status)),
        Err(_) => Err(Error::Deadline { call: name, deadline }),
    }
}

/// What is already gone was removed.
fn gone_is_done(result: Result<()>) -> Result<()> {
    match result {
        Err(Error::NotFound(_)) => Ok(()),
        other => other,
    }
}

#[async_trait]
impl Runtime for CriClient {
    async fn version(&self) -> Result<v1::VersionResponse> {
        let request = v1::VersionRequest { version: "v1".to_owned() };
        call("Version", LOOK, self.runtime.clone().version(request)).await
    }

    async fn status(&self) -> Result<v1::RuntimeStatus> {
        let request = v1::StatusRequest { verbose: false };
        let response = call("Status", LOOK, self.runtime.clone().status(request)).await?;
        Ok(response.status.unwrap_or_default())
    }

    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String> {
        let request =
            v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        let mut runtime = self.runtime.clone();
        Ok(call("RunPodSandbox", CHANGE, runtime.run_pod_sandbox(request)).await?.pod_sandbox_id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let mut runtime = self.runtime.clone();
        let done = call("StopPodSandbox", CHANGE, runtime.stop_pod_sandbox(request)).await;
        gone_is_done(done.map(drop))
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let mut runtime = self.runtime.clone();
        let done = call("RemovePodSandbox", CHANGE, runtime.remove_pod_sandbox(request)).await;
        gone_is_done(done.map(drop))
    }

    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let mut runtime = self.runtime.clone();
        let response = call("PodSandboxStatus", LOOK, runtime.pod_sandbox_status(request)).await?;
        response.status.ok_or_else(|| Error::NotFound(id.to_owned()))
    }

    async fn list_sandboxes(
        &self,
        labels: BTreeMap<String, String>,
    ) -> Result<Vec<v1::PodSandbox>> {
        let filter = v1::PodSandboxFilter {
            label_selector: labels.into_iter().collect(),
            ..Default::default()
        };
        let request = v1::ListPodSandboxRequest { filter: Some(filter) };
        let mut runtime = self.runtime.clone();
        Ok(call("ListPodSandbox", LOOK, runtime.list_pod_sandbox(request)).await?.items)
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox),
        };
        let mut runtime = self.runtime.clone();
        Ok(call("CreateContainer", CHANGE, runtime.create_container(request)).await?.container_id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let request = v1::StartContainerRequest { container_id: id.to_owned() };
        let mut runtime = self.runtime.clone();
        call("StartContainer", CHANGE, runtime.start_container(request)).await.map(drop)
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout };
        let mut runtime = self.runtime.clone();
        let deadline = grace + CHANGE;
        let done = call("StopContainer", deadline, runtime.stop_container(request)).await;
        gone_is_done(done.map(drop))
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let request = v1::RemoveContainerRequest { container_id: id.to_owned() };
        let mut runtime = self.runtime.clone();
        let done = call("RemoveContainer", CHANGE, runtime.remove_container(request)).await;
        gone_is_done(done.map(drop))
    }

    async fn list_containers(
        &self,
        labels: BTreeMap<String, String>,
    ) -> Result<Vec<v1::Container>> {
        let filter = v1::ContainerFilter {
            label_selector: labels.into_iter().collect(),
            ..Default::default()
        };
        let request = v1::ListContainersRequest { filter: Some(filter) };
        let mut runtime = self.runtime.clone();
        Ok(call("ListContainers", LOOK, runtime.list_containers(request)).await?.containers)
    }

    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus> {
        let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let mut runtime = self.runtime.clone();
        let response = call("ContainerStatus", LOOK, runtime.container_status(request)).await?;
        response.status.ok_or_else(|| Error::NotFound(id.to_owned()))
    }

    async fn update_resources(
        &self,
        id: &str,
        resources: v1::LinuxContainerResources,
    ) -> Result<()> {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(resources),
            ..Default::default()
        };
        let mut runtime = self.runtime.clone();
        let update = runtime.update_container_resources(request);
        call("UpdateContainerResources", CHANGE, update).await.map(drop)
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        let request = v1::ReopenContainerLogRequest { container_id: id.to_owned() };
        let mut runtime = self.runtime.clone();
        call("ReopenContainerLog", LOOK, runtime.reopen_container_log(request)).await.map(drop)
    }

    async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<v1::ExecSyncResponse> {
        let request = v1::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command,
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        };
        let mut runtime = self.runtime.clone();
        call("ExecSync", timeout + MARGIN, runtime.exec_sync(request)).await
    }

    async fn exec(&self, request: v1::ExecRequest) -> Result<String> {
        Ok(call("Exec", LOOK, self.runtime.clone().exec(request)).await?.url)
    }

    async fn attach(&self, request: v1::AttachRequest) -> Result<String> {
        Ok(call("Attach", LOOK, self.runtime.clone().attach(request)).await?.url)
    }

    async fn port_forward(&self, request: v1::PortForwardRequest) -> Result<String> {
        Ok(call("PortForward", LOOK, self.runtime.clone().port_forward(request)).await?.url)
    }

    async fn list_stats(&self) -> Result<Vec<v1::ContainerStats>> {
        let request = v1::ListContainerStatsRequest { filter: None };
        let mut runtime = self.runtime.clone();
        Ok(call("ListContainerStats", LOOK, runtime.list_container_stats(request)).await?.stats)
    }

    async fn events(&self) -> Result<EventStream> {
        let mut runtime = self.runtime.clone();
        let request = v1::GetEventsRequest {};
        let stream =
            call("GetContainerEvents", LOOK, runtime.get_container_events(request)).await?;
        Ok(stream
            .map(|event| event.map_err(|status| Error::from_status("GetContainerEvents", &status)))
            .boxed())
    }

    async fn list_images(&self) -> Result<Vec<v1::Image>> {
        let request = v1::ListImagesRequest { filter: None };
        Ok(call("ListImages", LOOK, self.images.clone().list_images(request)).await?.images)
    }

    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>> {
        let request = v1::ImageStatusRequest { image: Some(spec(image)), verbose: false };
        match call("ImageStatus", LOOK, self.images.clone().image_status(request)).await {
            Ok(response) => Ok(response.image),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn pull_image(&self, image: &str, auth: Option<v1::AuthConfig>) -> Result<String> {
        let request = v1::PullImageRequest { image: Some(spec(image)), auth, sandbox_config: None };
        Ok(call("PullImage", PULL, self.images.clone().pull_image(request)).await?.image_ref)
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let request = v1::RemoveImageRequest { image: Some(spec(image)) };
        let mut images = self.images.clone();
        gone_is_done(call("RemoveImage", CHANGE, images.remove_image(request)).await.map(drop))
    }

    async fn image_fs(&self) -> Result<Vec<v1::FilesystemUsage>> {
        let request = v1::ImageFsInfoRequest {};
        let mut images = self.images.clone();
        Ok(call("ImageFsInfo", LOOK, images.image_fs_info(request)).await?.image_filesystems)
    }
}

fn spec(image: &str) -> v1::ImageSpec {
    v1::ImageSpec { image: image.to_owned(), ..Default::default() }
}
