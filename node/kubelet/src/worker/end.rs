//! Bringing a pod down, and removing its traces as far as nobody needs them any more.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::desired::Desired;
use super::{Next, RESYNC_MS, RETRY_FIRST_MS, Worker};
use crate::error::{Error, Result};
use crate::kill;
use crate::pod;
use crate::qos;

impl Worker {
    /// Brings the pod down, and then removes its traces as far as nobody needs them any more.
    pub(super) async fn end(&mut self, desired: &Desired) -> Result<Next> {
        let mut view = self.read(&desired.pod).await?;
        let pod = &self.record.as_allocated(&desired.pod, &view);
        if view.is_anything_up() {
            self.is_down = false;
            if !desired.is_removed {
                self.report(pod, &view, &BTreeMap::new());
            }
            let manner = self.manner(pod);
            (self.is_ending, self.owes_end) = (true, true);
            kill::pod(&self.cx, pod, &view, manner).await?;
            view = self.read(pod).await?;
            if view.is_anything_up() {
                return Ok(Next::At(self.cx.clock.unix_ms() + RETRY_FIRST_MS));
            }
        }
        self.is_down = true;
        self.cx.ledger.forget(&self.uid);
        if (self.owes_end || !self.is_end_told(pod)) && !desired.is_removed {
            self.report(pod, &view, &BTreeMap::new());
        }
        self.owes_end = false;
        self.cx.volumes.remove(&self.uid).await?;
        self.cx.cgroups.remove(&qos::cgroup_path(&self.cx.config.cgroup_root, pod))?;
        if !desired.is_removed && !pod::is_deleting(pod) {
            // The status and the logs stay until somebody deletes the pod.
            return Ok(Next::At(self.cx.clock.unix_ms() + RESYNC_MS * 10));
        }
        for sandbox in &view.sandboxes {
            self.cx.runtime.remove_sandbox(&sandbox.id).await?;
        }
        if !desired.is_removed {
            self.cx.statuses.release(pod);
            return Ok(Next::At(self.cx.clock.unix_ms() + RESYNC_MS));
        }
        self.remove_traces(pod).await?;
        Ok(Next::Done)
    }

    /// Whether the pod's end is in the API already, and what was told last does not say otherwise.
    fn is_end_told(&self, pod: &Pod) -> bool {
        let told = self.cx.statuses.last(&self.uid);
        pod::is_terminal(pod) && told.is_none_or(|status| pod::is_over(&status))
    }

    async fn remove_traces(&self, pod: &Pod) -> Result<()> {
        self.cx.probes.forget(&self.uid);
        self.cx.statuses.forget(&self.uid);
        self.cx.volumes.remove_pod_dir(&self.uid).await?;
        let logs = self.cx.config.pod_logs_dir(pod::namespace(pod), pod::name(pod), &self.uid);
        match std::fs::remove_dir_all(&logs) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(&logs)(error))
            }
            _ => Ok(()),
        }
    }
}
