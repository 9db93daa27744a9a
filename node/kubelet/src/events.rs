//! Events about pods, for people: what happened, how often.
//!
//! Bounded and best effort: a node that cannot reach its masters drops events rather than work.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use kube::Api;
use kube::api::PostParams;
use store_env::clock::SharedClock;
use store_env::task::TaskResult;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::objects::{Objects, within};
use crate::pod;
use crate::status;

const WAITING_MAX: usize = 512;

/// Takes events from anywhere in the kubelet.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    node: String,
    clock: SharedClock,
    queue: mpsc::Sender<Event>,
}

/// Sends the events to the API.
#[derive(Debug)]
pub(crate) struct Sender {
    objects: Objects,
    queue: mpsc::Receiver<Event>,
}

/// A recorder and the task that empties it.
pub(crate) fn recorder(node: &str, clock: SharedClock, objects: Objects) -> (Recorder, Sender) {
    let (sender, queue) = mpsc::channel(WAITING_MAX);
    (Recorder { node: node.to_owned(), clock, queue: sender }, Sender { objects, queue })
}

impl Recorder {
    /// Something went as it should.
    pub(crate) fn normal(&self, pod: &Pod, container: Option<&str>, reason: &str, text: String) {
        self.record(pod, container, "Normal", reason, text);
    }

    /// Something did not.
    pub(crate) fn warning(&self, pod: &Pod, container: Option<&str>, reason: &str, text: String) {
        self.record(pod, container, "Warning", reason, text);
    }

    fn record(&self, pod: &Pod, container: Option<&str>, kind: &str, reason: &str, text: String) {
        tracing::info!(pod = pod::key(pod), container, reason, text, "event");
        let now_ms = self.clock.unix_ms();
        let is_init = container.and_then(|name| pod::container(pod, name));
        let list = match is_init {
            Some((pod::Role::Main, _)) | None => "containers",
            Some(_) => "initContainers",
        };
        let name = format!("{}.{:016x}", pod::name(pod), store_env::rng::draw());
        let mut event = Event {
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                namespace: Some(pod::namespace(pod).to_owned()),
                uid: pod.metadata.uid.clone(),
                resource_version: pod.metadata.resource_version.clone(),
                field_path: container.map(|name| format!("spec.{list}{{{name}}}")),
            },
            reason: Some(reason.to_owned()),
            message: Some(text),
            type_: Some(kind.to_owned()),
            count: Some(1),
            first_timestamp: Some(status::time(now_ms)),
            last_timestamp: Some(status::time(now_ms)),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(self.node.clone()),
            source: Some(EventSource {
                component: Some("kubelet".to_owned()),
                host: Some(self.node.clone()),
            }),
            ..Default::default()
        };
        event.metadata.name = Some(name);
        event.metadata.namespace = Some(pod::namespace(pod).to_owned());
        // A full queue means that the masters are away or slow; work goes on without the event.
        let _ = self.queue.try_send(event);
    }
}

impl Sender {
    /// Sends events until told to stop. Equal ones in a row are counted up instead of repeated.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> TaskResult {
        let mut recent: std::collections::VecDeque<Event> = std::collections::VecDeque::new();
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                event = self.queue.recv() => event,
            };
            let Some(event) = event else { return Ok(()) };
            let Ok(client) = self.objects.client("an event") else { continue };
            let namespace = event.metadata.namespace.clone().unwrap_or_default();
            let api: Api<Event> = Api::namespaced(client, &namespace);
            let known = recent.iter_mut().find(|known| is_same(known, &event));
            let sent = match known {
                Some(known) => {
                    known.count = known.count.map(|count| count + 1);
                    known.last_timestamp = event.last_timestamp.clone();
                    let patch = serde_json::json!({
                        "count": known.count, "lastTimestamp": known.last_timestamp,
                    });
                    let name = known.metadata.name.clone().unwrap_or_default();
                    let patch = kube::api::Patch::Merge(patch);
                    within("event", api.patch(&name, &Default::default(), &patch)).await.map(drop)
                }
                None => {
                    recent.push_front(event.clone());
                    recent.truncate(256);
                    within("event", api.create(&PostParams::default(), &event)).await.map(drop)
                }
            };
            if let Err(error) = sent {
                tracing::debug!(%error, "event not recorded");
                recent.clear();
            }
        }
    }
}

fn is_same(known: &Event, event: &Event) -> bool {
    let (a, b) = (&known.involved_object, &event.involved_object);
    a.uid == b.uid
        && a.field_path == b.field_path
        && known.reason == event.reason
        && known.message == event.message
        && known.type_ == event.type_
}
