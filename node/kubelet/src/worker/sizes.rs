//! Carrying out what `resize.rs` decided: remembering allocations, changing limits, telling of it.
//!
//! # Invariants
//! - An allocation is on disk before anything follows from it.
//! - A pod's group is never smaller than what its containers have at the moment.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::Worker;
use crate::cgroup;
use crate::container;
use crate::error::{Error, Result};
use crate::pod;
use crate::resize::{self, Changes, Record, Update, Verdict};
use crate::view::PodView;

/// A container that could not be given other limits is tried again after this long.
const RETRY_MS: u64 = 5_000;
const FILE: &str = "sizes.json";

/// What is remembered of the pod in this directory.
pub(crate) fn read(pod_dir: &Path) -> Record {
    let file = pod_dir.join(FILE);
    let bytes = match std::fs::read(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Record::default(),
        other => other.map_err(|error| error.to_string()),
    };
    let record =
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|it| it.to_string()));
    record.unwrap_or_else(|error| {
        tracing::warn!(file = %file.display(), error, "sizes of a pod not read: taken from its containers");
        Record::default()
    })
}

fn write(pod_dir: &Path, record: &Record) -> Result<()> {
    std::fs::create_dir_all(pod_dir).map_err(Error::io(pod_dir))?;
    let (file, fresh) = (pod_dir.join(FILE), pod_dir.join(format!(".{FILE}")));
    let text = serde_json::to_vec(record).unwrap_or_default();
    let written = std::fs::File::create(&fresh).and_then(|mut fresh| {
        fresh.write_all(&text)?;
        fresh.sync_all()
    });
    written.map_err(Error::io(&fresh))?;
    std::fs::rename(&fresh, &file).map_err(Error::io(&file))?;
    // A name is on disk once its directory is.
    let directory = std::fs::File::open(pod_dir).and_then(|directory| directory.sync_all());
    directory.map_err(Error::io(pod_dir))
}

impl Worker {
    /// Decides over what the pod wants; returns it as the node has it from now on.
    pub(super) fn settle(&mut self, pod: &Arc<Pod>, view: &PodView) -> Result<Arc<Pod>> {
        let allocated = self.record.as_allocated(pod, view);
        let machine = self.cx.machine;
        let verdict = self.cx.ledger.settle(&self.uid, |others| {
            let verdict = resize::decide(pod, &allocated, others, machine);
            let has = if verdict == Verdict::Fits { pod } else { &allocated };
            (resize::need(has), verdict)
        });
        match verdict {
            Verdict::Same => self.progress.pending = None,
            Verdict::Fits => {
                self.allocate(pod, &allocated, view)?;
                return Ok(pod.clone());
            }
            Verdict::Deferred(message) => self.pend(pod, &allocated, "Deferred", message)?,
            Verdict::Infeasible(message) => self.pend(pod, &allocated, "Infeasible", message)?,
        }
        Ok(allocated)
    }

    /// The pod was let in just now: what it wants is what it was given, whatever it wants by the time it starts.
    pub(crate) fn let_in(mut self) -> Self {
        let pod = self.desired.borrow().pod.clone();
        self.record.allocate(&pod);
        self
    }

    fn allocate(&mut self, pod: &Pod, before: &Pod, view: &PodView) -> Result<()> {
        let mut record = self.record.clone();
        record.prune(view);
        record.keep_running(before, view);
        record.allocate(pod);
        write(&self.cx.config.pod_dir(&self.uid), &record)?;
        self.record = record;
        let generation = pod.metadata.generation;
        self.progress.pending = None;
        self.progress.under_way = Some((None, generation));
        self.resize_retry_ms = 0;
        let text = resize::message("Pod resize started", pod, generation, "");
        self.cx.events.normal(pod, None, "ResizeStarted", text);
        Ok(())
    }

    fn pend(
        &mut self,
        pod: &Pod,
        allocated: &Pod,
        reason: &'static str,
        message: String,
    ) -> Result<()> {
        let generation = pod.metadata.generation;
        let is_told = self
            .progress
            .pending
            .as_ref()
            .is_some_and(|(known, _, since)| *known == reason && *since == generation);
        if !is_told {
            // Its containers may not tell yet what it was given, and from now on its specification does not.
            let mut record = self.record.clone();
            record.allocate(allocated);
            write(&self.cx.config.pod_dir(&self.uid), &record)?;
            self.record = record;
            let title = format!("Pod resize {reason}");
            let text = resize::message(&title, pod, generation, &message);
            self.cx.events.warning(pod, None, &format!("Resize{reason}"), text);
        }
        self.progress.pending = Some((reason, message, generation));
        Ok(())
    }

