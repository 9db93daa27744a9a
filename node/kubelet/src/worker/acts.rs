//! Carrying out what was planned: sandboxes, containers, volumes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::{RESYNC_MS, Worker};
use crate::error::{Error, Result};
use crate::kill::{self, Manner};
use crate::plan::{Action, Why};
use crate::pod;
use crate::rotate;
use crate::start;
use crate::view::{PodView, State};

impl Worker {
    /// Carries actions out. Returns whether anything changed that a new plan should see.
    pub(super) async fn act(
        &mut self,
        pod: &Arc<Pod>,
        view: &mut PodView,
        actions: Vec<Action>,
    ) -> Result<bool> {
        let cx = self.cx.clone();
        let mut changed = false;
        for action in actions {
            match action {
                Action::StopSandbox { id } => {
                    let mut part = view.clone();
                    part.sandboxes.retain(|sandbox| sandbox.id == id);
                    part.containers.retain(|container| container.sandbox_id == id);
                    kill::pod(&cx, pod, &part, self.manner(pod)).await?;
                    cx.runtime.stop_sandbox(&id).await?;
                }
                Action::CreateSandbox { attempt } => {
                    self.create_sandbox(pod, view, attempt).await?;
                    *view = self.read(pod).await?;
                    self.report(pod, view, &BTreeMap::new());
                }
                Action::Stop { id, name, why } => {
                    if why == Why::Resized {
                        self.await_start(&name, &id)?;
                    }
                    self.stop(pod, view, &id, why).await?;
                }
                Action::Resize { updates } => {
                    changed |= self.resize(pod, view, &updates).await;
                    continue;
                }
                Action::Remove { id } => {
                    cx.runtime.remove_container(&id).await?;
                    if let Some(found) = view.containers.iter().find(|found| found.id == id) {
                        rotate::forget(&cx.config.logs_dir(), &found.log_path);
                    }
                }
                Action::RemoveSandbox { id } => cx.runtime.remove_sandbox(&id).await?,
                Action::Start { name, restarts } => {
                    changed |= self.start(pod, view, &name, restarts).await?;
                    continue;
                }
            }
            changed = true;
        }
        Ok(changed)
    }

    async fn create_sandbox(&mut self, pod: &Pod, view: &PodView, attempt: u32) -> Result<()> {
        let facts = self.cx.facts(pod, view);
        if let Err(error) = self.cx.volumes.prepare(pod, &facts).await {
            self.cx.events.warning(pod, None, "FailedMount", error.to_string());
            return Err(error);
        }
        self.volumes_ready_ms = Some(self.cx.clock.unix_ms());
        if let Err(error) = start::sandbox(&self.cx, pod, attempt).await {
            let text = format!("Failed to create pod sandbox: {error}");
            self.cx.events.warning(pod, None, "FailedCreatePodSandBox", text);
            return Err(error);
        }
        Ok(())
    }

    async fn stop(&self, pod: &Pod, view: &PodView, id: &str, why: Why) -> Result<()> {
        let Some(found) = view.containers.iter().find(|found| found.id == id) else {
            return Ok(());
        };
        let text = match &why {
            Why::Unhealthy(text) => text.clone(),
            Why::Changed => {
                format!("Container {} definition changed, will be restarted", found.name)
            }
            Why::Resized => format!("Container {} resize requires restart", found.name),
            Why::Unknown => format!("Container {} is lost, will be restarted", found.name),
        };
        let spec = pod::container(pod, &found.name).map(|(_, container)| container);
        let probe = spec.and_then(|spec| spec.liveness_probe.as_ref());
        let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
        let own = own.filter(|_| matches!(why, Why::Unhealthy(_)));
        let seconds = own.and_then(|own| u64::try_from(own).ok()).unwrap_or(pod::grace_s(pod));
        let manner = Manner { grace: Duration::from_secs(seconds), with_hook: true };
        kill::container(&self.cx, pod, view, found, manner, text).await
    }

    /// Starts a container. Returns false when it did not start, which its status will say.
    async fn start(
        &mut self,
        pod: &Arc<Pod>,
        view: &PodView,
        name: &str,
        restarts: u32,
    ) -> Result<bool> {
        let Some((_, spec)) = pod::container(pod, name) else { return Ok(false) };
        let now_ms = self.cx.clock.unix_ms();
        self.refresh_volumes(pod, view, now_ms).await;
        self.make_room(pod, view, name)?;
        let result = start::container(&self.cx, pod, view, spec, restarts).await;
        if let Err(Error::Runtime(node_cri::Error::Unreachable(_))) = &result {
            return result.map(|()| false);
        }
        let is_tried =
            matches!(&result, Ok(()) | Err(Error::RunContainer(_) | Error::PostStart(_)));
        if let Some(State::Exited { finished_ms, .. }) = view.latest(name).map(|found| &found.state)
            && is_tried
        {
            self.backoff.tried(name, *finished_ms, now_ms);
        }
        match result {
            Ok(()) => drop(self.start_errors.remove(name)),
            Err(error) => {
                tracing::warn!(pod = pod::key(pod), container = name, %error, "not started");
                let waiting = (error.reason().to_owned(), error.to_string());
                self.start_errors.insert(name.to_owned(), waiting);
                return Ok(is_tried);
            }
        }
        Ok(true)
    }

    /// Brings volumes that follow API objects up to date, now and then. A failure harms nobody who runs.
    pub(super) async fn refresh_volumes(&mut self, pod: &Pod, view: &PodView, now_ms: u64) {
        let is_fresh = self.volumes_ready_ms.is_some_and(|at_ms| now_ms < at_ms + RESYNC_MS / 2);
        if is_fresh || pod::spec(pod).volumes.is_none() {
            return;
        }
        match self.cx.volumes.prepare(pod, &self.cx.facts(pod, view)).await {
            Ok(()) => self.volumes_ready_ms = Some(now_ms),
            Err(error) => tracing::warn!(pod = pod::key(pod), %error, "volumes not refreshed"),
        }
    }

    pub(super) fn manner(&self, pod: &Pod) -> Manner {
        Manner { grace: Duration::from_secs(pod::grace_s(pod)), with_hook: !self.is_ending }
    }
}
