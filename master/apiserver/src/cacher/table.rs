//! The objects of one resource, the changes of its recent past, and who watches them.
//!
//! Pure but for the watchers' queues: it is told what changed and at which revision.
//!
//! # Invariants
//! - Every change after `low` up to `applied` is in `window`, in revision order.
//! - A watcher whose queue is full is dropped, never skipped: what it has seen has no gap.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use store_handle::Revision;
use tokio::sync::mpsc;

use super::entry::Entry;

/// How many changes, and of how many bytes, a watch may lie behind before it reads from history.
const WINDOW_CHANGES_MAX: usize = 4096;
const WINDOW_BYTES_MAX: usize = 2 << 20;
/// How many of the latest changes keep their frames: those that watchers are being sent.
const FRAMES_KEPT: usize = 256;
/// Changes that wait for one watcher; a slower one is ended.
const QUEUE: usize = 2048;

/// What a watcher is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Modified,
    Deleted,
}

/// One object's change at one revision.
#[derive(Debug)]
pub struct Change {
    pub revision: Revision,
    pub prev: Option<Arc<Entry>>,
    pub new: Option<Arc<Entry>>,
    frames: Mutex<Frames>,
}

/// The watch frames of a change, one for each kind, made once for all watchers.
#[derive(Debug, Default)]
struct Frames {
    made: [Option<Bytes>; 3],
    /// Most watchers have been sent theirs: one that is made now is not kept.
    is_past: bool,
}

/// A change as one watcher sees it.
#[derive(Clone, Debug)]
pub struct Notice {
    pub kind: Kind,
    pub change: Arc<Change>,
}

/// Which objects a watcher or list is about, decided per version.
pub trait Matcher: Send + Sync + std::fmt::Debug {
    /// Whether this version is in the selection.
    fn matches(&self, entry: &Entry) -> bool;
}

/// Which keys: all, one namespace's, or one object's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// `""`, `namespace/`, or a whole key.
    prefix: String,
    exact: bool,
}

/// One watcher's place in a table.
#[derive(Debug)]
struct Subscriber {
    scope: Scope,
    matcher: Option<Arc<dyn Matcher>>,
    queue: mpsc::Sender<Notice>,
}

/// What a new watcher begins with.
#[derive(Debug)]
pub struct Subscription {
    /// The objects at `revision`, if it asked for the state.
    pub initial: Vec<Arc<Entry>>,
    /// The changes between where it started and `revision`.
    pub replay: Vec<Notice>,
    pub revision: Revision,
    /// Ends when the watcher was too slow or the cache was rebuilt.
    pub live: mpsc::Receiver<Notice>,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the objects as they are.
    Now,
    /// With what changed after this revision.
    After(Revision),
}

/// The window does not reach back that far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeforeWindow {
    pub low: Revision,
}

/// One resource.
#[derive(Debug, Default)]
pub struct Table {
    entries: BTreeMap<Arc<str>, Arc<Entry>>,
    window: VecDeque<Arc<Change>>,
    window_bytes: usize,
    low: Revision,
    applied: Revision,
    subscribers: BTreeMap<u64, Subscriber>,
    next_subscriber: u64,
}

impl Scope {
    /// Every object.
    pub fn all() -> Self {
        Self::default()
    }

    /// The objects of a namespace.
    pub fn namespace(namespace: &str) -> Self {
        Self { prefix: format!("{namespace}/"), exact: false }
    }

    /// One object, by its key.
    pub fn key(key: &str) -> Self {
        Self { prefix: key.to_owned(), exact: true }
    }

    /// Whether a key is in it.
    pub fn contains(&self, key: &str) -> bool {
        if self.exact { key == self.prefix } else { key.starts_with(&self.prefix) }
    }

    /// What every key in it begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl Change {
    /// A change from `prev` to `new`; one of them at least is there.
    pub fn new(revision: Revision, prev: Option<Arc<Entry>>, new: Option<Arc<Entry>>) -> Self {
        assert!(prev.is_some() || new.is_some(), "a change is of an object");
        Self { revision, prev, new, frames: Mutex::default() }
    }

