//! A pod's status, derived from its specification and what the runtime has of it.
//!
//! Pure, and computed whole each time: what is not derived (conditions of others, the start time) is
//! carried over from the status before.

mod conditions;
mod container;
mod phase;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

pub(crate) use conditions::{OWN_CONDITIONS, is_own};

use crate::plan::Waiting;
use crate::pod;
use crate::resize::{Progress, Record};
use crate::view::PodView;

/// Everything a status is made from.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) view: &'a PodView,
    /// The status before this one: what was reported last, or what the API has.
    pub(crate) before: &'a PodStatus,
    /// Containers that cannot start now, and why.
    pub(crate) waiting: &'a BTreeMap<String, Waiting>,
    /// Ids of running containers that are ready.
    pub(crate) ready: &'a BTreeSet<String>,
    /// Ids of running containers that have started (their startup probe has passed).
    pub(crate) started: &'a BTreeSet<String>,
    /// Termination messages by container id.
    pub(crate) messages: &'a BTreeMap<String, String>,
    /// What resized containers were given.
    pub(crate) record: &'a Record,
    pub(crate) progress: &'a Progress,
    /// All containers are stopped for good.
    pub(crate) is_terminated: bool,
    /// Why the node brought the pod down, such as `DeadlineExceeded`.
    pub(crate) verdict: Option<&'a Waiting>,
    pub(crate) host_ip: IpAddr,
    pub(crate) now_ms: u64,
}

/// The status to report.
pub(crate) fn derive(inputs: &Inputs<'_>) -> PodStatus {
    let (pod, before) = (inputs.pod, inputs.before);
    let spec = pod::spec(pod);
    let containers = container::statuses(inputs);
    let known = known_end(inputs);
    let shown = pod.status.as_ref().and_then(end);
    let phase = match (shown, phase::phase(inputs, &containers), known) {
        // What everybody knows is not taken back, however its containers end.
        (Some(phase), ..) => phase,
        (None, phase @ ("Succeeded" | "Failed"), _) | (None, phase, None) => phase,
        (None, _, Some((phase, _))) => phase,
    };
    let known = known.filter(|(known, _)| *known == "Failed" && phase == "Failed");
    let mut status = PodStatus {
        phase: Some(phase.to_owned()),
        start_time: before.start_time.clone().or(Some(time(inputs.now_ms))),
        qos_class: Some(crate::qos::class(pod).to_owned()),
        host_ip: Some(inputs.host_ip.to_string()),
        host_ips: Some(vec![HostIP { ip: inputs.host_ip.to_string() }]),
        observed_generation: pod.metadata.generation,
        resize: before.resize.clone(),
        reason: known.and_then(|(_, status)| status.reason.clone()),
        message: known.and_then(|(_, status)| status.message.clone()),
        ..Default::default()
    };
    if let Some((reason, message)) = inputs.verdict.filter(|_| phase == "Failed") {
        (status.reason, status.message) = (Some(reason.clone()), Some(message.clone()));
    }
    let ips = pod_ips(inputs);
    status.pod_ip = ips.first().map(IpAddr::to_string);
    status.pod_ips =
        (!ips.is_empty()).then(|| ips.iter().map(|ip| PodIP { ip: ip.to_string() }).collect());
    status.conditions = Some(conditions::conditions(inputs, phase, &containers));
    status.container_statuses = Some(containers.mains);
    status.init_container_statuses = spec.init_containers.is_some().then_some(containers.inits);
    status
}

/// What a pod has ended as, once it has: said here, or by somebody else (masters that gave its node up). It stays so, whatever
/// runs of it.
fn known_end<'a>(inputs: &Inputs<'a>) -> Option<(&'static str, &'a PodStatus)> {
    let shown = inputs.pod.status.as_ref();
    let is_shown = |phase: &str| shown.and_then(end).is_none_or(|shown| shown == phase);
    let mut said = [Some(inputs.before), shown].into_iter().flatten();
    said.find_map(|status| Some((end(status).filter(|phase| is_shown(phase))?, status)))
}

fn end(status: &PodStatus) -> Option<&'static str> {
    match status.phase.as_deref()? {
        "Succeeded" => Some("Succeeded"),
        "Failed" => Some("Failed"),
        _ => None,
    }
}

/// The addresses of the pod; those of the node for a pod in its network. They stay in the status of a
/// pod that has ended.
fn pod_ips(inputs: &Inputs<'_>) -> Vec<IpAddr> {
    let newest = inputs.view.sandboxes.first();
    if pod::is_host_network(inputs.pod) {
        return newest.map(|_| inputs.host_ip).into_iter().collect();
    }
    match newest {
        Some(sandbox) if !sandbox.ips.is_empty() => sandbox.ips.clone(),
        _ => {
            let before = inputs.before.pod_ips.iter().flatten();
            before.filter_map(|found| found.ip.parse().ok()).collect()
        }
    }
}

/// A moment in the API's format, to the second.
pub(crate) fn time(unix_ms: u64) -> Time {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or_default();
    Time(Timestamp::from_second(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests;
