//! Pending, Running, Succeeded or Failed: one word for a whole pod.

use k8s_openapi::api::core::v1::ContainerStatus;

use super::Inputs;
use super::container::Statuses;
use crate::pod::{self, Role};

#[derive(Debug, Default)]
struct Count {
    waiting: u32,
    running: u32,
    stopped: u32,
    succeeded: u32,
    /// Of the stopped ones, those that are to be started again.
    returning: u32,
}

/// Exit code of what the container was last seen to end with.
fn ended(status: &ContainerStatus) -> Option<i32> {
    Some(status.state.as_ref()?.terminated.as_ref()?.exit_code)
}

fn ended_before(status: &ContainerStatus) -> Option<i32> {
    Some(status.last_state.as_ref()?.terminated.as_ref()?.exit_code)
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

pub(super) fn phase(inputs: &Inputs<'_>, statuses: &Statuses) -> &'static str {
    // Not before nothing of it runs: others take its place then.
    if inputs.verdict.is_some() && inputs.is_terminated {
        return "Failed";
    }
    let mut is_initializing = false;
    let mut count = Count::default();
    for (role, container) in pod::containers(inputs.pod) {
        let Some(status) = statuses.of(&container.name) else { continue };
        match role {
            Role::Init => match ended(status).or_else(|| ended_before(status)) {
                Some(0) => {}
                Some(code) if !pod::starts_again(inputs.pod, container, code) => {
                    return "Failed";
                }
                _ => is_initializing = true,
            },
            Role::Sidecar => is_initializing |= !is_running(status) && ended(status).is_none(),
            Role::Main if is_running(status) => count.running += 1,
            Role::Main => match (ended(status), ended_before(status)) {
                (Some(code), _) | (None, Some(code)) => {
                    count.stopped += 1;
                    count.succeeded += u32::from(code == 0 && ended(status).is_some());
                    // One that was stopped for other limits comes back, whatever it ended with.
                    let is_resized = match ended(status) {
                        Some(_) => inputs.record.awaits(inputs.view, &container.name),
                        None => inputs.record.stopped.contains_key(&container.name),
                    };
                    let returns = is_resized || pod::starts_again(inputs.pod, container, code);
                    count.returning += u32::from(returns);
                }
                (None, None) => count.waiting += 1,
            },
        }
    }
    let began = count.running + count.stopped > 0;
    match count {
        _ if is_initializing && !began && !inputs.is_terminated => "Pending",
        Count { waiting, .. } if waiting > 0 && !inputs.is_terminated => "Pending",
        Count { running, .. } if running > 0 => "Running",
        Count { stopped, succeeded, returning, .. } => {
            let all_well = stopped == succeeded && stopped > 0;
            match inputs.is_terminated {
                true if all_well && count.waiting == 0 => "Succeeded",
                true => "Failed",
                false if stopped == 0 || returning > 0 => "Running",
                false if all_well => "Succeeded",
                false => "Failed",
            }
        }
    }
}
