//! What to do next about a pod: specification and runtime state in, actions out.
//!
//! Pure: no clock, no runtime, no API. The worker asks again after every action that changed something,
//! so a plan holds only what is certain now.
//!
//! # Invariants
//! - An init container starts only after all before it have ended well (or, as sidecars, started).
//! - Nothing starts outside a ready sandbox.
//! - A plan for a finished pod starts nothing.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::backoff::Backoff;
use crate::pod::{self, Role};
use crate::resize::{Changes, Update};
use crate::view::{ContainerView, PodView, SandboxView, State};

/// One step towards the specification.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Stop a sandbox that is of no use any more, with everything in it.
    StopSandbox { id: String },
    /// Make a sandbox; what follows starts in it.
    CreateSandbox { attempt: u32 },
    /// Stop one container; a later plan starts it again if the policy wants it.
    Stop { id: String, name: String, why: Why },
    /// Forget a container that has ended.
    Remove { id: String },
    /// Forget a sandbox that has ended and holds nothing.
    RemoveSandbox { id: String },
    /// Give running containers other limits.
    Resize { updates: Vec<Update> },
    /// Create and start a container.
    Start { name: String, restarts: u32 },
}

/// Why a running container is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// A probe says so; its words.
    Unhealthy(String),
    /// The specification names another image now.
    Changed,
    /// The runtime lost track of it.
    Unknown,
    /// It is to have other limits, and its policy says that it starts with them.
    Resized,
}

/// Why a container is not being started right now: reason and message of its waiting state.
pub(crate) type Waiting = (String, String);

/// What to do, what not to do yet, and when to look again.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) waiting: BTreeMap<String, Waiting>,
    pub(crate) wake_ms: Option<u64>,
    /// All work is done, or failed for good: the pod is to be brought down.
    pub(crate) is_finished: bool,
}

/// What probes say of running containers, by container id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    /// Liveness or startup failed; the message.
    pub(crate) failed: BTreeMap<String, String>,
    /// The startup probe has not passed yet.
    pub(crate) unstarted: BTreeSet<String>,
}

/// Everything a plan is made from.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) view: &'a PodView,
    pub(crate) health: &'a Health,
    /// What a resize asks of running containers.
    pub(crate) changes: &'a Changes,
    pub(crate) backoff: &'a Backoff,
    pub(crate) now_ms: u64,
}

/// Whether no container of the pod will run again by itself.
pub(crate) fn is_finished(pod: &Pod, view: &PodView) -> bool {
    let newest = view.sandboxes.first().map(|sandbox| sandbox.id.as_str()).unwrap_or_default();
    let mut mains = 0;
    for (role, container) in pod::containers(pod) {
        match role {
            Role::Init => {
                let failed = matches!(view.latest_in(newest, &container.name).map(|it| &it.state),
                    Some(State::Exited { code, .. })
                        if *code != 0 && !pod::starts_again(pod, container, *code));
                if failed {
                    return true;
                }
            }
            Role::Sidecar => {}
            Role::Main => {
                mains += 1;
                match view.latest(&container.name).map(|found| &found.state) {
                    Some(State::Exited { code, .. })
                        if !pod::starts_again(pod, container, *code) => {}
                    _ => return false,
                }
            }
        }
    }
    mains > 0
}

/// The next steps for a pod that is to run.
pub(crate) fn plan(inputs: &Inputs<'_>) -> Plan {
    let mut planner = Planner { inputs, plan: Plan::default() };
    if inputs.changes.awaited.is_empty() && is_finished(inputs.pod, inputs.view) {
        planner.plan.is_finished = true;
        return planner.plan;
    }
    let current = inputs.view.ready_sandbox();
    planner.stop_other_sandboxes(current);
    match current {
        None => planner.new_sandbox(),
        Some(sandbox) => planner.within(sandbox),
    }
    planner.forget_the_dead();
    planner.plan
}

struct Planner<'a> {
    inputs: &'a Inputs<'a>,
    plan: Plan,
}

