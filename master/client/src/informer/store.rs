//! The local copy of one kind's objects, shared by everyone in the process who reads that kind.
//!
//! A reader never waits for the network: it sees the cluster as of [`Store::resource_version`]. Objects are
//! decoded when somebody first looks at them ([`Held`]).
//!
//! # Invariants
//! - The store changes before its subscribers hear of it.
//! - A subscriber that fell behind finds a [`Change::Resync`] as the last message of its queue: it
//!   may be late, but never ignorant.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Debug};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::Watched;
use super::held::{Held, Look};

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

/// How far the copy has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Progress {
    synced: bool,
    resource_version: String,
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
    objects: BTreeMap<String, Held<K>>,
    /// Keys of the objects that a controlling owner's uid has.
    owned: BTreeMap<String, BTreeSet<String>>,
    subscribers: Vec<Subscriber<K>>,
    /// Takes away what no reader needs, from each object that is decoded.
    trim: fn(&mut K),
    recent: Recent,
}

/// The objects that stay decoded: all, or those that were looked at last.
#[derive(Debug)]
struct Recent {
    max: usize,
    /// In the order in which they were decoded; some are gone by now, or twice here.
    keys: VecDeque<String>,
}

impl Recent {
    /// Where nothing is ever let go.
    const ALL: usize = usize::MAX;

    fn is_all(&self) -> bool {
        self.max == Self::ALL
    }

    /// Notes an object that was decoded; says whose turn it is to be let go.
    fn note(&mut self, key: &str) -> Option<String> {
        self.keys.push_back(key.to_owned());
        if self.keys.len() > self.max { self.keys.pop_front() } else { None }
    }
}

/// The copy that an [`Informer`](super::Informer) keeps. Cheap to clone.
pub struct Store<K> {
    state: Arc<Mutex<State<K>>>,
    progress: Arc<watch::Sender<Progress>>,
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), progress: self.progress.clone() }
    }
}

impl<K> Debug for Store<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = self.progress.borrow().clone();
        f.debug_struct("Store")
            .field("objects", &self.state.lock().objects.len())
            .field("synced", &progress.synced)
            .field("resource_version", &progress.resource_version)
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
            trim: |_| {},
            recent: Recent { max: Recent::ALL, keys: VecDeque::new() },
        };
        let (progress, _) = watch::channel(Progress::default());
        Self { state: Arc::new(Mutex::new(state)), progress: Arc::new(progress) }
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
        self.list_where(|_| true)
    }

    /// The objects that are wanted, ordered by key. Where not all stay decoded, the others are looked at one after the
    /// other and let go: a list of all would be many times as large as what it is made of.
    pub fn list_where(&self, is_wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let mut wanted = Vec::new();
        self.for_each(|object| wanted.extend(Some(object).filter(|object| is_wanted(object))));
        wanted
    }

    /// Looks at all objects, one after the other, ordered by key.
    pub fn for_each(&self, mut look: impl FnMut(Arc<K>)) {
        let (looks, trim): (Vec<_>, _) = {
            let mut state = self.state.lock();
            let State { objects, trim, recent, .. } = &mut *state;
            if recent.is_all() {
                let known = objects.values_mut().filter_map(|object| object.get(*trim, false));
                (known.map(Look::Known).collect(), *trim)
            } else {
                (objects.values().filter_map(Held::look).collect(), *trim)
            }
        };
        // Decoded outside of the lock: there may be thousands.
        looks.into_iter().filter_map(|one| one.into_object(trim)).for_each(&mut look);
    }

    /// The objects of one namespace, ordered by name.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        // '0' is the byte after '/': no key of another namespace lies between.
        let (from, to) = (format!("{namespace}/"), format!("{namespace}0"));
        let mut state = self.state.lock();
        let keys: Vec<String> = state.objects.range(from..to).map(|(key, _)| key.clone()).collect();
        keys.iter().filter_map(|key| state.get(key)).collect()
    }

    /// The objects whose controlling owner has this uid, ordered by key.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        let mut state = self.state.lock();
        let keys: Vec<String> = state.owned.get(uid).into_iter().flatten().cloned().collect();
        keys.iter().filter_map(|key| state.get(key)).collect()
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
        self.progress.borrow().synced
    }

    /// The resourceVersion this copy shows; empty before the first list.
    pub fn resource_version(&self) -> String {
        self.progress.borrow().resource_version.clone()
    }

    /// Waits for the first list.
    pub async fn wait_synced(&self) {
        self.wait_until(|store| store.synced()).await;
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
        let mut progress = self.progress.subscribe();
        loop {
            progress.mark_unchanged();
            if condition(self) {
                return;
            }
            // The sender lives as long as `self`.
            if progress.changed().await.is_err() {
                return;
            }
        }
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

    /// From now on, `trim` takes away from each object that is decoded what no reader of this store needs: a typed pod
    /// is six times as large as its text. Never write such an object back as a whole.
    pub fn trim_with(&self, trim: fn(&mut K)) {
        self.state.lock().trim = trim;
    }

    /// From now on, of the objects that are looked at, this many stay decoded; of the others there is the text, which is
    /// decoded each time anew.
    pub fn keep_decoded(&self, recent_max: usize) {
        self.state.lock().recent.max = recent_max;
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

    pub(super) fn replace_held(&self, objects: Vec<Held<K>>, resource_version: &str) {
        {
            let mut state = self.state.lock();
            let mut absent: BTreeSet<String> = state.objects.keys().cloned().collect();
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

    pub(super) fn apply_held(&self, object: Held<K>) {
        let resource_version = object.head.resource_version.clone().unwrap_or_default();
        self.state.lock().apply(object);
        self.advance(&resource_version, false);
    }

    pub(super) fn delete_held(&self, last: Held<K>) {
        let resource_version = last.head.resource_version.clone().unwrap_or_default();
        let key = last.head.key.clone();
        self.state.lock().delete(&key, Some(last));
        self.advance(&resource_version, false);
    }

    /// Nothing of this kind changed up to `resource_version`.
    pub fn advance(&self, resource_version: &str, listed: bool) {
        self.progress.send_modify(|progress| {
            progress.synced |= listed;
            if !resource_version.is_empty() {
                resource_version.clone_into(&mut progress.resource_version);
            }
        });
    }
}

impl<K: Watched> State<K> {
    fn get(&mut self, key: &str) -> Option<Arc<K>> {
        let Self { objects, trim, recent, .. } = self;
        let object = objects.get_mut(key)?;
        let was_text = object.is_text();
        let found = object.get(*trim, !recent.is_all());
        if was_text
            && !recent.is_all()
            && let Some(oldest) = recent.note(key)
            && let Some(object) = objects.get_mut(&oldest).filter(|_| oldest != key)
        {
            object.forget();
        }
        found
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
            let old = old.as_mut().and_then(|old| old.get(self.trim, false));
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
            && let Some(last) = last
                .and_then(|mut last| last.get(self.trim, false))
                .or_else(|| known.get(self.trim, false))
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
