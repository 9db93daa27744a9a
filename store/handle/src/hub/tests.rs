//! Watchers under random schedules, held against the whole history; and the races worth a test.

use std::time::Duration;

use futures::FutureExt;
use parking_lot::RwLock;
use proptest::prelude::*;
use store_env::task::Group;
use store_mvcc::types::{Batch, Command, DeleteRequest, Fenced, Op, PutRequest, Term, Txn};
use store_mvcc::versions::Records;
use store_mvcc::{State, Versions};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::contents::Contents;

const KEYS: [&str; 4] = ["a", "ab", "b", "c"];

/// One step of a schedule.
#[derive(Clone, Debug)]
enum Step {
    /// Writes keys as one revision, and deletes the others' prefix if none; not published yet.
    Apply(Vec<usize>),
    Publish,
    /// The same, without what watchers must have: they find it in history.
    PublishLacking,
    /// What was applied since becomes part of a snapshot: it is never published.
    Install,
    /// Compacts all but so many revisions.
    Compact(Revision),
    /// Starts a watch so many revisions after the latest.
    Watch(usize, Revision),
    /// Takes so many items at most.
    Take(usize, usize),
    Leave(usize),
    /// Lets the hub's task run.
    Yield,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(0..KEYS.len(), 0..3).prop_map(Step::Apply),
        5 => Just(Step::Publish),
        2 => Just(Step::PublishLacking),
        1 => Just(Step::Install),
        1 => (0_i64..12).prop_map(Step::Compact),
        3 => (0_usize..4, -8_i64..4).prop_map(|(range, ahead)| Step::Watch(range, ahead)),
        4 => (0_usize..6, 1_usize..6).prop_map(|(watch, items)| Step::Take(watch, items)),
        1 => (0_usize..6).prop_map(Step::Leave),
        4 => Just(Step::Yield),
    ]
}

fn range(choice: usize) -> KeyRange {
    match choice {
        0 => KeyRange::key("a"),
        1 => KeyRange::prefix("a"),
        2 => KeyRange { start: "b".into(), end: "d".into() },
        _ => KeyRange::prefix(""),
    }
}

/// A watch and what it must see.
#[derive(Debug)]
struct Watch {
    watcher: Watcher,
    range: KeyRange,
    start: Revision,
    seen: Vec<(Revision, Arc<[Event]>)>,
    has_ended: bool,
}

impl Watch {
    fn take(&mut self, item: WatchItem, history: &[Change]) {
        assert!(!self.has_ended, "{item:?} after the end");
        let last = self.seen.last().map_or(0, |(revision, _)| *revision);
        match item {
            WatchItem::Events { revision, events } => {
                assert!(revision > last && revision >= self.start);
                self.seen.push((revision, events));
            }
            WatchItem::Progress { revision } => {
                assert!(revision > last, "progress {revision} after events of {last}");
                assert!(revision >= self.start, "progress {revision} before {}", self.start);
                self.check(history, revision);
            }
            WatchItem::Compacted { oldest } => {
                assert!(oldest > self.watcher.seen() + 1, "{oldest} for {self:?}");
                self.has_ended = true;
                self.check(history, last);
            }
        }
    }

    /// Everything from the start up to `through` was seen, whole and in order.
    fn check(&self, history: &[Change], through: Revision) {
        let expected = history.iter().filter(|change| {
            (self.start..=through).contains(&change.revision)
                && change.events.iter().any(|event| self.range.contains(&event.kv.key))
        });
        let mut seen = self.seen.iter();
        for change in expected {
            let Some((revision, events)) = seen.next() else {
                panic!("{} was missed by {self:?}, through {through}", change.revision);
            };
            assert_eq!(*revision, change.revision, "{self:?}");
            let held = change.events.iter().filter(|event| self.range.contains(&event.kv.key));
            let held: Vec<_> = held.map(|event| (event.kind, &event.kv)).collect();
            let events: Vec<_> = events.iter().map(|event| (event.kind, &event.kv)).collect();
            assert_eq!(events, held);
        }
        assert!(seen.next().is_none());
    }
}

/// What a member has stored.
#[derive(Debug, Default)]
struct Stored(RwLock<Records>);

impl Versions for Stored {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.0.read().get(key)
    }
}

/// A member: what it applied, and what of that it has published.
struct Member {
    hub: Arc<Hub>,
    state: Arc<Contents>,
    stored: Arc<Stored>,
    unpublished: Vec<Change>,
    history: Vec<Change>,
    watches: Vec<Watch>,
}

impl Member {
    fn start(group: &mut Group) -> Self {
        let (hub, stored) = (Hub::with_items_max(4), Arc::<Stored>::default());
        let state = Arc::new(Contents::new(State::default(), stored.clone()));
        let (running, history) = (hub.clone(), state.clone());
        group.spawn("hub", |stop| running.run(history, Lane::Inline, stop));
        Self { hub, state, stored, unpublished: vec![], history: vec![], watches: vec![] }
    }

