//! A runtime in memory: sandboxes and containers that start, run, exit and stop, without processes.
//!
//! A node on it behaves like a node; only the work inside the containers is missing. Exits follow from
//! the clock when somebody looks, so there is no task to supervise and a paused clock is exact.

mod calls;

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use store_env::clock::SharedClock;

use crate::error::{Error, Result};
use crate::v1;

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

#[cfg(test)]
mod tests {
    use store_env::clock::TokioClock;

    use super::*;
    use crate::runtime::Runtime;

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
