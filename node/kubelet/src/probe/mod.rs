//! Probes: whether containers have started, live, and are ready, asked again and again.
//!
//! One task for each probe of a running container, by container id, so that a result never outlives
//! the container that it was about.
//!
//! # Invariants
//! - Liveness and readiness are not asked before startup has passed.
//! - A container that was ready before the kubelet was restarted stays so until a probe says otherwise.

mod counter;
mod grpc;
pub(crate) mod handler;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use node_cri::SharedRuntime;
use parking_lot::Mutex;
use store_env::clock::SharedClock;
use store_env::task::Crew;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::events::Recorder;
use crate::pod;
use crate::view::{ContainerView, PodView};
use counter::Counter;

/// What a probe is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// Container id and kind.
type Key = (String, Kind);

/// A result, and for a bad one its words.
type Outcome = Result<(), String>;

#[derive(Debug, Default)]
struct State {
    outcomes: BTreeMap<Key, Outcome>,
    tasks: BTreeMap<Key, (String, CancellationToken)>,
}

/// All probes of a node.
#[derive(Debug)]
pub(crate) struct Probes {
    runtime: SharedRuntime,
    clock: SharedClock,
    events: Recorder,
    state: Arc<Mutex<State>>,
    crew: Mutex<Crew>,
}

/// What one probe task works with.
struct Task {
    key: Key,
    probe: Probe,
    pod: Arc<Pod>,
    container: Container,
    ip: IpAddr,
    started_ms: u64,
    runtime: SharedRuntime,
    clock: SharedClock,
    events: Recorder,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Probes {
    pub(crate) fn new(runtime: SharedRuntime, clock: SharedClock, events: Recorder) -> Self {
        Self { runtime, clock, events, state: Arc::default(), crew: Mutex::default() }
    }

    /// Starts the probes of the pod's running containers and ends those of all others of the pod.
    pub(crate) fn follow(
        &self,
        pod: &Arc<Pod>,
        view: &PodView,
        ip: Option<IpAddr>,
        changed: &Arc<Notify>,
    ) {
        let uid = pod::uid(pod);
        let mut wanted: BTreeMap<Key, (&ContainerView, &Container, &Probe)> = BTreeMap::new();
        for found in view.running() {
            let Some((_, container)) = pod::container(pod, &found.name) else { continue };
            for kind in Kind::ALL {
                if let Some(probe) = kind.of(container) {
                    wanted.insert((found.id.clone(), kind), (found, container, probe));
                }
            }
        }
        let mut state = self.state.lock();
        let stale: Vec<Key> = state
            .tasks
            .iter()
            .filter(|(key, (owner, _))| owner == uid && !wanted.contains_key(key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in stale {
            if let Some((_, token)) = state.tasks.remove(&key) {
                token.cancel();
            }
            state.outcomes.remove(&key);
        }
        let Some(ip) = ip else { return };
        for (key, (found, container, probe)) in wanted {
            if state.tasks.contains_key(&key) {
                continue;
            }
            let token = CancellationToken::new();
            state.tasks.insert(key.clone(), (uid.to_owned(), token.clone()));
            self.carry_over(pod, &key, &mut state);
            let task = Task {
                key,
                probe: probe.clone(),
                pod: pod.clone(),
                container: container.clone(),
                ip,
                started_ms: found.started_ms,
                runtime: self.runtime.clone(),
                clock: self.clock.clone(),
                events: self.events.clone(),
                state: self.state.clone(),
                changed: changed.clone(),
            };
            let run = async move {
                // The task ends by itself or is told to; both are fine.
                let _ = token.run_until_cancelled(task.run()).await;
            };
            self.crew.lock().spawn(run);
        }
    }

    /// What the API's status says of this very container was true when the kubelet went away.
    fn carry_over(&self, pod: &Pod, key: &Key, state: &mut State) {
        let Some(status) = &pod.status else { return };
        let lists = [&status.container_statuses, &status.init_container_statuses];
        let mut all = lists.into_iter().flatten().flatten();
        let known = all.find(|known| {
            known.container_id.as_ref().is_some_and(|id| id.ends_with(&format!("//{}", key.0)))
        });
        let Some(known) = known else { return };
        let was_well = match key.1 {
            Kind::Startup => known.started == Some(true),
            Kind::Readiness => known.ready,
            Kind::Liveness => false,
        };
        if was_well {
            state.outcomes.entry(key.clone()).or_insert(Ok(()));
        }
    }

    /// Ends all probes of a pod.
    pub(crate) fn forget(&self, uid: &str) {
        let mut state = self.state.lock();
        let State { outcomes, tasks } = &mut *state;
        tasks.retain(|key, (owner, token)| {
            let stays = owner != uid;
            if !stays {
                token.cancel();
                outcomes.remove(key);
            }
            stays
        });
    }

    /// Whether a running container has started: its startup probe has passed, or it has none.
    pub(crate) fn has_started(&self, container: &Container, id: &str) -> bool {
        container.startup_probe.is_none() || self.passed(id, Kind::Startup)
    }

    /// Whether a running container is ready.
    pub(crate) fn is_ready(&self, container: &Container, id: &str) -> bool {
        let asked = container.readiness_probe.is_none() || self.passed(id, Kind::Readiness);
        asked && self.has_started(container, id)
    }

    fn passed(&self, id: &str, kind: Kind) -> bool {
        matches!(self.state.lock().outcomes.get(&(id.to_owned(), kind)), Some(Ok(())))
    }

    /// Why a running container is to be stopped, if a probe says so.
    pub(crate) fn failure(&self, container: &str, id: &str) -> Option<String> {
        let state = self.state.lock();
        [Kind::Startup, Kind::Liveness].into_iter().find_map(|kind| {
            let outcome = state.outcomes.get(&(id.to_owned(), kind))?;
            let kind = kind.name().to_lowercase();
            outcome
                .is_err()
                .then(|| format!("Container {container} failed {kind} probe, will be restarted"))
        })
    }
}

fn seconds(value: Option<i32>, otherwise: u64) -> u64 {
    value.and_then(|value| u64::try_from(value).ok()).unwrap_or(otherwise)
}

impl Task {
    async fn run(self) {
        let period = Duration::from_secs(seconds(self.probe.period_seconds, 10).max(1));
        let delay_ms = seconds(self.probe.initial_delay_seconds, 0) * 1_000;
        let age_ms = self.clock.unix_ms().saturating_sub(self.started_ms);
        tokio::time::sleep(Duration::from_millis(delay_ms.saturating_sub(age_ms))).await;
        let mut counter = Counter::new(self.probe.success_threshold, self.probe.failure_threshold);
        loop {
            if !self.waits_for_startup() {
                let verdict = self.look().await;
                if let Some(is_well) = counter.take(verdict.is_ok()) {
                    self.record(if is_well { Ok(()) } else { verdict });
                }
                let is_over = matches!(
                    (self.key.1, self.outcome()),
                    (Kind::Startup, Some(_)) | (Kind::Liveness, Some(Err(_)))
                );
                if is_over {
                    return;
                }
            }
            let pause = if self.waits_for_startup() {
                period.min(Duration::from_millis(500))
            } else {
                period
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        self.state.lock().outcomes.get(&self.key).cloned()
    }

    fn waits_for_startup(&self) -> bool {
        let startup = (self.key.0.clone(), Kind::Startup);
        self.key.1 != Kind::Startup
            && self.container.startup_probe.is_some()
            && !matches!(self.state.lock().outcomes.get(&startup), Some(Ok(())))
    }

    fn record(&self, outcome: Outcome) {
        let before = self.state.lock().outcomes.insert(self.key.clone(), outcome.clone());
        if before.map(|before| before.is_ok()) != Some(outcome.is_ok()) {
            self.changed.notify_one();
        }
    }

    async fn look(&self) -> Outcome {
        let timeout = Duration::from_secs(seconds(self.probe.timeout_seconds, 1).max(1));
        let probe = &self.probe;
        let verdict = if let Some(action) = &probe.exec {
            let command = action.command.clone().unwrap_or_default();
            handler::exec(self.runtime.as_ref(), &self.key.0, &command, timeout).await
        } else if let Some(action) = &probe.http_get {
            handler::http(&self.container, action, self.ip, timeout).await
        } else if let Some(action) = &probe.tcp_socket {
            match handler::port(&self.container, &action.port) {
                Ok(port) => handler::tcp(self.ip, port, timeout).await,
                Err(error) => Err(error),
            }
        } else if let Some(action) = &probe.grpc {
            grpc::check(action, self.ip, timeout).await
        } else {
            Ok(())
        };
        if let Err(message) = &verdict {
            let text = format!("{} probe failed: {message}", self.key.1.name());
            self.events.warning(&self.pod, Some(&self.container.name), "Unhealthy", text);
        }
        verdict
    }
}
