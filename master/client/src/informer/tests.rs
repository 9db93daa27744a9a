//! The informer against a hand-made API server that speaks the wire.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::channel::mpsc;
use http::{Request, Response};
use http_body_util::StreamBody;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use store_env::task::Group;

use super::*;

type Events = mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>;

/// Answers lists from a script, and holds the watches open for the test to feed.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    lists: VecDeque<(u16, Value)>,
    watches: VecDeque<(u16, Value)>,
    seen: Vec<String>,
    open: Option<Events>,
}

impl Wire {
    fn answer(&self, request: &Request<Body>) -> Response<BoxBody<Bytes, Infallible>> {
        let query = request.uri().query().unwrap_or_default();
        let mut script = self.0.lock();
        let is_watch = query.contains("watch=true");
        script.seen.push(summary(query));
        let scripted = if is_watch { script.watches.pop_front() } else { script.lists.pop_front() };
        let (code, body) = match scripted {
            Some(scripted) => scripted,
            None if is_watch => {
                let (events, body) = mpsc::unbounded();
                script.open = Some(events);
                return Response::new(BodyExt::boxed(StreamBody::new(body)));
            }
            None => (500, failure(500, "InternalError")),
        };
        let bytes = Bytes::from(serde_json::to_vec(&body).unwrap());
        Response::builder().status(code).body(Full::new(bytes).boxed()).unwrap()
    }

    fn client(&self) -> kube::Client {
        let wire = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let response = wire.answer(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        kube::Client::new(service, "default")
    }

    fn send(&self, kind: &str, object: Value) {
        let mut line = serde_json::to_vec(&json!({"type": kind, "object": object})).unwrap();
        line.push(b'\n');
        let script = self.0.lock();
        let open = script.open.as_ref().expect("no watch is open");
        open.unbounded_send(Ok(Frame::data(line.into()))).unwrap();
    }

    fn hang_up(&self) {
        self.0.lock().open = None;
    }

    async fn until_watched_from(&self, version: &str) {
        let wanted = format!("watch {version}");
        for _ in 0..10_000 {
            {
                let script = self.0.lock();
                if script.open.is_some() && script.seen.last() == Some(&wanted) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("never {wanted}: {:?}", self.0.lock().seen);
    }
}

/// `list`, `list continue` or `watch <version>`.
fn summary(query: &str) -> String {
    let value =
        |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    match (value("watch"), value("continue"), value("limit")) {
        (Some(_), _, _) => format!("watch {}", value("resourceVersion").unwrap_or("-")),
        (None, Some(_), _) => "list continue".to_owned(),
        (None, None, Some(_)) => "list".to_owned(),
        (None, None, None) => "list whole".to_owned(),
    }
}

fn map(name: &str, version: u64) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "namespace": "default", "name": name, "uid": format!("uid-{name}"),
        "resourceVersion": version.to_string(), "managedFields": [{"manager": "x"}]}})
}

fn list(version: u64, items: &[Value], next: &str) -> (u16, Value) {
    let metadata = json!({"resourceVersion": version.to_string(), "continue": next});
    (
        200,
        json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": items}),
    )
}

fn failure(code: u16, reason: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code,
           "reason": reason, "message": reason, "metadata": {}})
}

struct Bench {
    wire: Wire,
    store: Store<ConfigMap>,
    _group: Group,
}

fn start(lists: Vec<(u16, Value)>) -> Bench {
    store_env::rng::seed_this_thread(1);
    let wire = Wire::default();
    wire.0.lock().lists = lists.into();
    let (store, informer) = Informer::new(kube::Api::all(wire.client()), ListWatch::all());
    let mut group = Group::under(&CancellationToken::new());
    group.spawn("informer", |stop| informer.run(stop));
    Bench { wire, store, _group: group }
}

