//! A Job and its pods at one moment, and the words in which the rest speaks of them. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use master_client::pod::Pod;

use super::indexes::Indexes;
use super::policy::{self, Verdict};
use super::{FAILURES, INDEX, TRACKING};
use crate::owner::{annotation, is_terminating};
use crate::pods;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub(super) spec: &'a JobSpec,
    /// As it was written last.
    pub(super) status: &'a JobStatus,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) now: Timestamp,
    /// The job itself is on its way out.
    pub(super) is_going: bool,
}

impl<'a> Look<'a> {
    pub(super) fn of(
        (spec, status): (&'a JobSpec, &'a JobStatus),
        job: &Job,
        pods: &'a [Arc<Pod>],
        now: Timestamp,
    ) -> Self {
        Self { spec, status, pods, now, is_going: is_terminating(&job.metadata) }
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    pub(super) fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    /// How often an index may fail, if each is counted by itself.
    pub(super) fn index_limit(&self) -> Option<i32> {
        self.spec.backoff_limit_per_index.filter(|_| self.is_indexed())
    }

    pub(super) fn completions(&self) -> i32 {
        self.spec.completions.unwrap_or(0)
    }

    /// The index of a pod, if the job has it.
    pub(super) fn index(&self, pod: &Pod) -> Option<i32> {
        index_of(pod).filter(|index| *index < self.completions())
    }

    /// Whether a pod ended, or goes, without success.
    pub(super) fn has_failed(&self, pod: &Pod) -> bool {
        let goes = is_terminating(&pod.metadata) && pods::phase(pod) != "Succeeded";
        pods::phase(pod) == "Failed" || goes && !policy::waits_for_the_end(self.spec)
    }

    /// Whether a pod means that its index has failed for good.
    pub(super) fn has_failed_index(&self, pod: &Pod) -> bool {
        let Some(limit) = self.index_limit().filter(|_| self.has_failed(pod)) else { return false };
        match policy::judge(self.spec, pod) {
            Verdict::FailsIndex => true,
            Verdict::Ignored => false,
            Verdict::Counts | Verdict::FailsJob(_) => number(pod, FAILURES) >= limit,
        }
    }

    /// Pods that run, or will.
    pub(super) fn active(&self) -> Vec<Arc<Pod>> {
        self.pods.iter().filter(|pod| pods::is_active(pod)).cloned().collect()
    }

    /// Pods that are on their way out and not there yet.
    pub(super) fn going(&self) -> impl Iterator<Item = &'a Arc<Pod>> {
        let goes = |pod: &&Arc<Pod>| is_terminating(&pod.metadata) && !pods::is_terminal(pod);
        self.pods.iter().filter(goes)
    }

    /// Pods that are still to be counted.
    pub(super) fn tracked(&self) -> impl Iterator<Item = &'a Arc<Pod>> {
        self.pods.iter().filter(|pod| is_tracked(pod))
    }

    /// What a text of the status says of this job's indexes.
    pub(super) fn indexes(&self, text: Option<&String>) -> Indexes {
        Indexes::parse(text.map_or("", String::as_str), self.completions())
    }
}

pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == TRACKING)
}

pub(super) fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

/// The index that a pod says it has.
pub(super) fn index_of(pod: &Pod) -> Option<i32> {
    annotation(&pod.metadata, INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// A count that a pod carries; whatever else is there counts as none.
pub(super) fn number(pod: &Pod, key: &str) -> i32 {
    let text = annotation(&pod.metadata, key).unwrap_or_default();
    text.parse().ok().filter(|count| *count >= 0).unwrap_or(0)
}
