//! Pods' statuses on their way to the API: the newest of each, sent until it arrives.
//!
//! What is sent is a strategic merge patch: conditions that others write (readiness gates, the scheduler) are not touched,
//! however old the copy is that they were read from.
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
use crate::status::{OWN_CONDITIONS, is_own};

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
            let patch = Patch::Strategic(patch(entry.api_uid.as_deref(), &entry.status));
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

/// The patch that makes the kubelet's part of the object's status this one.
fn patch(api_uid: Option<&str>, status: &PodStatus) -> Value {
    let mut patch = serde_json::to_value(status).unwrap_or_default();
    if let Some(fields) = patch.as_object_mut() {
        for key in NULLABLE {
            fields.entry(*key).or_insert(Value::Null);
        }
        // Lists that are merged by a key, and are the kubelet's alone.
        for key in ["podIPs", "hostIPs"] {
            if let Some(list) = fields.get_mut(key).and_then(Value::as_array_mut) {
                list.insert(0, json!({"$patch": "replace"}));
            }
        }
        fields.insert("conditions".to_owned(), conditions(status).into());
    }
    json!({"metadata": {"uid": api_uid}, "status": patch})
}

/// The kubelet's conditions, those included that are to go.
fn conditions(status: &PodStatus) -> Vec<Value> {
    let all: Vec<_> = status.conditions.iter().flatten().filter(|it| is_own(&it.type_)).collect();
    let is_there = |kind: &&str| all.iter().any(|condition| condition.type_ == *kind);
    let gone = OWN_CONDITIONS.iter().filter(|kind| !is_there(kind));
    let gone = gone.map(|kind| json!({"type": kind, "$patch": "delete"}));
    // A condition is merged with the one that is there: what it says no longer is to go.
    let whole = all.iter().filter_map(|condition| {
        let mut whole = serde_json::to_value(condition).ok()?;
        let fields = whole.as_object_mut()?;
        for key in ["reason", "message", "lastProbeTime"] {
            fields.entry(key).or_insert(Value::Null);
        }
        Some(whole)
    });
    whole.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use master_api::patch::{Merge, PatchMeta, strategic_merge};

    use super::*;

    /// How the lists of a pod's status are merged.
    #[derive(Clone, Copy)]
    struct Meta;

    impl PatchMeta for Meta {
        fn field(&self, name: &str) -> (Merge, Self) {
            let merge = match name {
                "conditions" => Merge::ByKey("type"),
                "podIPs" | "hostIPs" => Merge::ByKey("ip"),
                _ => Merge::Plain,
            };
            (merge, Self)
        }
    }

    #[test]
    fn conditions_of_others_survive_a_status_that_does_not_know_them() {
        let there = json!({"metadata": {"uid": "u"}, "status": {
            "reason": "Old", "podIPs": [{"ip": "10.0.0.1"}], "containerStatuses": [{"name": "gone"}],
            "conditions": [
                {"type": "example.com/gate", "status": "True"},
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "containers with unready status: [c]"},
                {"type": "PodResizePending", "status": "True"},
            ],
        }});
        // What was derived from an older copy: the gate was not open yet.
        let status: PodStatus = serde_json::from_value(json!({
            "phase": "Running", "podIPs": [{"ip": "10.0.0.2"}], "hostIPs": [{"ip": "192.0.2.1"}],
            "containerStatuses": [],
            "conditions": [
                {"type": "example.com/gate", "status": "False"}, {"type": "Ready", "status": "True"},
            ],
        }))
        .unwrap();
        let merged = strategic_merge(there, patch(Some("u"), &status), &Meta).unwrap();
        let conditions = merged["status"]["conditions"].as_array().unwrap().iter();
        let told: Vec<String> = conditions
            .map(|it| format!("{}={} {} {}", it["type"], it["status"], it["reason"], it["message"]))
            .collect();
        assert_eq!(told, [r#""example.com/gate"="True" null null"#, r#""Ready"="True" null null"#]);
        assert_eq!(merged["status"]["podIPs"], json!([{"ip": "10.0.0.2"}]));
        assert_eq!(merged["status"]["hostIPs"], json!([{"ip": "192.0.2.1"}]));
        assert_eq!(merged["status"]["containerStatuses"], json!([]));
        assert_eq!(merged["status"].get("reason"), None);
    }
}
