//! Pods' statuses on their way to the API: the newest of each, sent until it arrives.
//!
//! What is sent is a strategic merge patch (`statuses/patch.rs`). Who else writes what is the kubelet's (the masters' node
//! lifecycle controller, when a node was not heard of) is overwritten at the next look.
//!
//! # Invariants
//! - An object is released (deleted with grace 0) only after its last status has arrived.
//! - A status reaches only the object whose uid it was derived for.

mod patch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use master_client::informer::Store;
use parking_lot::Mutex;
use store_env::task::TaskResult;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::objects::{Objects, within};
use crate::pod;

const AT_ONCE_MAX: usize = 16;
const RETRY: Duration = Duration::from_millis(700);
/// What the API shows is compared with what was sent this often, and what it refused is sent again.
const LOOK_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
struct Entry {
    namespace: String,
    name: String,
    /// The uid of the object in the API; of a static pod, that of its mirror, once there is one.
    api_uid: Option<String>,
    status: PodStatus,
    version: u64,
    sent: u64,
    /// What had been sent at the last look: a copy may not show yet what was sent since.
    sent_before: u64,
    /// The API will not have this version; it is asked again at the next look.
    refused: Option<u64>,
    is_to_release: bool,
    is_released: bool,
}

impl Entry {
    fn is_due(&self) -> bool {
        let must_send = self.sent < self.version;
        self.api_uid.is_some()
            && self.refused != Some(self.version)
            && (must_send || (self.is_to_release && !self.is_released))
    }

    /// Whether the object in the API, as this copy shows it, is to be told again what it was told.
    fn is_forgotten_by(&self, shown: &Pod) -> bool {
        let status = shown.status.clone().unwrap_or_default();
        !self.would_revive(shown) && patch::differs(&status, &self.status)
    }

    /// Whether somebody ended the pod, which does not come to life again: its worker will say that it ended. A mirror only
    /// shows what goes on elsewhere.
    fn would_revive(&self, shown: &Pod) -> bool {
        !pod::is_mirror(shown) && pod::is_terminal(shown) && !pod::is_over(&self.status)
    }
}

/// What became of a status that was sent.
enum Fate {
    Arrived,
    /// The object is gone, or is another one by now: it needs no status.
    Gone,
    /// It will not be taken as it is.
    Refused(Error),
}

/// The newest status of every pod of this node.
#[derive(Debug)]
pub(crate) struct Statuses {
    objects: Objects,
    entries: Mutex<BTreeMap<String, Entry>>,
    wake: Notify,
}

impl Statuses {
    pub(crate) fn new(objects: Objects) -> Arc<Self> {
        Arc::new(Self { objects, entries: Mutex::default(), wake: Notify::new() })
    }

    /// Takes a status in; it is sent if it says something new.
    pub(crate) fn report(&self, pod: &Pod, status: PodStatus) {
        let mut entries = self.entries.lock();
        let uid = pod::uid(pod).to_owned();
        if let Some(entry) = entries.get_mut(&uid) {
            if entry.status != status {
                entry.status = status;
                entry.version += 1;
                self.wake.notify_one();
            }
            return;
        }
        let is_known = pod.status.as_ref() == Some(&status);
        let entry = Entry {
            namespace: pod::namespace(pod).to_owned(),
            name: pod::name(pod).to_owned(),
            api_uid: (!pod::is_static(pod)).then(|| uid.clone()),
            status,
            version: 1,
            sent: u64::from(is_known),
            sent_before: 0,
            refused: None,
            is_to_release: false,
            is_released: false,
        };
        entries.insert(uid, entry);
        self.wake.notify_one();
    }

    /// The status that was reported last.
    pub(crate) fn last(&self, uid: &str) -> Option<PodStatus> {
        self.entries.lock().get(uid).map(|entry| entry.status.clone())
    }

    /// The pod is down for good: delete its object once its last status has arrived.
    pub(crate) fn release(&self, pod: &Pod) {
        let uid = pod::uid(pod);
        if !self.entries.lock().contains_key(uid) {
            self.report(pod, pod.status.clone().unwrap_or_default());
        }
        if let Some(entry) = self.entries.lock().get_mut(uid) {
            entry.is_to_release = true;
            // Asked again means that the object is still there.
            entry.is_released = false;
        }
        self.wake.notify_one();
    }

    /// The static pod `uid` is shown by this object now.
    pub(crate) fn set_mirror(&self, uid: &str, mirror_uid: Option<&str>) {
        if let Some(entry) = self.entries.lock().get_mut(uid)
            && entry.api_uid.as_deref() != mirror_uid
        {
            entry.api_uid = mirror_uid.map(str::to_owned);
            (entry.sent, entry.sent_before, entry.refused) = (0, 0, None);
            self.wake.notify_one();
        }
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.entries.lock().remove(uid);
    }

