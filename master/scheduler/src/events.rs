//! Tells people what was decided: core/v1 Events, equal ones counted.
//!
//! Recording never delays a decision: events wait in a bounded queue, and what does not fit is dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use store_env::clock::SharedClock;
use store_env::task::TaskResult;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::pod::{PodInfo, SCHEDULER_NAME};

const QUEUE_MAX: usize = 4096;
const REMEMBERED_MAX: usize = 4096;
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// One event about a pod.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) is_warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) action: &'static str,
    pub(crate) message: String,
}

impl Note {
    pub(crate) fn about(pod: &PodInfo, reason: &'static str, message: String) -> Self {
        Self {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            is_warning: reason == "FailedScheduling",
            reason,
            action: if reason == "FailedScheduling" { "Scheduling" } else { "Binding" },
            message,
        }
    }
}

/// Where events are left. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(mpsc::Sender<Note>);

impl Recorder {
    pub(crate) fn record(&self, note: Note) {
        if self.0.try_send(note).is_err() {
            tracing::warn!("event dropped: too many wait");
        }
    }
}

/// The task behind the recorders.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Receiver<Note>,
    /// By pod, reason and message: the event's name and count.
    written: BTreeMap<(String, &'static str, String), (String, i32)>,
}

pub(crate) fn channel() -> (Recorder, Writer) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    (Recorder(sender), Writer { queue, written: BTreeMap::new() })
}

impl Writer {
    pub(crate) async fn run(
        mut self,
        client: kube::Client,
        clock: SharedClock,
        stop: CancellationToken,
    ) -> TaskResult {
        while let Some(Some(note)) = stop.run_until_cancelled(self.queue.recv()).await {
            let ms = i64::try_from(clock.unix_ms()).unwrap_or(i64::MAX);
            let now = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
            let write = timeout(WRITE_DEADLINE, self.write(&client, note, now));
            match stop.run_until_cancelled(write).await {
                Some(Ok(Err(error))) => tracing::debug!(%error, "event not written"),
                Some(Err(_)) => tracing::debug!("event not written in time"),
                Some(Ok(Ok(()))) => {}
                None => break,
            }
        }
        stop.cancelled().await;
        Ok(())
    }

    async fn write(
        &mut self,
        client: &kube::Client,
        note: Note,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        if self.written.len() >= REMEMBERED_MAX {
            self.written.clear();
        }
        let events: Api<Event> = Api::namespaced(client.clone(), &note.namespace);
        let sameness = (note.uid.clone(), note.reason, note.message.clone());
        if let Some((name, count)) = self.written.get_mut(&sameness) {
            *count += 1;
            let patch = Patch::Merge(
                json!({ "count": count, "lastTimestamp": master_api::time::seconds(now) }),
            );
            match events.patch(name, &PatchParams::default(), &patch).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {} // expired: written anew
                result => return result.map(|_| ()),
            }
        }
        let event = event(note, now, store_env::rng::draw());
        let name = event.metadata.name.clone().unwrap_or_default();
        events.create(&PostParams::default(), &event).await?;
        self.written.insert(sameness, (name, 1));
        Ok(())
    }
}

fn event(note: Note, now: Timestamp, unique: u64) -> Event {
    let seconds = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{unique:016x}", note.name)),
            namespace: Some(note.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(<Pod as k8s_openapi::Resource>::API_VERSION.to_owned()),
            kind: Some(<Pod as k8s_openapi::Resource>::KIND.to_owned()),
            namespace: Some(note.namespace),
            name: Some(note.name),
            uid: Some(note.uid),
            ..ObjectReference::default()
        },
        type_: Some(if note.is_warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(note.reason.to_owned()),
        action: Some(note.action.to_owned()),
        message: Some(note.message),
        count: Some(1),
        event_time: Some(MicroTime(now)),
        first_timestamp: Some(seconds.clone()),
        last_timestamp: Some(seconds),
        source: Some(EventSource { component: Some(SCHEDULER_NAME.to_owned()), host: None }),
        reporting_component: Some(SCHEDULER_NAME.to_owned()),
        reporting_instance: Some(SCHEDULER_NAME.to_owned()),
        ..Event::default()
    }
}
