//! The local copy of one kind's objects, shared by everyone in the process who reads that kind.
//!
//! A reader never waits for the network: it sees the cluster as of [`Store::resource_version`]. Objects are
//! decoded when somebody first looks at them ([`Held`]).
//!
//! # Invariants
//! - The store changes before its subscribers hear of it.
//! - A subscriber that fell behind finds a [`Change::Resync`] as the last message of its queue: it
//!   may be late, but never ignorant.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Watched;
use super::held::{Held, Keeper};
use super::sink::{Progress, Sink};

/// Messages that wait for one subscriber at most.
const QUEUE_MAX: usize = 1024;

/// What a subscriber hears.
#[derive(Debug)]
pub enum Change<K> {
    /// An object is new (`old` is `None`) or was written.
    Applied { old: Option<Arc<K>>, new: Arc<K> },
    /// An object is gone; its last known state.
    Deleted(Arc<K>),
    /// Anything may have changed: look at the whole store. Always the first message.
    Resync,
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Applied { old, new } => Self::Applied { old: old.clone(), new: new.clone() },
            Self::Deleted(old) => Self::Deleted(old.clone()),
            Self::Resync => Self::Resync,
        }
    }
}

struct Subscriber<K> {
    queue: mpsc::Sender<Change<K>>,
    /// The newest message in the queue is a `Resync` that nobody may have read yet.
    resync_pending: bool,
}

impl<K> Subscriber<K> {
    /// Queues `change`, or a `Resync` in the last free place. `false` once nobody listens.
    fn offer(&mut self, change: &Change<K>) -> bool {
        if self.queue.is_closed() {
            return false;
        }
        let free = self.queue.capacity();
        if self.resync_pending && free < QUEUE_MAX {
            return true; // whoever reads that Resync will see this change in the store
        }
        let full = free <= 1;
        let message = if full { Change::Resync } else { change.clone() };
        self.resync_pending = full;
        self.queue.try_send(message).is_ok()
    }
}

struct State<K> {
    objects: BTreeMap<Arc<str>, Held<K>>,
    /// Keys of the objects that a controlling owner's uid has.
    owned: BTreeMap<Box<str>, BTreeSet<Arc<str>>>,
    subscribers: Vec<Subscriber<K>>,
    keeper: Option<Keeper>,
}

/// The copy that an [`Informer`](super::Informer) keeps. Cheap to clone.
pub struct Store<K> {
    state: Arc<Mutex<State<K>>>,
    progress: Progress,
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), progress: self.progress.clone() }
    }
}

impl<K> Debug for Store<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("objects", &self.state.lock().objects.len())
            .field("progress", &self.progress)
            .finish()
    }
}

/// `namespace/name`, or `name` for a cluster-scoped object.
pub fn key_of<K: kube::Resource>(object: &K) -> String {
    let meta = object.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    match meta.namespace.as_deref() {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    }
}

impl<K: Watched> Default for Store<K> {
    /// Empty and never synced unless an informer (or a test) fills it.
    fn default() -> Self {
        let state = State {
            objects: BTreeMap::new(),
            owned: BTreeMap::new(),
            subscribers: Vec::new(),
            keeper: None,
        };
        Self { state: Arc::new(Mutex::new(state)), progress: Progress::default() }
    }
}

impl<K: Watched> Store<K> {
    /// One object by `namespace/name` (`name` if cluster-scoped).
    pub fn get(&self, key: &str) -> Option<Arc<K>> {
        self.state.lock().get(key)
    }

    /// Whether there is an object with this key.
    pub fn contains(&self, key: &str) -> bool {
        self.state.lock().objects.contains_key(key)
    }

    /// All objects, ordered by key.
    pub fn list(&self) -> Vec<Arc<K>> {
        let mut state = self.state.lock();
        state.objects.values_mut().filter_map(Held::get).collect()
    }

