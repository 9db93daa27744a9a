//! The statuses of a pod's containers: waiting, running or terminated, and what was before.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, ContainerUser, LinuxContainerUser,
};

use super::{Inputs, time};
use crate::pod::{self, Role};
use crate::resize;
use crate::view::{ContainerView, State};

/// The statuses, apart as the API wants them.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    pub(super) inits: Vec<ContainerStatus>,
    pub(super) mains: Vec<ContainerStatus>,
}

impl Statuses {
    pub(super) fn of(&self, name: &str) -> Option<&ContainerStatus> {
        self.inits.iter().chain(&self.mains).find(|status| status.name == name)
    }
}

pub(super) fn statuses(inputs: &Inputs<'_>) -> Statuses {
    let mut statuses = Statuses::default();
    for (role, container) in pod::containers(inputs.pod) {
        let status = one(inputs, role, container);
        match role {
            Role::Main => statuses.mains.push(status),
            Role::Init | Role::Sidecar => statuses.inits.push(status),
        }
    }
    statuses
}

fn one(inputs: &Inputs<'_>, role: Role, container: &Container) -> ContainerStatus {
    let image = container.image.clone().unwrap_or_default();
    let Some(latest) = inputs.view.latest(&container.name) else {
        return not_there(inputs, container);
    };
    let id = latest.id.as_str();
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: if latest.image.is_empty() { image } else { latest.image.clone() },
        image_id: latest.image_id.clone(),
        container_id: Some(format!("containerd://{id}")),
        restart_count: i32::try_from(latest.restarts).unwrap_or(i32::MAX),
        started: Some(inputs.started.contains(id)),
        resources: Some(resize::shown(container, latest, inputs.record)),
        allocated_resources: container.resources.as_ref().and_then(|found| found.requests.clone()),
        user: latest.user.as_ref().map(|(uid, gid, groups)| ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: *uid,
                gid: *gid,
                supplemental_groups: Some(groups.clone()),
            }),
        }),
        ..Default::default()
    };
    match &latest.state {
        State::Running => {
            // An init container is ready once it has ended well.
            status.ready = role != Role::Init && inputs.ready.contains(id);
            status.state = Some(running(latest));
            status.last_state = earlier(inputs, latest);
        }
        State::Exited { code, .. } => {
            status.ready = role == Role::Init && *code == 0;
            let ended = terminated(inputs, latest);
            match inputs.waiting.get(&container.name) {
                Some((reason, message)) if !inputs.is_terminated => {
                    status.state = Some(waiting(reason, Some(message)));
                    status.last_state = ended;
                }
                _ => {
                    status.state = ended;
                    status.last_state = earlier(inputs, latest);
                }
            }
        }
        State::Created | State::Unknown => {
            let (reason, message) = match inputs.waiting.get(&container.name) {
                Some((reason, message)) => (reason.as_str(), Some(message)),
                None => ("ContainerCreating", None),
            };
            status.state = Some(waiting(reason, message));
            status.last_state = earlier(inputs, latest);
        }
    }
    status
}

/// The runtime has nothing of this name: it was never started, or forgotten.
fn not_there(inputs: &Inputs<'_>, container: &Container) -> ContainerStatus {
    let lists = [&inputs.before.container_statuses, &inputs.before.init_container_statuses];
    let mut known = lists.into_iter().flatten().flatten();
    let before = known.find(|status| status.name == container.name);
    let ended = before
        .filter(|status| status.state.as_ref().is_some_and(|state| state.terminated.is_some()));
    if let Some(ended) = ended {
        return ended.clone();
    }
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        started: Some(false),
        restart_count: before.map_or(0, |status| status.restart_count),
        last_state: before.and_then(|status| status.last_state.clone()),
        ..Default::default()
    };
    let was_running =
        before.and_then(|status| Some((status, status.state.as_ref()?.running.as_ref()?)));
    if let Some((before, was)) = was_running.filter(|_| inputs.is_terminated) {
        // It ran, and is gone without a trace.
        status.container_id = before.container_id.clone();
        status.state = Some(ContainerState {
            terminated: Some(ContainerStateTerminated {
                exit_code: 137,
                reason: Some("ContainerStatusUnknown".to_owned()),
                message: Some(
                    "The container could not be located when the pod was terminated".to_owned(),
                ),
                started_at: was.started_at.clone(),
                finished_at: Some(time(inputs.now_ms)),
                container_id: before.container_id.clone(),
                ..Default::default()
            }),
            ..Default::default()
        });
        return status;
    }
    let inits = pod::spec(inputs.pod).init_containers.as_ref();
    let has_inits = inits.is_some_and(|inits| !inits.is_empty());
    let (reason, message) = match inputs.waiting.get(&container.name) {
        Some((reason, message)) => (reason.as_str(), Some(message)),
        // Of a pod with init containers, upstream says so of whatever has not started, first or last.
        None if has_inits => ("PodInitializing", None),
        None => ("ContainerCreating", None),
    };
    status.state = Some(waiting(reason, message));
    status
}

fn waiting(reason: &str, message: Option<&String>) -> ContainerState {
    let waiting = ContainerStateWaiting {
        reason: Some(reason.to_owned()),
        message: message.filter(|text| !text.is_empty()).cloned(),
    };
    ContainerState { waiting: Some(waiting), ..Default::default() }
}

fn running(container: &ContainerView) -> ContainerState {
    let running = ContainerStateRunning { started_at: Some(time(container.started_ms)) };
    ContainerState { running: Some(running), ..Default::default() }
}

/// The end of the container before `latest`.
fn earlier(inputs: &Inputs<'_>, latest: &ContainerView) -> Option<ContainerState> {
    let mut older = inputs.view.containers.iter();
    let ended = older.find(|found| {
        let is_ended = matches!(found.state, State::Exited { .. });
        found.name == latest.name && found.id != latest.id && is_ended
    });
    ended.and_then(|found| terminated(inputs, found))
}

fn terminated(inputs: &Inputs<'_>, container: &ContainerView) -> Option<ContainerState> {
    let State::Exited { code, reason, message, finished_ms } = &container.state else {
        return None;
    };
    let reason = match reason.as_str() {
        "OOMKilled" if *code != 137 => "Error",
        "" if *code == 0 => "Completed",
        "" => "Error",
        other => other,
    };
    let message = inputs.messages.get(&container.id).or(Some(message));
    let started_ms = if container.started_ms == 0 { *finished_ms } else { container.started_ms };
    let terminated = ContainerStateTerminated {
        exit_code: *code,
        reason: Some(reason.to_owned()),
        message: message.filter(|text| !text.is_empty()).cloned(),
        started_at: Some(time(started_ms)),
        finished_at: Some(time(*finished_ms)),
        container_id: Some(format!("containerd://{}", container.id)),
        ..Default::default()
    };
    Some(ContainerState { terminated: Some(terminated), ..Default::default() })
}
