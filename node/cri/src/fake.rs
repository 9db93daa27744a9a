//! A runtime in memory: sandboxes and containers that start, run, exit and stop, without processes.
//!
//! A node on it behaves like a node; only the work inside the containers is missing. Exits follow from
//! the clock when somebody looks, so there is no task to supervise and a paused clock is exact.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use store_env::clock::SharedClock;

use crate::error::{Error, Result};
use crate::runtime::{EventStream, Runtime};
use crate::v1::{self, ContainerState, PodSandboxState};

/// How a container ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// How long after its start.
    pub after: Duration,
    /// With which code.
    pub code: i32,
    /// `OOMKilled`, or empty for `Completed` and `Error`.
    pub reason: &'static str,
}

/// What containers of one name do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// How long `start_container` takes.
    pub start_delay: Duration,
    /// The error of `start_container`, when it fails.
    pub start_error: Option<String>,
    /// The end it comes to; `None` runs until it is stopped.
    pub exit: Option<Exit>,
    /// How long it takes to end on SIGTERM.
    pub term_delay: Duration,
    /// What `exec_sync` exits with.
    pub exec_code: i32,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            start_delay: Duration::ZERO,
            start_error: None,
            exit: None,
            term_delay: Duration::ZERO,
            exec_code: 0,
        }
    }
}

#[derive(Debug)]
struct Sandbox {
    config: v1::PodSandboxConfig,
    ready: bool,
    created_ns: i64,
    ip: String,
}

#[derive(Debug)]
struct Container {
    sandbox_id: String,
    config: v1::ContainerConfig,
    created_ns: i64,
    started_ns: i64,
    /// Finished at, code, reason.
    finished: Option<(i64, i32, String)>,
}

#[derive(Debug, Default)]
struct State {
    sandboxes: BTreeMap<String, Sandbox>,
    containers: BTreeMap<String, Container>,
    images: BTreeMap<String, v1::Image>,
    behaviours: BTreeMap<String, Behaviour>,
    down: bool,
    made: u64,
    calls: Vec<String>,
}

/// The runtime in memory.
#[derive(Debug)]
pub struct Fake {
    clock: SharedClock,
    state: Mutex<State>,
}

impl Fake {
    /// An empty runtime that pulls every image it is asked for, unless the name contains `missing`.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// From now on, containers named `container` do this.
    pub fn behave(&self, container: &str, behaviour: Behaviour) {
        self.state.lock().behaviours.insert(container.to_owned(), behaviour);
    }

    /// Makes every call fail as a dead runtime does, or work again.
    pub fn set_down(&self, down: bool) {
        self.state.lock().down = down;
    }

    /// Ends the running containers named `container` now.
    pub fn end(&self, container: &str, code: i32, reason: &str) {
        let now = self.now_ns();
        for (_, found) in self.state.lock().containers.iter_mut() {
            if name_of(&found.config) == container && running(found) {
                found.finished = Some((now, code, reason.to_owned()));
            }
        }
    }

    /// The changing calls so far, such as `start web` or `stop_sandbox web`.
    pub fn calls(&self) -> Vec<String> {
        self.state.lock().calls.clone()
    }

    fn now_ns(&self) -> i64 {
        i64::try_from(self.clock.unix_ms()).unwrap_or(i64::MAX / 1_000_000) * 1_000_000
    }

    /// The state as of now: what was due to exit has exited.
    fn with<T>(&self, work: impl FnOnce(&mut State, i64) -> Result<T>) -> Result<T> {
        let now = self.now_ns();
        let mut state = self.state.lock();
        if state.down {
            return Err(Error::Unreachable("the fake runtime is down".to_owned()));
        }
        let State { containers, behaviours, .. } = &mut *state;
        for container in containers.values_mut().filter(|found| running(found)) {
            let behaviour = behaviours.get(name_of(&container.config));
            if let Some(exit) = behaviour.and_then(|found| found.exit.as_ref()) {
                let at = container.started_ns + nanos(exit.after);
                if at <= now {
                    container.finished = Some((at, exit.code, exit.reason.to_owned()));
                }
            }
        }
        work(&mut state, now)
    }

    fn behaviour_of(&self, id: &str) -> Result<Behaviour> {
        self.with(|state, _| {
            let container = state.container(id)?;
            Ok(state.behaviours.get(name_of(&container.config)).cloned().unwrap_or_default())
        })
    }
}

impl State {
    fn next_id(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}{:012x}", self.made)
    }

    fn container(&self, id: &str) -> Result<&Container> {
        self.containers.get(id).ok_or_else(|| Error::NotFound(format!("container {id}")))
    }

    fn container_mut(&mut self, id: &str) -> Result<&mut Container> {
        self.containers.get_mut(id).ok_or_else(|| Error::NotFound(format!("container {id}")))
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn name_of(config: &v1::ContainerConfig) -> &str {
    config.metadata.as_ref().map_or("", |metadata| metadata.name.as_str())
}

fn running(container: &Container) -> bool {
    container.started_ns > 0 && container.finished.is_none()
}

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

#[cfg(test)]
mod tests {
    use store_env::clock::TokioClock;

    use super::*;

    async fn started(fake: &Fake, name: &str) -> String {
        let sandbox = fake.run_sandbox(v1::PodSandboxConfig::default(), "").await.unwrap();
        let metadata = v1::ContainerMetadata { name: name.to_owned(), attempt: 0 };
        let config = v1::ContainerConfig { metadata: Some(metadata), ..Default::default() };
        let id = fake.create_container(&sandbox, config, Default::default()).await.unwrap();
        fake.start_container(&id).await.unwrap();
        id
    }

    #[tokio::test(start_paused = true)]
    async fn container_exits_when_its_time_has_come() {
        let fake = Fake::new(TokioClock::shared(1_000));
        let exit = Exit { after: Duration::from_secs(5), code: 3, reason: "" };
        fake.behave("job", Behaviour { exit: Some(exit), ..Default::default() });
        let id = started(&fake, "job").await;
        tokio::time::advance(Duration::from_millis(4_999)).await;
        assert_eq!(fake.container_status(&id).await.unwrap().finished_at, 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        let status = fake.container_status(&id).await.unwrap();
        assert_eq!((status.finished_at, status.exit_code), (6_000_000_000, 3));
        assert_eq!(status.reason, "Error");
    }

    #[tokio::test(start_paused = true)]
    async fn container_deaf_to_sigterm_is_killed_after_the_grace_period() {
        let fake = Fake::new(TokioClock::shared(1_000));
        let term_delay = Duration::from_secs(60);
        fake.behave("deaf", Behaviour { term_delay, ..Default::default() });
        let (deaf, tame) = (started(&fake, "deaf").await, started(&fake, "tame").await);
        for (id, code) in [(deaf, 137), (tame, 0)] {
            fake.stop_container(&id, Duration::from_secs(30)).await.unwrap();
            assert_eq!(fake.container_status(&id).await.unwrap().exit_code, code);
        }
        assert_eq!(fake.calls().len(), 8);
    }
}