/// `a@3 b@5`
fn shown(store: &Store<ConfigMap>) -> String {
    let words = store.list().into_iter().map(|map| {
        let meta = &map.metadata;
        assert!(meta.managed_fields.is_none(), "kept managed fields");
        format!("{}@{}", meta.name.clone().unwrap(), meta.resource_version.clone().unwrap())
    });
    words.collect::<Vec<_>>().join(" ")
}

async fn until(bench: &Bench, expected: &str) {
    let seen =
        timeout(Duration::from_secs(600), bench.store.wait_until(|store| shown(store) == expected));
    assert!(seen.await.is_ok(), "{} instead of {expected}", shown(&bench.store));
}

#[tokio::test(start_paused = true)]
async fn list_is_paged_then_watched() {
    let pages = vec![list(5, &[map("a", 3)], "more"), list(5, &[map("b", 4)], "")];
    let bench = start(pages);
    bench.store.wait_synced().await;
    assert_eq!(shown(&bench.store), "a@3 b@4");
    bench.wire.until_watched_from("5").await;
    assert_eq!(bench.wire.0.lock().seen, ["list", "list continue", "watch 5"]);
    bench.wire.send("ADDED", map("c", 6));
    bench.wire.send("MODIFIED", map("a", 7));
    bench.wire.send("DELETED", map("b", 8));
    until(&bench, "a@7 c@6").await;
    assert_eq!(bench.store.resource_version(), "8");
}

#[tokio::test(start_paused = true)]
async fn watch_resumes_from_the_last_version_seen_bookmarks_included() {
    let bench = start(vec![list(5, &[map("a", 3)], "")]);
    bench.wire.until_watched_from("5").await;
    bench.wire.send("ADDED", map("b", 6));
    let mark =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": "9"}});
    bench.wire.send("BOOKMARK", mark);
    bench.store.wait_version("9").await;
    bench.wire.hang_up();
    bench.wire.until_watched_from("9").await;
    assert_eq!(bench.wire.0.lock().seen, ["list", "watch 5", "watch 9"]);
}

#[tokio::test(start_paused = true)]
async fn expired_watch_lists_again_and_deletes_what_is_gone() {
    let bench = start(vec![
        list(5, &[map("a", 3), map("b", 4)], ""),
        list(20, &[map("b", 4), map("c", 19)], ""),
    ]);
    bench.wire.until_watched_from("5").await;
    let mut changes = bench.store.subscribe();
    bench.wire.send("ERROR", failure(410, "Expired"));
    bench.wire.until_watched_from("20").await;
    assert_eq!(shown(&bench.store), "b@4 c@19");
    let mut heard = Vec::new();
    while let Ok(change) = changes.try_recv() {
        heard.push(match change {
            Change::Applied { old, new } => {
                format!("{}{}", if old.is_some() { "~" } else { "+" }, key_of(&*new))
            }
            Change::Deleted(last) => format!("-{}", key_of(&*last)),
            Change::Resync => "resync".to_owned(),
        });
    }
    assert_eq!(heard, ["resync", "+default/c", "-default/a"]);
}

#[tokio::test(start_paused = true)]
async fn refused_watch_backs_off_without_listing() {
    let bench = start(vec![list(5, &[], "")]);
    let busy = (429, failure(429, "TooManyRequests"));
    bench.wire.0.lock().watches = vec![busy.clone(), busy.clone(), busy].into();
    bench.wire.until_watched_from("5").await;
    assert_eq!(bench.wire.0.lock().seen, ["list", "watch 5", "watch 5", "watch 5", "watch 5"]);
}

#[tokio::test(start_paused = true)]
async fn list_whose_continue_token_expired_is_fetched_whole() {
    let gone = (410, failure(410, "Expired"));
    let bench = start(vec![list(5, &[map("a", 3)], "more"), gone, list(9, &[map("b", 8)], "")]);
    bench.store.wait_synced().await;
    assert_eq!(shown(&bench.store), "b@8");
    assert_eq!(bench.wire.0.lock().seen[..3], ["list", "list continue", "list whole"]);
}