    fn key(&self) -> &str {
        self.new.as_ref().or(self.prev.as_ref()).map_or("", |entry| &entry.key)
    }

    fn bytes(&self) -> usize {
        self.prev.as_ref().map_or(0, |entry| entry.json_len_max())
    }

    fn forget_frames(&self) {
        *self.frames.lock() = Frames { is_past: true, ..Frames::default() };
    }
}

impl Notice {
    /// How the watcher with this scope and matcher sees the change, if at all.
    pub fn of(change: &Arc<Change>, scope: &Scope, matcher: Option<&dyn Matcher>) -> Option<Self> {
        if !scope.contains(change.key()) {
            return None;
        }
        let sees = |entry: &Option<Arc<Entry>>| {
            entry.as_ref().is_some_and(|entry| matcher.is_none_or(|m| m.matches(entry)))
        };
        let kind = match (sees(&change.prev), sees(&change.new)) {
            (false, false) => return None,
            (false, true) => Kind::Added,
            (true, true) => Kind::Modified,
            (true, false) => Kind::Deleted,
        };
        Some(Self { kind, change: change.clone() })
    }

    /// The version that is sent with it.
    pub fn entry(&self) -> &Arc<Entry> {
        let change = &self.change;
        let entry = match self.kind {
            Kind::Added | Kind::Modified => change.new.as_ref(),
            Kind::Deleted => change.prev.as_ref(),
        };
        entry.expect("the kind was chosen by what is there")
    }

    /// The frame to send: one line of JSON, shared by all watchers.
    pub fn frame(&self) -> Bytes {
        let mut frames = self.change.frames.lock();
        if let Some(frame) = &frames.made[self.kind as usize] {
            return frame.clone();
        }
        let revision = match self.kind {
            Kind::Added | Kind::Modified => self.entry().revision,
            Kind::Deleted => self.change.revision,
        };
        let frame = entry_frame(self.kind, self.entry(), revision);
        if !frames.is_past {
            frames.made[self.kind as usize] = Some(frame.clone());
        }
        frame
    }
}

impl Kind {
    /// As the wire says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One event of a watch as a line of JSON.
pub fn frame(kind: &str, object: &[u8]) -> Bytes {
    framed(kind, object.len(), |out| out.put_slice(object))
}

/// One event of a watch with a version as it is stored, at this revision.
pub fn entry_frame(kind: Kind, entry: &Entry, revision: Revision) -> Bytes {
    framed(kind.name(), entry.json_len_max(), |out| entry.write_json(out, revision))
}

fn framed(kind: &str, len_max: usize, object: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::with_capacity(len_max + 40);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"object\":");
    object(&mut out);
    out.put_slice(b"}\n");
    out.freeze()
}

impl Table {
    /// A table whose history begins after `low`.
    pub fn starting(low: Revision) -> Self {
        Self { low, applied: low, ..Self::default() }
    }

    /// The revision of the last change.
    pub fn applied(&self) -> Revision {
        self.applied
    }

    /// How many objects there are.
    pub fn objects(&self) -> usize {
        self.entries.len()
    }

    /// How many watch.
    pub fn watchers(&self) -> usize {
        self.subscribers.len()
    }

    /// Puts an object there without telling anybody: while the cache is being filled.
    pub fn fill(&mut self, entry: Arc<Entry>) {
        self.entries.insert(entry.key.clone(), entry);
    }