impl Planner<'_> {
    fn push(&mut self, action: Action) {
        self.plan.actions.push(action);
    }

    fn stop_other_sandboxes(&mut self, current: Option<&SandboxView>) {
        let view = self.inputs.view;
        for sandbox in &view.sandboxes {
            let is_current = current.is_some_and(|current| current.id == sandbox.id);
            let holds = view.running().any(|container| container.sandbox_id == sandbox.id);
            if !is_current && (sandbox.is_ready || holds) {
                self.push(Action::StopSandbox { id: sandbox.id.clone() });
            }
        }
    }

    /// A sandbox, and in it what may start first.
    fn new_sandbox(&mut self) {
        let attempt = self.inputs.view.sandboxes.first().map_or(0, |newest| newest.attempt + 1);
        self.push(Action::CreateSandbox { attempt });
        let first_init = pod::containers(self.inputs.pod).find(|(role, _)| *role != Role::Main);
        match first_init {
            Some((_, container)) => self.start(container),
            None => self.mains(None),
        }
    }

    fn within(&mut self, sandbox: &SandboxView) {
        let is_initialized = pod::containers(self.inputs.pod).any(|(role, container)| {
            role == Role::Main && self.inputs.view.latest_in(&sandbox.id, &container.name).is_some()
        });
        for (role, container) in pod::containers(self.inputs.pod) {
            let may_pass = match role {
                Role::Main => continue,
                Role::Init => is_initialized || self.init(sandbox, container),
                Role::Sidecar => self.sidecar(sandbox, container) || is_initialized,
            };
            if !may_pass {
                return;
            }
        }
        self.mains(Some(sandbox));
        if !self.inputs.changes.updates.is_empty() {
            self.push(Action::Resize { updates: self.inputs.changes.updates.clone() });
        }
    }

    /// Whether the init container has ended well; if not, what brings it there.
    fn init(&mut self, sandbox: &SandboxView, container: &Container) -> bool {
        match self.inputs.view.latest_in(&sandbox.id, &container.name) {
            None => self.start(container),
            Some(found) => match &found.state {
                State::Exited { code: 0, .. } => return true,
                State::Exited { .. } => self.start(container),
                State::Running => {}
                State::Created | State::Unknown => self.replace(found, container),
            },
        }
        false
    }

    /// Whether the sidecar has started; if not, what brings it there.
    fn sidecar(&mut self, sandbox: &SandboxView, container: &Container) -> bool {
        match self.inputs.view.latest_in(&sandbox.id, &container.name) {
            None => self.start(container),
            Some(found) => match &found.state {
                State::Running if self.stop_if_unfit(found, container) => {}
                State::Running => return !self.inputs.health.unstarted.contains(&found.id),
                State::Exited { .. } => self.start(container),
                State::Created | State::Unknown => self.replace(found, container),
            },
        }
        false
    }

    fn mains(&mut self, sandbox: Option<&SandboxView>) {
        for (role, container) in pod::containers(self.inputs.pod) {
            if role != Role::Main {
                continue;
            }
            let starts_again = |code: i32| pod::starts_again(self.inputs.pod, container, code);
            let Some(found) = self.inputs.view.latest(&container.name) else {
                self.start(container);
                continue;
            };
            let is_awaited = self.inputs.changes.awaited.contains(&container.name);
            let is_here = sandbox.is_some_and(|sandbox| sandbox.id == found.sandbox_id);
            match &found.state {
                State::Running if is_here => drop(self.stop_if_unfit(found, container)),
                // It goes down with its sandbox, and is looked at again then.
                State::Running => {}
                State::Exited { code, .. } if !starts_again(*code) && !is_awaited => {}
                State::Exited { .. } => self.start(container),
                State::Created | State::Unknown => self.replace(found, container),
            }
        }
    }

    fn stop_if_unfit(&mut self, found: &ContainerView, container: &Container) -> bool {
        let why = match self.inputs.health.failed.get(&found.id) {
            Some(message) => Why::Unhealthy(message.clone()),
            None if found.hash != pod::container_hash(container) => Why::Changed,
            None if self.inputs.changes.restarts.contains(&found.id) => Why::Resized,
            None => return false,
        };
        self.push(Action::Stop { id: found.id.clone(), name: found.name.clone(), why });
        true
    }

    /// A container that was created and never started, or that the runtime lost: away with it.
    fn replace(&mut self, found: &ContainerView, container: &Container) {
        if found.state == State::Unknown {
            let name = found.name.clone();
            self.push(Action::Stop { id: found.id.clone(), name, why: Why::Unknown });
        }
        self.push(Action::Remove { id: found.id.clone() });
        self.start(container);
    }

    /// Starts a container, or says how long its back-off still lasts.
    fn start(&mut self, container: &Container) {
        let Inputs { pod, view, backoff, now_ms, .. } = self.inputs;
        let latest = view.latest(&container.name);
        if let Some(State::Exited { finished_ms, .. }) = latest.map(|found| &found.state) {
            let remaining_ms = backoff.remaining_ms(&container.name, *finished_ms, *now_ms);
            if remaining_ms > 0 {
                let seconds = backoff.delay_ms(&container.name) / 1_000;
                let message = format!(
                    "back-off {} restarting failed container={} pod={}_{}({})",
                    go_duration(seconds),
                    container.name,
                    pod::name(pod),
                    pod::namespace(pod),
                    pod::uid(pod)
                );
                let waiting = ("CrashLoopBackOff".to_owned(), message);
                self.plan.waiting.insert(container.name.clone(), waiting);
                let wake_ms = now_ms + remaining_ms;
                self.plan.wake_ms = Some(self.plan.wake_ms.map_or(wake_ms, |at| at.min(wake_ms)));
                return;
            }
        }
        let restarts = match latest {
            Some(found) if found.state == State::Created => found.restarts,
            Some(found) => found.restarts + 1,
            None => restarts_in_status(pod, &container.name),
        };
        self.push(Action::Start { name: container.name.clone(), restarts });
    }

    /// One ended container of each name stays, for its log and its exit code.
    fn forget_the_dead(&mut self) {
        let view = self.inputs.view;
        let mut seen = BTreeSet::new();
        for container in &view.containers {
            let is_dead = matches!(container.state, State::Exited { .. });
            if is_dead && !seen.insert(container.name.as_str()) {
                self.push(Action::Remove { id: container.id.clone() });
            }
        }
        for sandbox in view.sandboxes.iter().skip(1).filter(|sandbox| !sandbox.is_ready) {
            let holds = view.containers.iter().any(|found| found.sandbox_id == sandbox.id);
            if !holds {
                self.push(Action::RemoveSandbox { id: sandbox.id.clone() });
            }
        }
    }
}

/// The restart count of a container whose predecessors the runtime has forgotten.
fn restarts_in_status(pod: &Pod, name: &str) -> u32 {
    let Some(status) = &pod.status else { return 0 };
    let lists = [&status.container_statuses, &status.init_container_statuses];
    let mut all = lists.into_iter().flatten().flatten();
    let known = all.find(|found| found.name == name && found.container_id.is_some());
    known.map_or(0, |found| u32::try_from(found.restart_count).unwrap_or_default() + 1)
}

/// Seconds as Go prints a duration: `10s`, `2m40s`, `5m0s`.
fn go_duration(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests;