#[tokio::test(start_paused = true)]
async fn objects_are_decoded_when_somebody_looks() {
    let bench = start(vec![list(5, &[map("a", 3), map("b", 4)], "")]);
    bench.wire.until_watched_from("5").await;
    bench.wire.send("MODIFIED", map("a", 6));
    bench.store.wait_version("6").await;
    assert_eq!(bench.store.undecoded(), 2);
    assert!(bench.store.get("default/b").is_some());
    assert_eq!(bench.store.undecoded(), 1);
    // Whoever listens is told of what was there before, too.
    let mut changes = bench.store.subscribe();
    bench.wire.send("MODIFIED", map("a", 7));
    bench.store.wait_version("7").await;
    assert!(matches!(changes.try_recv(), Ok(Change::Resync)));
    let Ok(Change::Applied { old: Some(old), new }) = changes.try_recv() else {
        panic!("no change was heard")
    };
    let version = |map: &ConfigMap| map.metadata.resource_version.clone().unwrap();
    assert_eq!((version(&old), version(&new)), ("6".to_owned(), "7".to_owned()));
    assert_eq!(bench.store.undecoded(), 0);
}

fn typed(name: &str, version: u64) -> ConfigMap {
    serde_json::from_value(map(name, version)).unwrap()
}

#[test]
fn slow_subscriber_ends_with_one_resync_and_hears_again_once_it_has_read_it() {
    let store = Store::<ConfigMap>::default();
    let mut changes = store.subscribe();
    for version in 1..5_000 {
        store.apply(typed("a", version));
    }
    let mut resyncs = Vec::new();
    let mut heard = 0;
    while let Ok(change) = changes.try_recv() {
        heard += 1;
        if matches!(change, Change::Resync) {
            resyncs.push(heard);
        }
    }
    assert_eq!(resyncs.last(), Some(&heard), "the last word is Resync");
    assert_eq!(resyncs.len(), 2, "one at first, one for what was dropped");
    store.apply(typed("a", 5_000));
    assert!(matches!(changes.try_recv(), Ok(Change::Applied { .. })));
}

#[test]
fn object_with_the_name_of_another_is_a_deletion_and_a_creation() {
    let store = Store::<ConfigMap>::default();
    store.apply(typed("a", 1));
    let mut changes = store.subscribe();
    let mut other = typed("a", 2);
    other.metadata.uid = Some("another".to_owned());
    store.apply(other);
    assert!(matches!(changes.try_recv(), Ok(Change::Resync)));
    assert!(matches!(changes.try_recv(), Ok(Change::Deleted(_))));
    assert!(matches!(changes.try_recv(), Ok(Change::Applied { old: None, .. })));
}

#[test]
fn namespace_is_not_confused_with_one_whose_name_it_begins() {
    let store = Store::<ConfigMap>::default();
    for namespace in ["app", "app-2", "app0"] {
        let mut object = typed("a", 1);
        object.metadata.namespace = Some(namespace.to_owned());
        object.metadata.uid = Some(namespace.to_owned());
        store.apply(object);
    }
    assert_eq!(store.list_in("app").len(), 1);
    assert_eq!(store.len(), 3);
}

#[test]
fn owner_index_follows_adoption_and_release() {
    let store = Store::<ConfigMap>::default();
    let owned = |version, uid: Option<&str>| {
        let mut object = typed("a", version);
        let owner = |uid| json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid, "controller": true}]);
        object.metadata.owner_references =
            uid.map(|uid| serde_json::from_value(owner(uid)).unwrap());
        object
    };
    let steps = [(Some("u"), (1, 0)), (Some("v"), (0, 1)), (None, (0, 0))];
    for (version, (uid, expected)) in steps.into_iter().enumerate() {
        store.apply(owned(version as u64 + 1, uid));
        let counts = (store.owned_by("u").len(), store.owned_by("v").len());
        assert_eq!(counts, expected, "after {uid:?}");
    }
}
