//! The kubelet's conditions of a pod, with the moments at which they changed.

use k8s_openapi::api::core::v1::PodCondition;

use super::container::Statuses;
use super::{Inputs, time};
use crate::pod::{self, Role};

/// The conditions that a kubelet writes; all others are carried over.
pub(crate) const OWN_CONDITIONS: [&str; 7] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
];

/// Whether the kubelet writes conditions of this kind.
pub(crate) fn is_own(kind: &str) -> bool {
    OWN_CONDITIONS.contains(&kind)
}

/// A condition without its times: kind, whether true, reason, message.
type Verdict = (&'static str, bool, Option<&'static str>, Option<String>);

pub(super) fn conditions(
    inputs: &Inputs<'_>,
    phase: &str,
    statuses: &Statuses,
) -> Vec<PodCondition> {
    let containers_ready = containers_ready(inputs, phase, statuses);
    let verdicts: [Verdict; 5] = [
        ("PodReadyToStartContainers", inputs.view.ready_sandbox().is_some(), None, None),
        initialized(inputs, phase, statuses),
        ready(inputs, &containers_ready),
        containers_ready,
        ("PodScheduled", true, None, None),
    ];
    let before = inputs.before.conditions.iter().flatten();
    let foreign = before.filter(|found| !is_own(&found.type_)).cloned();
    let own = verdicts.into_iter().map(|verdict| dated(inputs, verdict));
    let is_over = matches!(phase, "Succeeded" | "Failed");
    let resize = resize(inputs).filter(|_| !is_over);
    own.chain(resize).chain(foreign).collect()
}

/// A resize that waits, and one that is under way. Neither is there without one.
fn resize(inputs: &Inputs<'_>) -> impl Iterator<Item = PodCondition> {
    let progress = inputs.progress;
    let pending = progress.pending.as_ref().map(|(reason, message, generation)| {
        ("PodResizePending", Some(*reason), Some(message.clone()), *generation)
    });
    let under_way = progress.under_way.as_ref().map(|(error, generation)| {
        let reason = error.as_ref().map(|_| "Error");
        ("PodResizeInProgress", reason, error.clone(), *generation)
    });
    pending.into_iter().chain(under_way).map(|(kind, reason, message, generation)| {
        let mut before = inputs.before.conditions.iter().flatten();
        let same = before.find(|found| found.type_ == kind && found.reason.as_deref() == reason);
        let since = same.and_then(|found| found.last_transition_time.clone());
        PodCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason: reason.map(str::to_owned),
            message,
            last_transition_time: since.or(Some(time(inputs.now_ms))),
            last_probe_time: None,
            observed_generation: generation,
        }
    })
}

fn dated(inputs: &Inputs<'_>, (kind, is_true, reason, message): Verdict) -> PodCondition {
    let status = if is_true { "True" } else { "False" };
    let before = inputs.before.conditions.iter().flatten().find(|found| found.type_ == kind);
    let since = before
        .filter(|found| found.status == status)
        .and_then(|found| found.last_transition_time.clone());
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.map(str::to_owned),
        message,
        last_transition_time: since.or(Some(time(inputs.now_ms))),
        last_probe_time: None,
        observed_generation: inputs.pod.metadata.generation,
    }
}

fn names(title: &str, names: &[&str]) -> Option<String> {
    Some(format!("{title}: [{}]", names.join(" ")))
}

fn initialized(inputs: &Inputs<'_>, phase: &str, statuses: &Statuses) -> Verdict {
    let mut incomplete = Vec::new();
    let mut began = false;
    for (role, container) in pod::containers(inputs.pod) {
        let Some(status) = statuses.of(&container.name) else { continue };
        let is_complete = match role {
            Role::Init => status.ready,
            Role::Sidecar => status.started == Some(true),
            Role::Main => {
                began |= status.container_id.is_some();
                true
            }
        };
        if !is_complete {
            incomplete.push(container.name.as_str());
        }
    }
    match phase {
        "Succeeded" => ("Initialized", true, Some("PodCompleted"), None),
        _ if incomplete.is_empty() || began => ("Initialized", true, None, None),
        _ => {
            let message = names("containers with incomplete status", &incomplete);
            ("Initialized", false, Some("ContainersNotInitialized"), message)
        }
    }
}

fn containers_ready(inputs: &Inputs<'_>, phase: &str, statuses: &Statuses) -> Verdict {
    let unready: Vec<&str> = pod::containers(inputs.pod)
        .filter(|(role, _)| *role != Role::Init)
        .map(|(_, container)| container.name.as_str())
        .filter(|name| !statuses.of(name).is_some_and(|status| status.ready))
        .collect();
    match phase {
        "Succeeded" => ("ContainersReady", false, Some("PodCompleted"), None),
        "Failed" => ("ContainersReady", false, Some("PodFailed"), None),
        _ if unready.is_empty() => ("ContainersReady", true, None, None),
        _ => {
            let message = names("containers with unready status", &unready);
            ("ContainersReady", false, Some("ContainersNotReady"), message)
        }
    }
}

fn ready(inputs: &Inputs<'_>, containers: &Verdict) -> Verdict {
    if !containers.1 {
        return ("Ready", false, containers.2, containers.3.clone());
    }
    let gates = pod::spec(inputs.pod).readiness_gates.iter().flatten();
    let closed: Vec<String> = gates
        .map(|gate| gate.condition_type.clone())
        .filter(|kind| {
            let mut conditions = inputs.before.conditions.iter().flatten();
            !conditions.any(|found| found.type_ == *kind && found.status == "True")
        })
        .map(|kind| format!("corresponding condition of pod readiness gate {kind:?} does not exist or is not \"True\"."))
        .collect();
    match closed.is_empty() {
        true => ("Ready", true, None, None),
        false => ("Ready", false, Some("ReadinessGatesNotReady"), Some(closed.join(", "))),
    }
}
