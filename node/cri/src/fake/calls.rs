//! What the runtime in memory answers, call by call.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::{Container, Fake, Sandbox, name_of, running};
use crate::error::{Error, Result};
use crate::runtime::{EventStream, Runtime};
use crate::v1::{self, ContainerState, PodSandboxState};

fn state_of(container: &Container) -> ContainerState {
    match (container.started_ns, &container.finished) {
        (_, Some(_)) => ContainerState::ContainerExited,
        (0, None) => ContainerState::ContainerCreated,
        (_, None) => ContainerState::ContainerRunning,
    }
}

fn has_labels<'a>(
    mut found: impl FnMut(&str) -> Option<&'a String>,
    wanted: &BTreeMap<String, String>,
) -> bool {
    wanted.iter().all(|(key, value)| found(key) == Some(value))
}

fn sandbox_state(sandbox: &Sandbox) -> i32 {
    let state = if sandbox.ready {
        PodSandboxState::SandboxReady
    } else {
        PodSandboxState::SandboxNotready
    };
    state.into()
}

#[async_trait]
impl Runtime for Fake {
    async fn version(&self) -> Result<v1::VersionResponse> {
        self.with(|_, _| {
            Ok(v1::VersionResponse {
                version: "0.1.0".to_owned(),
                runtime_name: "fake".to_owned(),
                runtime_version: "1.0.0".to_owned(),
                runtime_api_version: "v1".to_owned(),
            })
        })
    }

    async fn status(&self) -> Result<v1::RuntimeStatus> {
        let condition = |kind: &str| v1::RuntimeCondition {
            r#type: kind.to_owned(),
            status: true,
            ..Default::default()
        };
        self.with(|_, _| {
            Ok(v1::RuntimeStatus {
                conditions: vec![condition("RuntimeReady"), condition("NetworkReady")],
            })
        })
    }

    async fn run_sandbox(&self, config: v1::PodSandboxConfig, _handler: &str) -> Result<String> {
        self.with(|state, now| {
            let id = state.next_id("sandbox-");
            let ip = format!("10.244.{}.{}", 100 + (state.made >> 8), state.made & 0xff);
            let name = config.metadata.as_ref().map_or("", |found| found.name.as_str());
            state.calls.push(format!("run_sandbox {name}"));
            state
                .sandboxes
                .insert(id.clone(), Sandbox { config, ready: true, created_ns: now, ip });
            Ok(id)
        })
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        self.with(|state, now| {
            let Some(sandbox) = state.sandboxes.get_mut(id) else { return Ok(()) };
            sandbox.ready = false;
            let name = sandbox.config.metadata.as_ref().map_or("", |found| found.name.as_str());
            state.calls.push(format!("stop_sandbox {name}"));
            for container in state.containers.values_mut() {
                if container.sandbox_id == id && running(container) {
                    container.finished = Some((now, 137, String::new()));
                }
            }
            Ok(())
        })
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        self.with(|state, _| {
            state.containers.retain(|_, container| container.sandbox_id != id);
            state.sandboxes.remove(id);
            Ok(())
        })
    }

    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus> {
        self.with(|state, _| {
            let found = state.sandboxes.get(id);
            let sandbox = found.ok_or_else(|| Error::NotFound(format!("sandbox {id}")))?;
            let network =
                v1::PodSandboxNetworkStatus { ip: sandbox.ip.clone(), ..Default::default() };
            Ok(v1::PodSandboxStatus {
                id: id.to_owned(),
                metadata: sandbox.config.metadata.clone(),
                state: sandbox_state(sandbox),
                created_at: sandbox.created_ns,
                network: Some(network),
                labels: sandbox.config.labels.clone(),
                annotations: sandbox.config.annotations.clone(),
                ..Default::default()
            })
        })
    }

    async fn list_sandboxes(
        &self,
        labels: BTreeMap<String, String>,
    ) -> Result<Vec<v1::PodSandbox>> {
        self.with(|state, _| {
            let found = state.sandboxes.iter();
            let matching =
                found.filter(|(_, found)| has_labels(|key| found.config.labels.get(key), &labels));
            Ok(matching
                .map(|(id, sandbox)| v1::PodSandbox {
                    id: id.clone(),
                    metadata: sandbox.config.metadata.clone(),
                    state: sandbox_state(sandbox),
                    created_at: sandbox.created_ns,
                    labels: sandbox.config.labels.clone(),
                    annotations: sandbox.config.annotations.clone(),
                    ..Default::default()
                })
                .collect())
        })
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        _sandbox: v1::PodSandboxConfig,
    ) -> Result<String> {
        self.with(|state, now| {
            if !state.sandboxes.contains_key(sandbox_id) {
                return Err(Error::NotFound(format!("sandbox {sandbox_id}")));
            }
            let id = state.next_id("container-");
            state.calls.push(format!("create {}", name_of(&config)));
            let container = Container {
                sandbox_id: sandbox_id.to_owned(),
                config,
                created_ns: now,
                started_ns: 0,
                finished: None,
            };
            state.containers.insert(id.clone(), container);
            Ok(id)
        })
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let behaviour = self.behaviour_of(id)?;
        tokio::time::sleep(behaviour.start_delay).await;
        self.with(|state, now| {
            let container = state.container_mut(id)?;
            let call = format!("start {}", name_of(&container.config));
            if let Some(message) = behaviour.start_error {
                container.finished = Some((now, 128, "StartError".to_owned()));
                return Err(Error::Failed(message));
            }
            container.started_ns = now;
            state.calls.push(call);
            Ok(())
        })
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let behaviour = match self.behaviour_of(id) {
            Err(Error::NotFound(_)) => return Ok(()),
            other => other?,
        };
        let alive = self.with(|state, _| Ok(running(state.container(id)?)))?;
        let obeys = behaviour.term_delay <= grace && !grace.is_zero();
        if alive {
            tokio::time::sleep(behaviour.term_delay.min(grace)).await;
        }
        self.with(|state, now| {
            let Some(container) = state.containers.get_mut(id) else { return Ok(()) };
            let call = format!("stop {}", name_of(&container.config));
            if running(container) {
                container.finished = Some((now, if obeys { 0 } else { 137 }, String::new()));
                state.calls.push(call);
            }
            Ok(())
        })
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.with(|state, _| {
            state.containers.remove(id);
            Ok(())
        })
    }

