//! Keeps a local copy of one kind by list and watch, and tells subscribers what changed.
//!
//! Everything that reacts to the cluster (controllers, scheduler, kubelet, proxy, DNS) reads such
//! copies, so that a busy loop costs the API server one watch and no reads.
//!
//! # Path
//! list → `Sink::read` → `Sink::replace`; line of a watch → `Sink::read` → `Sink::apply`. The sink of most is a [`Store`],
//! which tells its subscribers.
//!
//! # Invariants
//! - A list is consistent (no resourceVersion asked for): the copy never goes back in time, even
//!   when another master answers.
//! - A watch resumes from the last version seen; only 410 Gone makes it list again.

mod held;
mod sink;
mod store;
#[cfg(test)]
mod tests;

use std::fmt::{self, Debug};
use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt, pin_mut};
use kube::api::{ListParams, WatchParams};
use kube::core::{ListMeta, Request, Status};
use rand::Rng;
use rand::rngs::StdRng;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use store_env::task::TaskResult;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use held::{Held, Keeper, Kept};
pub use sink::{Progress, Sink};
pub use store::{Change, Store, key_of};

/// A list of one page is given up after this.
const LIST_DEADLINE: Duration = Duration::from_secs(60);
/// A watch that brought no answer at all is given up after this.
const WATCH_OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// A server ends a watch by itself after 240…290 s (drawn); one that is silent longer is dead.
const WATCH_S: std::ops::Range<u32> = 240..290;
const WATCH_SLACK: Duration = Duration::from_secs(10);
/// Objects asked for in one request of a list.
const PAGE_MAX: u32 = 500;
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What can be watched: typed objects, and partial ones whose kind is known at run time only.
pub trait Watched:
    kube::Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Watched for K where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

/// A typed Kubernetes kind, as `k8s_openapi` defines it.
pub trait Kind: Watched + kube::Resource<DynamicType = ()> {}

impl<K> Kind for K where K: Watched + kube::Resource<DynamicType = ()> {}

/// Which objects of a kind are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListWatch {
    pub labels: Option<String>,
    pub fields: Option<String>,
}

impl ListWatch {
    /// Every object.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those a label selector picks, for instance `app=web,tier!=db`.
    #[must_use]
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.labels = Some(selector.into());
        self
    }

    /// Those a field selector picks, for instance `spec.nodeName=node-1`.
    #[must_use]
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.fields = Some(selector.into());
        self
    }
}

/// The task that feeds a [`Store`], or another [`Sink`].
pub struct Informer<S> {
    client: kube::Client,
    requests: Request,
    params: ListWatch,
    sink: S,
    backoff: Backoff,
}

/// A page of a list.
#[derive(Deserialize)]
struct Page {
    metadata: ListMeta,
    #[serde(default)]
    items: Vec<Box<RawValue>>,
}

/// An event of a watch.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// A bookmark's version.
#[derive(Deserialize)]
struct Mark {
    metadata: ListMeta,
}

impl<S> Debug for Informer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Informer")
            .field("resource", &self.requests.url_path)
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

/// How a watch ended.
enum End {
    /// Resume where it stopped.
    Resume,
    /// Resume, but not at once.
    Retry(String),
    /// Its version is no longer in history: list again.
    Expired,
}

impl<K: Watched> Informer<Store<K>> {
    /// The (still empty) store, and the task that fills it.
    pub fn new(api: kube::Api<K>, params: ListWatch) -> (Store<K>, Self) {
        let store = Store::default();
        (store.clone(), Self::into_sink(api, params, store))
    }
}

impl<S: Sink> Informer<S> {
    /// The task that tells `sink` of these objects.
    pub fn into_sink<K: kube::Resource>(api: kube::Api<K>, params: ListWatch, sink: S) -> Self {
        let backoff = Backoff::new(api.resource_url());
        let requests = Request::new(api.resource_url());
        Self { client: api.into_client(), requests, params, sink, backoff }
    }

