//! Pods' statuses on their way to the API: the newest of each, sent until it arrives.
//!
//! # Invariants
//! - An object is released (deleted with grace 0) only after its last status has arrived.
//! - A status reaches only the object whose uid it was derived for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use serde_json::{Value, json};
use store_env::task::TaskResult;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::objects::{Objects, within};
use crate::pod;

const AT_ONCE_MAX: usize = 16;
const RETRY: Duration = Duration::from_millis(700);

/// Fields that a status may lose again.
const NULLABLE: &[&str] = &[
    "reason",
    "message",
    "podIP",
    "podIPs",
    "hostIP",
    "hostIPs",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
    "resize",
];

#[derive(Debug, Clone)]
struct Entry {
    namespace: String,
    name: String,
    /// The uid of the object in the API; of a static pod, that of its mirror, once there is one.
    api_uid: Option<String>,
    status: PodStatus,
    version: u64,
    sent: u64,
    is_to_release: bool,
    is_released: bool,
}

impl Entry {
    fn is_due(&self) -> bool {
        let must_send = self.sent < self.version;
        self.api_uid.is_some() && (must_send || (self.is_to_release && !self.is_released))
    }
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
            entry.sent = 0;
            self.wake.notify_one();
        }
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.entries.lock().remove(uid);
    }

    /// Sends statuses until told to stop.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) -> TaskResult {
        loop {
            let all_sent = self.send_due().await;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.wake.notified() => {}
                () = tokio::time::sleep(RETRY), if !all_sent => {}
            }
        }
    }

    async fn send_due(&self) -> bool {
        let due: Vec<(String, Entry)> = {
            let entries = self.entries.lock();
            let due = entries.iter().filter(|(_, entry)| entry.is_due());
            due.map(|(uid, entry)| (uid.clone(), entry.clone())).collect()
        };
        let sends = due.into_iter().map(|(uid, entry)| async move {
            let result = self.send(&entry).await;
            let mut entries = self.entries.lock();
            let Some(now) = entries.get_mut(&uid) else { return true };
            match result {
                Ok(()) => {
                    now.sent = now.sent.max(entry.version);
                    now.is_released |= entry.is_to_release && now.version == entry.version;
                    true
                }
                Err(error) => {
                    let pod = format!("{}/{}", entry.namespace, entry.name);
                    tracing::debug!(pod, %error, "status not sent");
                    false
                }
            }
        });
        let results: Vec<bool> =
            futures::stream::iter(sends).buffer_unordered(AT_ONCE_MAX).collect().await;
        results.into_iter().all(|is_sent| is_sent)
    }

    async fn send(&self, entry: &Entry) -> Result<()> {
        let what = format!("status of {}/{}", entry.namespace, entry.name);
        let api: Api<Pod> = Api::namespaced(self.objects.client(&what)?, &entry.namespace);
        if entry.sent < entry.version {
            let patch = Patch::Merge(patch(entry));
            let parameters = PatchParams::default();
            let call = api.patch_status(&entry.name, &parameters, &patch);
            gone_is_done(within(&what, call).await.map(drop))?;
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
            gone_is_done(within(&what, call).await.map(drop))?;
        }
        Ok(())
    }
}

/// An object that is gone, or is another one by now, needs no status.
fn gone_is_done(result: Result<()>) -> Result<()> {
    match result {
        Err(crate::error::Error::Api { source, .. }) if matches!(source.as_ref(), kube::Error::Api(status) if matches!(status.code, 404 | 409)) => {
            Ok(())
        }
        other => other,
    }
}

fn patch(entry: &Entry) -> Value {
    let mut status = serde_json::to_value(&entry.status).unwrap_or_default();
    if let Some(fields) = status.as_object_mut() {
        for key in NULLABLE {
            fields.entry(*key).or_insert(Value::Null);
        }
    }
    json!({"metadata": {"uid": entry.api_uid}, "status": status})
}
