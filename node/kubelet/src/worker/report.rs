//! What a worker says of its pod: the status, and an event for each wait.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::Worker;
use crate::plan::Waiting;
use crate::pod;
use crate::status;
use crate::view::PodView;

impl Worker {
    /// One event for each wait, when it begins.
    pub(super) fn tell_of_waits(&mut self, pod: &Pod, waiting: &BTreeMap<String, Waiting>) {
        for name in waiting.keys().filter(|name| !self.backing_off.contains(*name)) {
            let (pod_name, namespace) = (pod::name(pod), pod::namespace(pod));
            let text = format!(
                "Back-off restarting failed container {name} in pod {pod_name}_{namespace}({})",
                self.uid
            );
            self.cx.events.warning(pod, Some(name), "BackOff", text);
        }
        self.backing_off = waiting.keys().cloned().collect();
    }

    pub(super) fn before(&self, pod: &Pod) -> PodStatus {
        let known = pod.status.clone().unwrap_or_default();
        let Some(mut reported) = self.cx.statuses.last(&self.uid) else { return known };
        let own = reported.conditions.take().into_iter().flatten();
        let own = own.filter(|found| status::is_own(&found.type_));
        let foreign = known.conditions.into_iter().flatten();
        let foreign = foreign.filter(|found| !status::is_own(&found.type_));
        reported.conditions = Some(own.chain(foreign).collect());
        reported
    }

    pub(super) fn report(&self, pod: &Pod, view: &PodView, waiting: &BTreeMap<String, Waiting>) {
        if let Some((reason, message)) = self.desired.borrow().refusal.clone() {
            // Not before nothing of it runs: others take its place then.
            if self.is_down {
                let status = self.refused(pod, reason, &message);
                self.cx.statuses.report(pod, status);
            }
            return;
        }
        let mut all = self.start_errors.clone();
        all.extend(waiting.iter().map(|(name, waiting)| (name.clone(), waiting.clone())));
        let (mut ready, mut started) = (BTreeSet::new(), BTreeSet::new());
        for found in view.running() {
            let Some((_, container)) = pod::container(pod, &found.name) else { continue };
            if self.cx.probes.has_started(container, &found.id) {
                started.insert(found.id.clone());
            }
            if self.cx.probes.is_ready(container, &found.id) {
                ready.insert(found.id.clone());
            }
        }
        let status = status::derive(&status::Inputs {
            pod,
            view,
            before: &self.before(pod),
            waiting: &all,
            ready: &ready,
            started: &started,
            messages: &self.messages,
            record: &self.record,
            progress: &self.progress,
            is_terminated: self.is_down,
            verdict: self.verdict.as_ref(),
            host_ip: self.cx.config.node_ip,
            now_ms: self.cx.clock.unix_ms(),
        });
        self.cx.statuses.report(pod, status);
    }

    /// The status of a pod that was not let in.
    fn refused(&self, pod: &Pod, reason: String, message: &str) -> PodStatus {
        let before = self.before(pod);
        let now = status::time(self.cx.clock.unix_ms());
        let foreign = before.conditions.into_iter().flatten();
        let foreign = foreign.filter(|found| !status::is_own(&found.type_));
        PodStatus {
            phase: Some("Failed".to_owned()),
            reason: Some(reason),
            message: Some(format!("Pod was rejected: {message}")),
            qos_class: Some(crate::qos::class(pod).to_owned()),
            start_time: before.start_time.or(Some(now)),
            observed_generation: pod.metadata.generation,
            conditions: Some(foreign.collect()),
            ..PodStatus::default()
        }
    }
}