    /// Lists, watches, and begins again, until told to stop.
    pub async fn run(mut self, stop: CancellationToken) -> TaskResult {
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            () = self.follow() => Ok(()),
        }
    }

    async fn follow(&mut self) {
        loop {
            match self.list().await {
                Ok((objects, version)) => {
                    self.sink.replace(objects, &version);
                    self.backoff.reset();
                    self.watch_on().await;
                }
                Err(reason) => self.pause(&reason).await,
            }
        }
    }

    /// A consistent list, in pages; in one piece if its history was compacted on the way.
    async fn list(&self) -> Result<(Vec<S::Object>, String), String> {
        match self.pages(Some(PAGE_MAX)).await {
            Err(kube::Error::Api(status)) if is_gone(&status) => self.pages(None).await,
            result => result,
        }
        .map_err(|error| format!("list: {error}"))
    }

    async fn pages(&self, limit: Option<u32>) -> Result<(Vec<S::Object>, String), kube::Error> {
        let mut params = ListParams {
            label_selector: self.params.labels.clone(),
            field_selector: self.params.fields.clone(),
            limit,
            ..ListParams::default()
        };
        let mut objects = Vec::new();
        loop {
            let request = self.requests.list(&params).map_err(kube::Error::BuildRequest)?;
            let page = self.client.request::<Page>(request);
            let page = timeout(LIST_DEADLINE, page).await.map_err(too_late)??;
            for item in page.items {
                objects.push(self.sink.read(item.get()).map_err(kube::Error::SerdeError)?);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok((objects, page.metadata.resource_version.unwrap_or_default())),
            }
        }
    }

    /// Watches from the store's version, again and again, until that version has expired.
    async fn watch_on(&mut self) {
        loop {
            let before = self.sink.progress().resource_version();
            let end = self.watch(&before).await;
            if self.sink.progress().resource_version() != before {
                self.backoff.reset();
            }
            match end {
                End::Resume => {}
                End::Retry(reason) => self.pause(&reason).await,
                End::Expired => return,
            }
        }
    }

    async fn watch(&mut self, from: &str) -> End {
        let seconds = self.backoff.rng.random_range(WATCH_S);
        let params = WatchParams {
            label_selector: self.params.labels.clone(),
            field_selector: self.params.fields.clone(),
            timeout: Some(seconds),
            ..WatchParams::default()
        };
        let request = match self.requests.watch(&params, from) {
            Ok(request) => request,
            Err(error) => return end_of(kube::Error::BuildRequest(error)),
        };
        let opened = timeout(WATCH_OPEN_DEADLINE, self.client.request_stream(request)).await;
        let lines = match opened {
            Ok(Ok(stream)) => stream.lines(),
            Ok(Err(error)) => return end_of(error),
            Err(late) => return end_of(too_late(late)),
        };
        pin_mut!(lines);
        let mut events = 0_u64;
        let all = async {
            while let Some(line) = lines.next().await {
                events += 1;
                let line = line.map_err(|error| End::Retry(format!("watch: {error}")))?;
                self.take(&line)?;
            }
            Ok(())
        };
        let ended = timeout(Duration::from_secs(seconds.into()) + WATCH_SLACK, all).await;
        match ended {
            Ok(Err(end)) => end,
            // A server that hangs up at once must not be called in a tight loop.
            Ok(Ok(())) if events == 0 => End::Retry("watch ended without an event".to_owned()),
            Ok(Ok(())) | Err(_) => End::Resume,
        }
    }

    fn take(&self, line: &str) -> Result<(), End> {
        let malformed = |error| end_of(kube::Error::SerdeError(error));
        let Event { kind, object } = serde_json::from_str(line).map_err(malformed)?;
        let text = object.get();
        match kind {
            "ADDED" | "MODIFIED" => {
                self.sink.apply(self.sink.read(text).map_err(malformed)?);
            }
            "DELETED" => self.sink.delete(self.sink.read(text).map_err(malformed)?),
            "BOOKMARK" => {
                let mark: Mark = serde_json::from_str(text).map_err(malformed)?;
                let version = mark.metadata.resource_version.unwrap_or_default();
                self.sink.progress().advance(&version, false);
            }
            "ERROR" => {
                let status: Status = serde_json::from_str(text).map_err(malformed)?;
                return Err(end_of(kube::Error::Api(Box::new(status))));
            }
            other => return Err(End::Retry(format!("watch: unknown event {other:?}"))),
        }
        Ok(())
    }

    async fn pause(&mut self, reason: &str) {
        let delay = self.backoff.next();
        let resource = &self.requests.url_path;
        tracing::debug!(resource, reason, ?delay, "informer waits");
        tokio::time::sleep(delay).await;
    }
}

fn end_of(error: kube::Error) -> End {
    match error {
        kube::Error::Api(status) if is_gone(&status) => End::Expired,
        error => End::Retry(format!("watch: {error}")),
    }
}

fn is_gone(status: &Status) -> bool {
    status.code == 410 || status.reason == "Expired" || status.reason == "Gone"
}

fn too_late(late: tokio::time::error::Elapsed) -> kube::Error {
    kube::Error::Service(Box::new(late))
}

/// Delays that double up to a bound, each between half and all of its step.
#[derive(Debug)]
struct Backoff {
    step: Duration,
    rng: StdRng,
}

impl Backoff {
    fn new(resource: &str) -> Self {
        let rng = store_env::rng::named(&format!("informer {resource}"), 0);
        Self { step: BACKOFF_FIRST, rng }
    }

    fn reset(&mut self) {
        self.step = BACKOFF_FIRST;
    }

    fn next(&mut self) -> Duration {
        let delay = self.step.mul_f64(self.rng.random_range(0.5..=1.0));
        self.step = (self.step * 2).min(BACKOFF_MAX);
        delay
    }
}