    fn apply(&mut self, command: Command) {
        let commands = vec![Fenced { fence: None, command }];
        let mut state = self.state.write();
        let applied = state.apply(Term(1), &Batch { now_ms: 0, commands }, &*self.stored);
        self.stored.0.write().store(applied.writes);
        state.settle();
        self.stored.0.write().store(state.sweep(1));
        drop(state);
        self.unpublished.extend(applied.changes.clone());
        self.history.extend(applied.changes);
    }

    fn write(&mut self, mut keys: Vec<usize>) {
        keys.sort_unstable();
        keys.dedup();
        let put =
            |key: usize| Op::Put(PutRequest { key: KEYS[key].into(), ..PutRequest::default() });
        let success = if keys.is_empty() {
            let range = KeyRange::prefix("a");
            vec![Op::Delete(DeleteRequest { range, prev_kv: false })]
        } else {
            keys.into_iter().map(put).collect()
        };
        self.apply(Command::Txn(Txn { success, ..Txn::default() }));
    }

    fn publish(&mut self) {
        self.hub.publish(&std::mem::take(&mut self.unpublished));
    }

    fn watch(&mut self, range: KeyRange, start: Revision) {
        let request = WatchRequest { range: range.clone(), start };
        match self.hub.watch(&*self.state, request) {
            Ok(watcher) => {
                let start = if start <= 0 { watcher.created_at + 1 } else { start };
                self.watches.push(Watch { watcher, range, start, seen: vec![], has_ended: false });
            }
            Err(_) => assert!(start > 0 && start < self.state.compacted()),
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Apply(keys) => self.write(keys),
            Step::Publish => self.publish(),
            Step::PublishLacking => {
                let changes = std::mem::take(&mut self.unpublished);
                let lacking: Vec<_> = changes.iter().map(|change| change.revision).collect();
                self.hub.publish_all_but(&changes, &lacking);
            }
            Step::Install => {
                self.unpublished.clear();
                self.hub.reset();
            }
            Step::Compact(kept) => {
                let revision = self.state.revision() - kept;
                self.apply(Command::Compact { revision });
            }
            Step::Watch(choice, ahead) => {
                // 0 means "from now on", and so do revisions before the first.
                let start = (self.state.revision() + ahead).max(0);
                self.watch(range(choice), start);
            }
            Step::Take(index, items) => {
                if let Some(watch) = self.watches.get_mut(index) {
                    for _ in 0..items {
                        let Some(Some(item)) = watch.watcher.next().now_or_never() else { break };
                        watch.take(item, &self.history);
                    }
                }
            }
            Step::Leave(index) => {
                if index < self.watches.len() {
                    self.watches.remove(index);
                }
            }
            Step::Yield => {
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Takes what is still to come; everyone must get it all, or be told that it is gone.
    async fn finish(&mut self) {
        self.publish();
        let latest = self.state.revision();
        for mut watch in std::mem::take(&mut self.watches) {
            // Whoever begins later has nothing to hear yet.
            let is_due = watch.start <= latest;
            while is_due && !watch.has_ended && watch.watcher.seen() < latest {
                let next = tokio::time::timeout(Duration::from_secs(9), watch.watcher.next());
                match next.await {
                    Ok(Some(item)) => watch.take(item, &self.history),
                    stuck => panic!("{stuck:?} for {watch:?}, latest {latest}"),
                }
            }
            if !watch.has_ended {
                watch.check(&self.history, latest);
            }
        }
        assert_eq!(self.hub.synced(), 0, "whoever left is forgotten");
    }
}

fn check(steps: Vec<Step>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(async {
        let mut group = Group::under(&CancellationToken::new());
        let mut member = Member::start(&mut group);
        for step in steps {
            member.step(step).await;
        }
        member.finish().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn watchers_see_all_of_their_range_or_are_told(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        check(steps);
    }
}

/// A history during whose next reading something happens on another thread.
struct Meddled {
    state: Arc<Contents>,
    meddle: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl std::fmt::Debug for Meddled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddled")
    }
}

impl Meddled {
    fn then<T>(&self, read: T) -> T {
        if let Some(meddle) = self.meddle.lock().take() {
            meddle();
        }
        read
    }
}

impl History for Meddled {
    fn page(
        &self,
        range: &KeyRange,
        from: Revision,
        changes_max: usize,
    ) -> Result<Page, ReadError> {
        self.then(self.state.page(range, from, changes_max))
    }

    fn revision(&self) -> Revision {
        self.then(self.state.revision())
    }

    fn compacted(&self) -> Revision {
        self.state.compacted()
    }
}

/// What happens between the reading of revision 2 and the acting on it.
#[derive(Clone, Copy, Debug)]
enum Between {
    /// Revision 3 is applied and published.
    Publish,
    /// A snapshot brings revision 3.
    Install,
}

/// A watch of `start`, made when revision 2 was applied but nothing published, sees `expected`.
async fn check_race(between: Between, start: Revision, expected: &[Revision]) {
    let mut group = Group::under(&CancellationToken::new());
    let mut member = Member::start(&mut Group::under(&CancellationToken::new()));
    member.write(vec![0]);
    let state = Arc::new(Contents::new(member.state.read().clone(), member.stored.clone()));
    member.unpublished.clear();
    member.write(vec![0]);
    let (later, changes) = (member.state.read().clone(), member.unpublished);

    let hub = Hub::with_items_max(8);
    let (racing, shared) = (hub.clone(), state.clone());
    let meddle = move || {
        *shared.write() = later;
        match between {
            Between::Publish => racing.publish(&changes),
            Between::Install => racing.reset(),
        }
    };
    let history = Arc::new(Meddled { state, meddle: Mutex::new(None) });
    let request = WatchRequest { range: KeyRange::key("a"), start };
    let watcher = if start == 0 {
        *history.meddle.lock() = Some(Box::new(meddle));
        hub.watch(&*history, request).unwrap()
    } else {
        let watcher = hub.watch(&*history, request).unwrap();
        *history.meddle.lock() = Some(Box::new(meddle));
        watcher
    };
    group.spawn("hub", |stop| hub.run(history, Lane::Inline, stop));
    expect(watcher, expected, between).await;
}

async fn expect(mut watcher: Watcher, expected: &[Revision], between: Between) {
    for expected in expected {
        let next = tokio::time::timeout(Duration::from_secs(9), watcher.next()).await;
        let Ok(Some(WatchItem::Events { revision, .. })) = next else {
            panic!("{next:?} instead of {expected} with {between:?}")
        };
        assert_eq!(revision, *expected);
    }
}

#[tokio::test(start_paused = true)]
async fn change_between_looking_and_acting_is_not_missed() {
    for between in [Between::Publish, Between::Install] {
        check_race(between, 0, &[3]).await;
        check_race(between, 2, &[2, 3]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn progress_never_overtakes_what_is_in_the_channel() {
    // tokio makes a task that took 128 items pause, though there are more.
    const WRITES: i64 = 500;
    let mut group = Group::under(&CancellationToken::new());
    let mut member = Member::start(&mut group);
    let hub = Hub::new();
    let request = WatchRequest { range: KeyRange::key("a"), start: 0 };
    let mut watcher = hub.watch(&*member.state, request).unwrap();
    (0..WRITES).for_each(|_| member.write(vec![0]));
    hub.publish(&member.unpublished);
    for expected in 2..2 + WRITES {
        let next = watcher.next().await;
        let Some(WatchItem::Events { revision, .. }) = next else { panic!("{next:?}") };
        assert_eq!(revision, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn watchers_of_a_range_share_its_events() {
    let mut group = Group::under(&CancellationToken::new());
    let mut member = Member::start(&mut group);
    for choice in [1, 1, 3] {
        member.watch(range(choice), 0);
    }
    member.write(vec![0, 1, 2]);
    member.publish();
    let mut events = Vec::new();
    for watch in &mut member.watches {
        match watch.watcher.next().await {
            Some(WatchItem::Events { events: held, .. }) => events.push(held),
            other => panic!("{other:?}"),
        }
    }
    assert!(Arc::ptr_eq(&events[0], &events[1]), "one cut for all of one range");
    assert!(Arc::ptr_eq(&events[2], &member.history[0].events), "no copy if all is held");
}

#[tokio::test(start_paused = true)]
async fn quiet_watcher_is_not_woken_by_writes_elsewhere() {
    let mut group = Group::under(&CancellationToken::new());
    let mut member = Member::start(&mut group);
    let request = WatchRequest { range: KeyRange::key("a"), start: 0 };
    let mut watcher = member.hub.watch(&*member.state, request).unwrap().quiet();
    member.write(vec![2]);
    member.publish();
    assert_eq!(watcher.next().now_or_never(), None);
    assert_eq!(watcher.seen(), 2, "it can be asked");
    member.write(vec![0]);
    member.publish();
    assert!(matches!(watcher.next().await, Some(WatchItem::Events { revision: 3, .. })));
}

#[tokio::test(start_paused = true)]
async fn watch_ahead_of_its_member_hears_of_no_progress_before_its_start() {
    let mut group = Group::under(&CancellationToken::new());
    let mut member = Member::start(&mut group);
    // As one that saw revision 3 on another member, and goes on here.
    let request = WatchRequest { range: KeyRange::key("a"), start: 4 };
    let mut watcher = member.hub.watch(&*member.state, request).unwrap();
    for _ in 0..2 {
        member.write(vec![2]);
        member.publish();
        assert_eq!(watcher.next().now_or_never(), None);
    }
    member.write(vec![2]);
    member.publish();
    assert_eq!(watcher.next().await, Some(WatchItem::Progress { revision: 4 }));
}
