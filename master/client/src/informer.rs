//! Keeps a local copy of one kind by list and watch, and tells subscribers what changed.
//!
//! Everything that reacts to the cluster (controllers, scheduler, kubelet, proxy, DNS) reads such
//! copies, so that a busy loop costs the API server one watch and no reads.
//!
//! # Path
//! `kube::Api` list → [`Store::replace`]; watch event → [`Store::apply`] → subscribers
//!
//! # Invariants
//! - A list is consistent (no resourceVersion asked for): the copy never goes back in time, even
//!   when another master answers.
//! - A watch resumes from the last version seen; only 410 Gone makes it list again.

mod store;
#[cfg(test)]
mod tests;

use std::fmt::{self, Debug};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, pin_mut};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Status;
use rand::Rng;
use rand::rngs::StdRng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use store_env::task::TaskResult;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

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
pub trait Kind: Watched + kube::Resource<DynamicType = ()> + Serialize {}

impl<K> Kind for K where K: Watched + kube::Resource<DynamicType = ()> + Serialize {}

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

/// The task that feeds a [`Store`].
pub struct Informer<K> {
    api: kube::Api<K>,
    params: ListWatch,
    store: Store<K>,
    backoff: Backoff,
}

impl<K: kube::Resource> Debug for Informer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Informer")
            .field("resource", &self.api.resource_url())
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

impl<K: Watched> Informer<K> {
    /// The (still empty) store, and the task that fills it.
    pub fn new(api: kube::Api<K>, params: ListWatch) -> (Store<K>, Self) {
        let store = Store::default();
        let backoff = Backoff::new(api.resource_url());
        (store.clone(), Self { api, params, store, backoff })
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
                    self.store.replace(objects, &version);
                    self.backoff.reset();
                    self.watch_on().await;
                }
                Err(reason) => self.pause(&reason).await,
            }
        }
    }

    /// A consistent list, in pages; in one piece if its history was compacted on the way.
    async fn list(&self) -> Result<(Vec<K>, String), String> {
        match self.pages(Some(PAGE_MAX)).await {
            Err(kube::Error::Api(status)) if is_gone(&status) => self.pages(None).await,
            result => result,
        }
        .map_err(|error| format!("list: {error}"))
    }

    async fn pages(&self, limit: Option<u32>) -> Result<(Vec<K>, String), kube::Error> {
        let mut params = ListParams {
            label_selector: self.params.labels.clone(),
            field_selector: self.params.fields.clone(),
            limit,
            ..ListParams::default()
        };
        let mut objects = Vec::new();
        loop {
            let page = timeout(LIST_DEADLINE, self.api.list(&params)).await.map_err(too_late)??;
            objects.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok((objects, page.metadata.resource_version.unwrap_or_default())),
            }
        }
    }

    /// Watches from the store's version, again and again, until that version has expired.
    async fn watch_on(&mut self) {
        loop {
            let before = self.store.resource_version();
            let end = self.watch(&before).await;
            if self.store.resource_version() != before {
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
        let opened = timeout(WATCH_OPEN_DEADLINE, self.api.watch(&params, from)).await;
        let stream = match opened {
            Ok(Ok(stream)) => stream.into_stream(),
            Ok(Err(error)) => return end_of(error),
            Err(late) => return end_of(too_late(late)),
        };
        pin_mut!(stream);
        let mut events = 0_u64;
        let all = async {
            while let Some(event) = stream.next().await {
                events += 1;
                match event {
                    Ok(event) => self.take(event)?,
                    Err(error) => return Err(end_of(error)),
                }
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

    fn take(&self, event: WatchEvent<K>) -> Result<(), End> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => self.store.apply(object),
            WatchEvent::Deleted(object) => self.store.delete(object),
            WatchEvent::Bookmark(mark) => {
                self.store.advance(&mark.metadata.resource_version, false);
            }
            WatchEvent::Error(status) => return Err(end_of(kube::Error::Api(status))),
        }
        Ok(())
    }

    async fn pause(&mut self, reason: &str) {
        let delay = self.backoff.next();
        let resource = self.api.resource_url();
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