    async fn list_containers(
        &self,
        labels: BTreeMap<String, String>,
    ) -> Result<Vec<v1::Container>> {
        self.with(|state, _| {
            let found = state.containers.iter();
            let matching =
                found.filter(|(_, found)| has_labels(|key| found.config.labels.get(key), &labels));
            Ok(matching
                .map(|(id, container)| v1::Container {
                    id: id.clone(),
                    pod_sandbox_id: container.sandbox_id.clone(),
                    metadata: container.config.metadata.clone(),
                    image: container.config.image.clone(),
                    state: state_of(container).into(),
                    created_at: container.created_ns,
                    labels: container.config.labels.clone(),
                    annotations: container.config.annotations.clone(),
                    ..Default::default()
                })
                .collect())
        })
    }

    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus> {
        self.with(|state, _| {
            let container = state.container(id)?;
            let (finished_at, exit_code, reason) = match &container.finished {
                None => (0, 0, String::new()),
                Some((at, 0, reason)) if reason.is_empty() => (*at, 0, "Completed".to_owned()),
                Some((at, code, reason)) if reason.is_empty() => (*at, *code, "Error".to_owned()),
                Some((at, code, reason)) => (*at, *code, reason.clone()),
            };
            let image = container.config.image.clone().unwrap_or_default();
            let resources = container.config.linux.clone().and_then(|linux| linux.resources);
            Ok(v1::ContainerStatus {
                id: id.to_owned(),
                metadata: container.config.metadata.clone(),
                state: state_of(container).into(),
                created_at: container.created_ns,
                started_at: container.started_ns,
                finished_at,
                exit_code,
                image_ref: image.image.clone(),
                image: Some(image),
                reason,
                labels: container.config.labels.clone(),
                annotations: container.config.annotations.clone(),
                resources: resources.map(|linux| v1::ContainerResources {
                    linux: Some(linux),
                    ..Default::default()
                }),
                ..Default::default()
            })
        })
    }

    async fn update_resources(
        &self,
        id: &str,
        resources: v1::LinuxContainerResources,
    ) -> Result<()> {
        self.with(|state, _| {
            let container = state.container_mut(id)?;
            if !running(container) {
                return Err(Error::Failed(format!("container {id} is not running")));
            }
            let call = format!("update {}", name_of(&container.config));
            container.config.linux.get_or_insert_default().resources = Some(resources);
            state.calls.push(call);
            Ok(())
        })
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        self.with(|state, _| state.container(id).map(drop))
    }

    async fn exec_sync(
        &self,
        id: &str,
        _command: Vec<String>,
        _timeout: Duration,
    ) -> Result<v1::ExecSyncResponse> {
        let exit_code = self.behaviour_of(id)?.exec_code;
        self.with(|state, _| match running(state.container(id)?) {
            true => Ok(v1::ExecSyncResponse { exit_code, ..Default::default() }),
            false => Err(Error::Failed(format!("container {id} is not running"))),
        })
    }

    async fn exec(&self, _request: v1::ExecRequest) -> Result<String> {
        Err(Error::Unimplemented("Exec".to_owned()))
    }

    async fn attach(&self, _request: v1::AttachRequest) -> Result<String> {
        Err(Error::Unimplemented("Attach".to_owned()))
    }

    async fn port_forward(&self, _request: v1::PortForwardRequest) -> Result<String> {
        Err(Error::Unimplemented("PortForward".to_owned()))
    }

    async fn list_stats(&self) -> Result<Vec<v1::ContainerStats>> {
        self.with(|_, _| Ok(Vec::new()))
    }

    async fn events(&self) -> Result<EventStream> {
        Err(Error::Unimplemented("GetContainerEvents".to_owned()))
    }

    async fn list_images(&self) -> Result<Vec<v1::Image>> {
        self.with(|state, _| Ok(state.images.values().cloned().collect()))
    }

    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>> {
        self.with(|state, _| Ok(state.images.get(image).cloned()))
    }

    async fn pull_image(&self, image: &str, _auth: Option<v1::AuthConfig>) -> Result<String> {
        self.with(|state, _| {
            if image.contains("missing") {
                return Err(Error::Failed(format!("failed to resolve reference {image:?}")));
            }
            let made = v1::Image {
                id: format!("sha256:{image}"),
                repo_tags: vec![image.to_owned()],
                ..Default::default()
            };
            state.images.insert(image.to_owned(), made);
            state.calls.push(format!("pull {image}"));
            Ok(image.to_owned())
        })
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        self.with(|state, _| {
            state.images.remove(image);
            Ok(())
        })
    }

    async fn image_fs(&self) -> Result<Vec<v1::FilesystemUsage>> {
        self.with(|_, _| Ok(Vec::new()))
    }
}