    /// The objects of one namespace, ordered by name.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        // '0' is the byte after '/': no key of another namespace lies between.
        let (from, to) = (format!("{namespace}/"), format!("{namespace}0"));
        let mut state = self.state.lock();
        let bounds = (Bound::Included(from.as_str()), Bound::Excluded(to.as_str()));
        let own = state.objects.range_mut::<str, _>(bounds);
        own.filter_map(|(_, object)| object.get()).collect()
    }

    /// The objects whose controlling owner has this uid, ordered by key.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        let mut state = self.state.lock();
        let State { objects, owned, .. } = &mut *state;
        let keys = owned.get(uid).into_iter().flatten();
        keys.filter_map(|key| objects.get_mut(key)?.get()).collect()
    }

    /// How many objects nobody has looked at yet.
    #[cfg(test)]
    pub(super) fn undecoded(&self) -> usize {
        self.state.lock().objects.values().filter(|object| object.is_text()).count()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.state.lock().objects.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the first list has arrived.
    pub fn synced(&self) -> bool {
        self.progress.synced()
    }

    /// The resourceVersion this copy shows; empty before the first list.
    pub fn resource_version(&self) -> String {
        self.progress.resource_version()
    }

    /// Waits for the first list.
    pub async fn wait_synced(&self) {
        self.progress.wait_synced().await;
    }

    /// Waits until the copy shows at least `resource_version`, so that a writer reads its own
    /// write. A version that is no number is not waited for.
    pub async fn wait_version(&self, resource_version: &str) {
        let Ok(wanted) = resource_version.parse::<u64>() else { return };
        self.wait_until(|store| {
            store.resource_version().parse::<u64>().is_ok_and(|seen| seen >= wanted)
        })
        .await;
    }

    /// Waits until `condition` holds; it is asked again after each change.
    pub async fn wait_until(&self, mut condition: impl FnMut(&Self) -> bool) {
        self.progress.wait_until(|| condition(self)).await;
    }

    /// Hears of every change from now on, beginning with a [`Change::Resync`] for what is there
    /// already. At most 1,024 messages wait; a slower reader gets a `Resync` in their place.
    pub fn subscribe(&self) -> mpsc::Receiver<Change<K>> {
        let (queue, changes) = mpsc::channel(QUEUE_MAX);
        let mut subscriber = Subscriber { queue, resync_pending: false };
        subscriber.offer(&Change::Resync);
        self.state.lock().subscribers.push(subscriber);
        changes
    }

    /// From now on, the text of an object that `keeper` has is not kept here, too.
    pub fn share_with(&self, keeper: Keeper) {
        self.state.lock().keeper = Some(keeper);
    }

    /// Takes over a whole list as of `resource_version`: what it lacks is deleted. Done by the
    /// informer; public so that tests of readers can fill a store.
    pub fn replace(&self, objects: Vec<K>, resource_version: &str) {
        self.replace_held(objects.into_iter().map(Held::from).collect(), resource_version);
    }

    /// Takes over one written object.
    pub fn apply(&self, object: K) {
        self.apply_held(object.into());
    }

    /// Forgets one object; `last` is its state when it was deleted.
    pub fn delete(&self, last: K) {
        self.delete_held(last.into());
    }

    fn replace_held(&self, objects: Vec<Held<K>>, resource_version: &str) {
        {
            let mut state = self.state.lock();
            let mut absent: BTreeSet<Arc<str>> = state.objects.keys().cloned().collect();
            for object in objects {
                absent.remove(&object.head.key);
                state.apply(object);
            }
            for key in absent {
                state.delete(&key, None);
            }
        }
        self.advance(resource_version, true);
    }

    fn apply_held(&self, object: Held<K>) {
        let resource_version = object.head.resource_version.clone().unwrap_or_default();
        self.state.lock().apply(object);
        self.advance(&resource_version, false);
    }

    fn delete_held(&self, last: Held<K>) {
        let resource_version = last.head.resource_version.clone().unwrap_or_default();
        let key = last.head.key.clone();
        self.state.lock().delete(&key, Some(last));
        self.advance(&resource_version, false);
    }

    /// Nothing of this kind changed up to `resource_version`.
    pub fn advance(&self, resource_version: &str, listed: bool) {
        self.progress.advance(resource_version, listed);
    }
}

impl<K: Watched> Sink for Store<K> {
    type Object = Held<K>;

    fn read(&self, text: &str) -> Result<Held<K>, serde_json::Error> {
        Held::of_text(text, self.state.lock().keeper.clone().as_ref())
    }

    fn replace(&self, objects: Vec<Held<K>>, resource_version: &str) {
        self.replace_held(objects, resource_version);
    }

    fn apply(&self, object: Held<K>) {
        self.apply_held(object);
    }

    fn delete(&self, last: Held<K>) {
        self.delete_held(last);
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }
}

impl<K: Watched> State<K> {
    fn get(&mut self, key: &str) -> Option<Arc<K>> {
        self.objects.get_mut(key)?.get()
    }

    fn apply(&mut self, object: Held<K>) {
        let key = object.head.key.clone();
        let known = self.objects.get(&key).map(|known| &known.head);
        if known.is_some_and(|known| known.uid != object.head.uid) {
            self.delete(&key, None); // same name, another object
        } else if known.is_some_and(|known| {
            known.resource_version.is_some()
                && known.resource_version == object.head.resource_version
        }) {
            return;
        }
        let mut old = self.objects.remove(&key);
        if let Some(old) = &old {
            self.disown(old);
        }
        if let Some(uid) = &object.head.controller {
            self.owned.entry(uid.clone()).or_default().insert(key.clone());
        }
        if self.is_heard() {
            let old = old.as_mut().and_then(Held::get);
            self.objects.insert(key.clone(), object);
            match (self.get(&key), old) {
                (Some(new), old) => self.tell(&Change::Applied { old, new }),
                (None, Some(old)) => self.tell(&Change::Deleted(old)),
                (None, None) => {}
            }
            return;
        }
        self.objects.insert(key, object);
    }

    fn delete(&mut self, key: &str, last: Option<Held<K>>) {
        let Some(mut known) = self.objects.remove(key) else { return };
        self.disown(&known);
        if self.is_heard()
            && let Some(last) = last.and_then(|mut last| last.get()).or_else(|| known.get())
        {
            self.tell(&Change::Deleted(last));
        }
    }

    fn disown(&mut self, object: &Held<K>) {
        let Some(uid) = &object.head.controller else { return };
        if let Some(keys) = self.owned.get_mut(uid) {
            keys.remove(&object.head.key);
            if keys.is_empty() {
                self.owned.remove(uid);
            }
        }
    }

    /// Whether anybody listens: else nothing need be decoded.
    fn is_heard(&mut self) -> bool {
        self.subscribers.retain(|subscriber| !subscriber.queue.is_closed());
        !self.subscribers.is_empty()
    }

    fn tell(&mut self, change: &Change<K>) {
        self.subscribers.retain_mut(|subscriber| subscriber.offer(change));
    }
}