    /// One object.
    pub fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.entries.get(key)
    }

    /// Objects in key order, after `after` if given.
    pub fn scan<'a>(
        &'a self,
        scope: &'a Scope,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        let from = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(scope.prefix()),
        };
        self.entries
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(_, entry)| entry)
            .take_while(|entry| scope.contains(&entry.key))
    }

    /// Takes a change in, and tells the watchers.
    pub fn apply(&mut self, revision: Revision, key: &str, new: Option<Arc<Entry>>) {
        assert!(revision >= self.applied, "changes come in order");
        self.applied = revision;
        let prev = match &new {
            Some(entry) => self.entries.insert(entry.key.clone(), entry.clone()),
            None => self.entries.remove(key),
        };
        if prev.is_none() && new.is_none() {
            return;
        }
        let change = Arc::new(Change::new(revision, prev.map(Entry::replaced), new));
        self.remember(change.clone());
        self.tell(&change);
    }

    fn remember(&mut self, change: Arc<Change>) {
        self.window_bytes += change.bytes();
        self.window.push_back(change);
        let past = self.window.len().checked_sub(FRAMES_KEPT + 1);
        if let Some(past) = past.and_then(|at| self.window.get(at)) {
            past.forget_frames();
        }
        while self.window.len() > WINDOW_CHANGES_MAX || self.window_bytes > WINDOW_BYTES_MAX {
            let Some(oldest) = self.window.pop_front() else { return };
            self.window_bytes -= oldest.bytes();
            self.low = oldest.revision;
        }
    }

    /// Forgets what changed; what is there stays.
    pub fn forget_history(&mut self) {
        self.window.clear();
        self.window_bytes = 0;
        self.low = self.applied;
    }

    fn tell(&mut self, change: &Arc<Change>) {
        self.subscribers.retain(|_, subscriber| {
            let matcher = subscriber.matcher.as_deref();
            match Notice::of(change, &subscriber.scope, matcher) {
                Some(notice) => subscriber.queue.try_send(notice).is_ok(),
                None => !subscriber.queue.is_closed(),
            }
        });
    }

    /// Adds a watcher. Nothing is missed or seen twice between what is returned and the queue.
    pub fn subscribe(
        &mut self,
        scope: Scope,
        matcher: Option<Arc<dyn Matcher>>,
        start: Start,
    ) -> Result<Subscription, BeforeWindow> {
        let mut initial = Vec::new();
        let mut replay = Vec::new();
        match start {
            Start::Now => {
                let seen = |entry: &&Arc<Entry>| matcher.as_ref().is_none_or(|m| m.matches(entry));
                initial = self.scan(&scope, None).filter(seen).cloned().collect();
            }
            Start::After(revision) if revision < self.low => {
                return Err(BeforeWindow { low: self.low });
            }
            Start::After(revision) => {
                let from = self.window.partition_point(|change| change.revision <= revision);
                let notice = |change| Notice::of(change, &scope, matcher.as_deref());
                replay = self.window.range(from..).filter_map(notice).collect();
            }
        }
        let (queue, live) = mpsc::channel(QUEUE);
        self.subscribers.insert(self.next_subscriber, Subscriber { scope, matcher, queue });
        self.next_subscriber += 1;
        Ok(Subscription { initial, replay, revision: self.applied, live })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cacher::entry::encode;

    fn entry(key: &str, color: &str, revision: Revision) -> Arc<Entry> {
        let name = key.rsplit('/').next().unwrap();
        let object = json!({"metadata": {"name": name, "labels": {"color": color}}});
        Arc::new(Entry::from_stored(key.into(), &encode(&object), revision))
    }

    #[derive(Debug)]
    struct Red;

    impl Matcher for Red {
        fn matches(&self, entry: &Entry) -> bool {
            entry.value()["metadata"]["labels"]["color"] == "red"
        }
    }

    fn shown(notice: &Notice) -> String {
        format!("{} {}@{}", notice.kind.name(), notice.entry().key, notice.change.revision)
    }

    fn drain(subscription: &mut Subscription) -> Vec<String> {
        std::iter::from_fn(|| subscription.live.try_recv().ok()).map(|n| shown(&n)).collect()
    }

    #[test]
    fn watcher_with_a_selector_sees_objects_come_and_go() {
        let mut table = Table::starting(1);
        let mut red = table.subscribe(Scope::all(), Some(Arc::new(Red)), Start::Now).unwrap();
        table.apply(2, "a/x", Some(entry("a/x", "blue", 2)));
        table.apply(3, "a/x", Some(entry("a/x", "red", 3)));
        table.apply(4, "a/x", Some(entry("a/x", "red", 4)));
        table.apply(5, "a/x", Some(entry("a/x", "blue", 5)));
        table.apply(6, "a/x", None);
        assert_eq!(drain(&mut red), ["ADDED a/x@3", "MODIFIED a/x@4", "DELETED a/x@5"]);
    }

    #[test]
    fn deleted_frame_carries_the_last_object_at_the_deletions_revision() {
        let mut table = Table::starting(1);
        table.apply(2, "a/x", Some(entry("a/x", "red", 2)));
        table.apply(7, "a/x", None);
        let all = table.subscribe(Scope::all(), None, Start::After(2)).unwrap();
        let frame: serde_json::Value = serde_json::from_slice(&all.replay[0].frame()).unwrap();
        assert_eq!(frame["type"], "DELETED");
        assert_eq!(frame["object"]["metadata"]["resourceVersion"], "7");
        assert_eq!(frame["object"]["metadata"]["labels"]["color"], "red");
    }

    #[test]
    fn scope_is_a_whole_path_segment() {
        let mut table = Table::starting(0);
        for key in ["a/x", "ab/x", "a/y"] {
            table.fill(entry(key, "red", 1));
        }
        let keys = |scope: Scope, after| {
            table.scan(&scope, after).map(|e| e.key.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(keys(Scope::namespace("a"), None), ["a/x", "a/y"]);
        assert_eq!(keys(Scope::namespace("a"), Some("a/x")), ["a/y"]);
        assert_eq!(keys(Scope::key("a/x"), None), ["a/x"]);
        assert_eq!(keys(Scope::all(), Some("a/y")), ["ab/x"]);
    }

    #[test]
    fn window_forgets_the_oldest_and_says_so() {
        let mut table = Table::starting(1);
        let count = WINDOW_CHANGES_MAX as Revision + 10;
        for revision in 2..2 + count {
            table.apply(revision, "x", Some(entry("x", "red", revision)));
        }
        let refused = table.subscribe(Scope::all(), None, Start::After(5)).unwrap_err();
        assert_eq!(refused.low, 11);
        let replay = table.subscribe(Scope::all(), None, Start::After(11)).unwrap().replay;
        assert_eq!((replay.len(), replay[0].change.revision), (WINDOW_CHANGES_MAX, 12));
    }

    #[test]
    fn frames_of_the_past_are_made_again_and_not_kept() {
        let mut table = Table::starting(1);
        let mut watcher = table.subscribe(Scope::all(), None, Start::Now).unwrap();
        table.apply(2, "x", Some(entry("x", "red", 2)));
        let first = watcher.live.try_recv().unwrap();
        let frame = first.frame();
        assert_eq!(first.change.frames.lock().made[0], Some(frame.clone()));
        for revision in 3..3 + FRAMES_KEPT as Revision {
            table.apply(revision, "x", Some(entry("x", "red", revision)));
        }
        assert_eq!(first.frame(), frame);
        assert_eq!(first.change.frames.lock().made, [None, None, None]);
    }

    #[test]
    fn what_was_replaced_is_not_kept_decoded() {
        let mut table = Table::starting(1);
        let first = entry("x", "red", 2);
        first.value();
        table.apply(2, "x", Some(first));
        table.apply(3, "x", Some(entry("x", "blue", 3)));
        let prev = table.window[1].prev.clone().unwrap();
        assert!(!prev.is_decoded());
    }

    #[test]
    fn slow_watcher_is_ended_and_misses_nothing_before_that() {
        let mut table = Table::starting(1);
        let mut slow = table.subscribe(Scope::all(), None, Start::Now).unwrap();
        for revision in 2..QUEUE as Revision + 10 {
            table.apply(revision, "x", Some(entry("x", "red", revision)));
        }
        assert_eq!(table.watchers(), 0);
        assert_eq!(drain(&mut slow).len(), QUEUE);
        assert!(slow.live.try_recv().is_err_and(|e| e == mpsc::error::TryRecvError::Disconnected));
    }
}