    /// Sends statuses until told to stop. `pods` is what the API shows of this node's pods.
    pub(crate) async fn run(
        self: Arc<Self>,
        pods: Option<Store<Pod>>,
        stop: CancellationToken,
    ) -> TaskResult {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let all_sent = self.send_due(pods.as_ref()).await;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                // Before the news, of which there may always be some.
                _ = looks.tick() => {
                    let shown = pods.as_ref().filter(|pods| pods.synced()).map(Store::list);
                    self.compare(&shown.unwrap_or_default());
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep(RETRY), if !all_sent => {}
            }
        }
    }

    /// Makes due what the API shows otherwise than it was told, and what it refused.
    fn compare(&self, shown: &[Arc<Pod>]) {
        let shown: BTreeMap<&str, &Arc<Pod>> = shown.iter().map(|it| (pod::uid(it), it)).collect();
        for entry in self.entries.lock().values_mut() {
            entry.refused = None;
            let sent_before = std::mem::replace(&mut entry.sent_before, entry.sent);
            if entry.sent < entry.version || sent_before < entry.sent {
                continue;
            }
            let pod = entry.api_uid.as_deref().and_then(|uid| shown.get(uid));
            if pod.is_some_and(|pod| entry.is_forgotten_by(pod)) {
                entry.sent = entry.version - 1;
            }
        }
    }

    async fn send_due(&self, pods: Option<&Store<Pod>>) -> bool {
        let mut due: Vec<(String, Entry)> = {
            let entries = self.entries.lock();
            let due = entries.iter().filter(|(_, entry)| entry.is_due());
            due.map(|(uid, entry)| (uid.clone(), entry.clone())).collect()
        };
        // What was on its way while the masters gave the pod up.
        due.retain(|(_, entry)| {
            let shown =
                pods.and_then(|pods| pods.get(&format!("{}/{}", entry.namespace, entry.name)));
            let shown = shown.filter(|shown| Some(pod::uid(shown)) == entry.api_uid.as_deref());
            entry.is_to_release || shown.is_none_or(|shown| !entry.would_revive(&shown))
        });
        let sends = due.into_iter().map(|(uid, entry)| async move {
            let result = self.send(&entry).await;
            self.note(&uid, &entry, result)
        });
        let results: Vec<bool> =
            futures::stream::iter(sends).buffer_unordered(AT_ONCE_MAX).collect().await;
        results.into_iter().all(|is_done| is_done)
    }

    /// Writes down what became of what was sent. Returns false if it is to be sent again soon.
    fn note(&self, uid: &str, entry: &Entry, result: Result<Fate>) -> bool {
        let mut entries = self.entries.lock();
        let Some(now) = entries.get_mut(uid) else { return true };
        if now.api_uid != entry.api_uid {
            // It went to an object that does not show this pod any more.
            return !now.is_due();
        }
        let pod = format!("{}/{}", entry.namespace, entry.name);
        match result {
            Ok(Fate::Arrived | Fate::Gone) => {
                now.sent = now.sent.max(entry.version);
                now.is_released |= entry.is_to_release && now.version == entry.version;
                true
            }
            Ok(Fate::Refused(error)) => {
                tracing::warn!(pod, %error, "status refused");
                now.refused = Some(entry.version);
                true
            }
            Err(error) => {
                tracing::debug!(pod, %error, "status not sent");
                false
            }
        }
    }

    async fn send(&self, entry: &Entry) -> Result<Fate> {
        let what = format!("status of {}/{}", entry.namespace, entry.name);
        let api: Api<Pod> = Api::namespaced(self.objects.client(&what)?, &entry.namespace);
        if entry.sent < entry.version {
            let patch = patch::patch(entry.api_uid.as_deref(), &entry.status);
            let (parameters, patch) = (PatchParams::default(), Patch::Strategic(patch));
            let call = api.patch_status(&entry.name, &parameters, &patch);
            if let Err(error) = within(&what, call).await {
                return fate(&api, entry, error).await;
            }
        }
        if entry.is_to_release {
            let parameters = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions {
                    uid: entry.api_uid.clone(),
                    resource_version: None,
                }),
                ..Default::default()
            };
            let call = api.delete(&entry.name, &parameters);
            if let Err(error) = within(&what, call).await {
                return fate(&api, entry, error).await;
            }
        }
        Ok(Fate::Arrived)
    }
}

/// What an answer of the API means. That an object of another uid has the name by now is told by a conflict or, where the
/// uid counts as a field that never changes, by a rule that was broken: a look at the object tells them from others.
async fn fate(api: &Api<Pod>, entry: &Entry, error: Error) -> Result<Fate> {
    let code = error.api_code();
    match code {
        Some(404) => return Ok(Fate::Gone),
        Some(409 | 422) => {}
        // Not known yet, too slow, too much: it may be taken soon.
        Some(401 | 408 | 429) => return Err(error),
        Some(400..500) => return Ok(Fate::Refused(error)),
        _ => return Err(error),
    }
    let found = within("pod", api.get_metadata_opt(&entry.name)).await?;
    if found.and_then(|found| found.metadata.uid) != entry.api_uid {
        return Ok(Fate::Gone);
    }
    match code {
        Some(422) => Ok(Fate::Refused(error)),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests;
