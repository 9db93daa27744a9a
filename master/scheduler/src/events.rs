//! Tells people what was decided: core/v1 Events, equal ones counted.
//!
//! Recording never delays a decision: events wait in a bounded queue, and what does not fit is dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
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
/// Events that wait are written together: their writes share entries of the log and its syncs.
const TOGETHER_MAX: usize = 32;
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
            namespace: pod.namespace().to_owned(),
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
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

/// Which events are one that happened several times: pod, reason and message.
type Sameness = (String, &'static str, String);

/// The event that says so, and how often it happened.
#[derive(Clone, Debug)]
struct Told {
    name: String,
    count: i32,
}

/// The task behind the recorders.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Receiver<Note>,
    written: BTreeMap<Sameness, Told>,
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
        let mut notes = Vec::new();
        loop {
            let read = self.queue.recv_many(&mut notes, TOGETHER_MAX);
            if stop.run_until_cancelled(read).await.is_none_or(|read| read == 0) {
                break;
            }
            let ms = i64::try_from(clock.unix_ms()).unwrap_or(i64::MAX);
            let now = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
            let writes = self.write(&client, std::mem::take(&mut notes), now);
            if stop.run_until_cancelled(writes).await.is_none() {
                break;
            }
        }
        stop.cancelled().await;
        Ok(())
    }

    /// Writes all of them at once; what happened twice is one event.
    async fn write(&mut self, client: &kube::Client, notes: Vec<Note>, now: Timestamp) {
        if self.written.len() >= REMEMBERED_MAX {
            self.written.clear();
        }
        let mut counts: BTreeMap<Sameness, (Note, i32)> = BTreeMap::new();
        for note in notes {
            let sameness = (note.uid.clone(), note.reason, note.message.clone());
            counts.entry(sameness).or_insert((note, 0)).1 += 1;
        }
        let writes = counts.into_iter().map(|(sameness, (note, count))| {
            let known = self.written.get(&sameness).cloned();
            async move {
                let write = timeout(WRITE_DEADLINE, tell(client, note, count, known, now));
                (sameness, write.await)
            }
        });
        for (sameness, result) in join_all(writes).await {
            match result {
                Ok(Ok(told)) => drop(self.written.insert(sameness, told)),
                Ok(Err(error)) => tracing::debug!(%error, "event not written"),
                Err(_) => tracing::debug!("event not written in time"),
            }
        }
    }
}

/// Writes what happened `count` times more, to the event that is `known` or a new one.
async fn tell(
    client: &kube::Client,
    note: Note,
    count: i32,
    known: Option<Told>,
    now: Timestamp,
) -> Result<Told, kube::Error> {
    let events: Api<Event> = Api::namespaced(client.clone(), &note.namespace);
    if let Some(Told { name, count: before }) = known {
        let count = before + count;
        let patch = Patch::Merge(
            json!({ "count": count, "lastTimestamp": master_api::time::seconds(now) }),
        );
        match events.patch(&name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {} // expired: written anew
            result => return result.map(|_| Told { name, count }),
        }
    }
    let event = Event { count: Some(count), ..event(note, now, store_env::rng::draw()) };
    let name = event.metadata.name.clone().unwrap_or_default();
    events.create(&PostParams::default(), &event).await?;
    Ok(Told { name, count })
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
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(note.namespace),
            name: Some(note.name),
            uid: Some(note.uid),
            ..ObjectReference::default()
        },
        type_: Some(if note.is_warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(note.reason.to_owned()),
        action: Some(note.action.to_owned()),
        message: Some(note.message),
        event_time: Some(MicroTime(now)),
        first_timestamp: Some(seconds.clone()),
        last_timestamp: Some(seconds),
        source: Some(EventSource { component: Some(SCHEDULER_NAME.to_owned()), host: None }),
        reporting_component: Some(SCHEDULER_NAME.to_owned()),
        reporting_instance: Some(SCHEDULER_NAME.to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use http::{Method, Request, Response};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn what_happened_several_times_is_one_event_with_its_count() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = log.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let seen = seen.clone();
            async move {
                let method = request.method().clone();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let event: Value = serde_json::from_slice(&body).unwrap();
                seen.lock().push((method, event["count"].as_i64()));
                Ok::<_, Infallible>(Response::new(Body::from(body.to_vec())))
            }
        });
        let client = kube::Client::new(service, "default");
        let (_, mut writer) = channel();
        let pod = |uid: &str| {
            let mut pod = master_client::pod::Pod::default();
            pod.metadata.uid = Some(uid.to_owned());
            PodInfo::read(Arc::new(pod))
        };
        let note = |name| Note::about(&pod(name), "FailedScheduling", "no room".to_owned());
        let notes = ["a", "b", "a", "a"].map(note).to_vec();
        writer.write(&client, notes, Timestamp::UNIX_EPOCH).await;
        assert_eq!(*log.lock(), [(Method::POST, Some(3)), (Method::POST, Some(1))]);
        log.lock().clear();
        writer.write(&client, vec![note("a"), note("a")], Timestamp::UNIX_EPOCH).await;
        assert_eq!(*log.lock(), [(Method::PATCH, Some(5))]);
    }
}
