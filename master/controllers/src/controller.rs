//! What all controllers share: changes become keys, keys wait in a queue, workers reconcile them.
//!
//! A controller is level-triggered: it is told which object to look at, never what happened.
//!
//! # Invariants
//! - A panic or an error in one key delays that key only.
//! - Nothing is reconciled before every informer was listed once.
//! - A key is not looked at before the copies show what was written for it the last time.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use master_client::informer::{Change, Store, Watched, key_of};
use parking_lot::Mutex;
use store_env::task::{Group, TaskResult};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::context::Cx;
use crate::error::Error;
use crate::queue::Queue;
use crate::unseen::Unseen;

/// One look at one object takes this long at most.
const RECONCILE_DEADLINE: Duration = Duration::from_secs(120);
/// How often a key is considered again whose writes the copies do not show; what shows them brings it back at once.
const UNSEEN_AGAIN: Duration = Duration::from_millis(500);

/// When to look at the object again if nothing changes before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Requeue {
    #[default]
    OnChange,
    After(Duration),
}

type Reconcile = dyn Fn(Cx, String) -> BoxFuture<'static, Result<Requeue, Error>> + Send + Sync;

/// What the copies do not show yet, by the key that it was written for.
type Owing = Arc<Mutex<BTreeMap<String, Unseen>>>;

/// A controller under construction: name it, say what it watches, run it.
pub(crate) struct Controller<'g> {
    name: &'static str,
    cx: Cx,
    queue: Queue,
    group: &'g mut Group,
}

impl<'g> Controller<'g> {
    pub(crate) fn new(name: &'static str, cx: &Cx, group: &'g mut Group) -> Self {
        let mut cx = cx.clone();
        cx.events = cx.events.of(name);
        Self { name, cx, queue: Queue::default(), group }
    }

    /// The queue, for sources that are no store (timers).
    pub(crate) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Each change of an object in `store` adds that object's key.
    pub(crate) fn of<K: Watched>(self, store: &Store<K>) -> Self {
        self.watches(store, |object| vec![key_of(object)])
    }

    /// Each change of an object in `store` adds the keys that `keys` makes of it, before and after.
    pub(crate) fn watches<K: Watched>(
        self,
        store: &Store<K>,
        keys: impl Fn(&K) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        let (store, queue) = (store.clone(), self.queue.clone());
        let name = format!("{} watches {}", self.name, std::any::type_name::<K>());
        self.group.spawn(name, |stop| async move {
            stop.run_until_cancelled(feed(store, queue, keys)).await;
            Ok(())
        });
        self
    }

    /// Starts the workers.
    pub(crate) fn run<F, Fut>(self, workers: usize, reconcile: F)
    where
        F: Fn(Cx, String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Requeue, Error>> + Send + 'static,
    {
        let reconcile: Arc<Reconcile> = Arc::new(move |cx, key| reconcile(cx, key).boxed());
        let owing = Owing::default();
        for worker in 1..=workers {
            let name = self.name;
            let (cx, queue, reconcile) = (self.cx.clone(), self.queue.clone(), reconcile.clone());
            let owing = owing.clone();
            self.group.spawn(format!("{name} {worker}"), move |stop| {
                work(name, cx, (queue, owing), reconcile, stop)
            });
        }
    }
}

async fn feed<K: Watched>(
    store: Store<K>,
    queue: Queue,
    keys: impl Fn(&K) -> Vec<String> + Send + Sync,
) {
    let mut changes = store.subscribe();
    let add = |object: &K| keys(object).into_iter().for_each(|key| queue.add(key));
    while let Some(change) = changes.recv().await {
        match change {
            Change::Applied { old, new } => {
                if let Some(old) = old {
                    add(&old);
                }
                add(&new);
            }
            Change::Deleted(last) => add(&last),
            Change::Resync => store.list().iter().for_each(|object| add(object)),
        }
    }
}

async fn work(
    name: &'static str,
    cx: Cx,
    (queue, owing): (Queue, Owing),
    reconcile: Arc<Reconcile>,
    stop: CancellationToken,
) -> TaskResult {
    if stop.run_until_cancelled(cx.informers.wait_synced()).await.is_none() {
        return Ok(());
    }
    loop {
        let Some(key) = stop.run_until_cancelled(queue.next()).await else { return Ok(()) };
        let unseen = owing.lock().remove(&key).unwrap_or_default();
        if !unseen.is_settled() {
            owing.lock().insert(key.clone(), unseen);
            queue.done(&key);
            queue.add_after(key, UNSEEN_AGAIN);
            continue;
        }
        let span = tracing::debug_span!("reconcile", controller = name, key);
        let cx = Cx { unseen: unseen.clone(), ..cx.clone() };
        let looked = AssertUnwindSafe(timeout(RECONCILE_DEADLINE, reconcile(cx, key.clone())))
            .catch_unwind()
            .instrument(span);
        let Some(looked) = stop.run_until_cancelled(looked).await else { return Ok(()) };
        if !unseen.is_settled() {
            tracing::warn!(controller = name, key, "the copies lag behind what was written");
            owing.lock().insert(key.clone(), unseen);
            queue.add_after(key.clone(), UNSEEN_AGAIN);
        }
        settle(name, &queue, key, looked);
    }
}

/// Decides when a key comes back.
fn settle(
    name: &str,
    queue: &Queue,
    key: String,
    looked: std::thread::Result<Result<Result<Requeue, Error>, tokio::time::error::Elapsed>>,
) {
    queue.done(&key);
    let reason = match looked {
        Ok(Ok(Ok(requeue))) => {
            queue.forget(&key);
            if let Requeue::After(delay) = requeue {
                queue.add_after(key, delay);
            }
            return;
        }
        // Somebody else wrote it: the copy is about to show that.
        Ok(Ok(Err(error))) if error.is_conflict() => {
            tracing::debug!(controller = name, key, %error, "again");
            return queue.back_off(key);
        }
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(_)) => "took too long".to_owned(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("panicked: {}", text.unwrap_or("(no message)"))
        }
    };
    tracing::warn!(controller = name, key, reason, "reconcile failed");
    queue.back_off(key);
}
