//! Tells people what the controllers did: core/v1 Events, equal ones counted instead of repeated.
//!
//! Recording never delays or fails a controller: events wait in a bounded queue, and one that does
//! not fit, or that the server refuses, is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use master_client::informer::Kind;
use serde_json::json;
use store_env::clock::SharedClock;
use store_env::task::TaskResult;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const QUEUE_MAX: usize = 1024;
/// Events remembered for counting; beyond, counting starts anew.
const REMEMBERED_MAX: usize = 4096;
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// One occurrence.
#[derive(Clone, Debug)]
struct Note {
    component: &'static str,
    object: ObjectReference,
    kind: &'static str,
    reason: String,
    message: String,
}

/// Where one controller leaves its events. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    component: &'static str,
    queue: Arc<mpsc::Sender<Note>>,
}

/// The task that writes what recorders leave.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Receiver<Note>,
}

/// A recorder and the task that must run behind it.
pub(crate) fn channel() -> (Recorder, Writer) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let recorder = Recorder { component: "controllers", queue: Arc::new(sender) };
    (recorder, Writer { queue: receiver })
}

impl Recorder {
    /// The same queue, signed by another controller.
    pub(crate) fn of(&self, component: &'static str) -> Self {
        Self { component, queue: self.queue.clone() }
    }

    pub(crate) fn normal<K: Kind>(&self, object: &K, reason: &str, message: impl Into<String>) {
        self.note("Normal", object, reason, message.into());
    }

    pub(crate) fn warning<K: Kind>(&self, object: &K, reason: &str, message: impl Into<String>) {
        self.note("Warning", object, reason, message.into());
    }

    fn note<K: Kind>(&self, kind: &'static str, object: &K, reason: &str, message: String) {
        let note = Note {
            component: self.component,
            object: object.object_ref(&()),
            kind,
            reason: reason.to_owned(),
            message,
        };
        if self.queue.try_send(note).is_err() {
            tracing::warn!(reason, "event dropped: too many wait");
        }
    }
}

/// What makes two occurrences the same event.
type Sameness = (&'static str, String, String, &'static str, String, String);

struct Written {
    namespace: String,
    name: String,
    count: i32,
}

#[cfg(test)]
impl Writer {
    /// The reasons of what was left so far, in order.
    pub(crate) fn said(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.queue.try_recv().ok()).map(|note| note.reason).collect()
    }
}

impl Writer {
    pub(crate) async fn run(
        mut self,
        client: kube::Client,
        clock: SharedClock,
        stop: CancellationToken,
    ) -> TaskResult {
        let mut written: BTreeMap<Sameness, Written> = BTreeMap::new();
        while let Some(Some(note)) = stop.run_until_cancelled(self.queue.recv()).await {
            if written.len() >= REMEMBERED_MAX {
                written.clear();
            }
            let ms = i64::try_from(clock.unix_ms()).unwrap_or(i64::MAX);
            let now = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
            let write = timeout(WRITE_DEADLINE, write(&client, &mut written, note, now));
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
}

async fn write(
    client: &kube::Client,
    written: &mut BTreeMap<Sameness, Written>,
    note: Note,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let sameness = (
        note.component,
        note.object.kind.clone().unwrap_or_default(),
        note.object.uid.clone().unwrap_or_default(),
        note.kind,
        note.reason.clone(),
        note.message.clone(),
    );
    if let Some(known) = written.get_mut(&sameness) {
        known.count += 1;
        let events: Api<Event> = Api::namespaced(client.clone(), &known.namespace);
        let last = master_api::time::seconds(now);
        let patch = Patch::Merge(json!({"count": known.count, "lastTimestamp": last}));
        match events.patch(&known.name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {} // expired: write it anew
            result => return result.map(|_| ()),
        }
    }
    let event = new_event(note, now, store_env::rng::draw());
    let namespace = event.metadata.namespace.clone().unwrap_or_default();
    let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let created = events.create(&PostParams::default(), &event).await?;
    let name = created.metadata.name.unwrap_or_default();
    written.insert(sameness, Written { namespace, name, count: 1 });
    Ok(())
}

fn new_event(note: Note, now: Timestamp, unique: u64) -> Event {
    let namespace = note.object.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let about = note.object.name.clone().unwrap_or_default();
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{about}.{unique:016x}")),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: note.object,
        reason: Some(note.reason),
        message: Some(note.message),
        type_: Some(note.kind.to_owned()),
        count: Some(1),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        source: Some(EventSource { component: Some(note.component.to_owned()), host: None }),
        reporting_component: Some(note.component.to_owned()),
        reporting_instance: Some(String::new()),
        ..Event::default()
    }
}