    /// What is still to be changed; notes when a resize begins and ends.
    pub(super) fn changes(&mut self, pod: &Pod, view: &PodView, now_ms: u64) -> Changes {
        let mut changes = resize::changes(pod, view, &self.record);
        let generation = pod.metadata.generation;
        if !changes.is_empty() {
            self.progress.under_way.get_or_insert((None, generation));
        } else if let Some((_, generation)) = self.progress.under_way.take() {
            let text = resize::message("Pod resize completed", pod, generation, "");
            self.cx.events.normal(pod, None, "ResizeCompleted", text);
        }
        if now_ms < self.resize_retry_ms {
            changes.updates.clear();
        }
        changes
    }

    /// Gives running containers other limits. Returns whether all of them have them now; if not, the pod's
    /// status says why.
    pub(super) async fn resize(
        &mut self,
        pod: &Arc<Pod>,
        view: &PodView,
        updates: &[Update],
    ) -> bool {
        let Err(message) = self.try_resize(pod, view, updates).await else {
            if let Some((error, _)) = &mut self.progress.under_way {
                *error = None;
            }
            return true;
        };
        tracing::warn!(pod = pod::key(pod), message, "pod not resized");
        self.resize_retry_ms = self.cx.clock.unix_ms() + RETRY_MS;
        let (error, generation) =
            self.progress.under_way.get_or_insert((None, pod.metadata.generation));
        if error.as_ref() != Some(&message) {
            let text = resize::message("Pod resize error", pod, *generation, &message);
            *error = Some(message);
            self.cx.events.warning(pod, None, "ResizeError", text);
        }
        false
    }

    async fn try_resize(
        &mut self,
        pod: &Arc<Pod>,
        view: &PodView,
        updates: &[Update],
    ) -> std::result::Result<(), String> {
        self.refuse_too_small(updates).await?;
        let cx = self.cx.clone();
        let limit = |limits| cx.cgroups.limit_pod(&cx.config.cgroup_root, pod, limits);
        let before = cgroup::pod_limits(&self.record.as_updated(pod, view));
        let after = cgroup::pod_limits(pod);
        limit(before.or_wider(after)).map_err(|error| error.to_string())?;
        for update in updates {
            let Some((_, container)) = pod::container(pod, &update.name) else { continue };
            let resources = container::resources(pod, container, cx.machine.memory_bytes);
            let updated = cx.runtime.update_resources(&update.id, resources).await;
            updated.map_err(|error| format!("updating container {:?}: {error}", update.name))?;
            self.record.updated.insert(update.id.clone(), update.to.clone());
        }
        let written = write(&cx.config.pod_dir(&self.uid), &self.record);
        written.and_then(|()| limit(after)).map_err(|error| error.to_string())
    }

    /// Limits below what containers use would end them.
    async fn refuse_too_small(&self, updates: &[Update]) -> std::result::Result<(), String> {
        // A use of everything is refused exactly where a limit becomes lower.
        if !updates.iter().any(|update| resize::refusal(update, u64::MAX).is_some()) {
            return Ok(());
        }
        let stats = self.cx.runtime.list_stats().await;
        let stats = stats.map_err(|error| format!("unable to read memory usage: {error}"))?;
        let refusals = updates.iter().filter_map(|update| {
            let found = stats
                .iter()
                .find(|found| found.attributes.as_ref().is_some_and(|it| it.id == update.id))?;
            let used = found.memory.as_ref()?.usage_bytes.as_ref()?.value;
            resize::refusal(update, used)
        });
        match refusals.reduce(|all, one| format!("{all}, {one}")) {
            Some(all) => Err(all),
            None => Ok(()),
        }
    }

    /// Notes that a container is about to be stopped to be started with other limits: whoever finds it stopped, be it another
    /// agent, starts it.
    pub(super) fn await_start(&mut self, name: &str, id: &str) -> Result<()> {
        let mut record = self.record.clone();
        record.stopped.insert(name.to_owned(), id.to_owned());
        write(&self.cx.config.pod_dir(&self.uid), &record)?;
        self.record = record;
        Ok(())
    }

    /// A container that was stopped to be started with other limits needs room for them.
    pub(super) fn make_room(&self, pod: &Pod, view: &PodView, name: &str) -> Result<()> {
        match self.record.awaits(view, name) {
            true => {
                let root = &self.cx.config.cgroup_root;
                self.cx.cgroups.limit_pod(root, pod, cgroup::pod_limits(pod))
            }
            false => Ok(()),
        }
    }
}
