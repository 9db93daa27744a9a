//! Checks of watches: where they start, what they see, and what slowness costs.

use store_mvcc::types::{Error, EventKind};

use super::*;

/// More than any channel holds.
const FLOOD: usize = 3000;

pub(super) async fn watch_from_now_sees_what_comes_later(group: Arc<Group>) {
    let key = group.key("a");
    for turn in 0..group.members.len() {
        let before = group.put(turn, &key, "before").await;
        group.applied(turn, before).await;
        let mut watcher = group.watch(turn, KeyRange::key(key.clone()), 0);
        assert!(watcher.created_at >= before);
        let after = group.put(turn + 1, &key, "after").await;
        let (revision, events) = next_events(&mut watcher).await;
        assert_eq!((revision, events.len()), (after, 1));
        assert_eq!((events[0].kind, &events[0].kv.value[..]), (EventKind::Put, &b"after"[..]));
        let prev = events[0].prev.as_ref().expect("it replaced a value");
        assert_eq!((prev.mod_revision, &prev.value[..]), (before, &b"before"[..]));
    }
}

pub(super) async fn watch_from_the_past_replays_history(group: Arc<Group>) {
    let key = group.key("a");
    let mut revisions = Vec::new();
    for turn in 0..10 {
        revisions.push(group.put(turn, &key, &turn.to_string()).await);
    }
    for turn in 0..group.members.len() {
        group.applied(turn, revisions[9]).await;
        let mut watcher = group.watch(turn, KeyRange::key(key.clone()), revisions[3]);
        for expected in &revisions[3..] {
            assert_eq!(next_events(&mut watcher).await.0, *expected);
        }
        let later = group.put(turn, &key, "later").await;
        assert_eq!(next_events(&mut watcher).await.0, later);
        revisions.push(later);
        // From the future: nothing before its time.
        let mut early = group.watch(turn, KeyRange::key(key.clone()), later + 2);
        for _ in 0..3 {
            revisions.push(group.put(turn, &key, "later").await);
        }
        assert!(next_events(&mut early).await.0 >= later + 2);
    }
}

pub(super) async fn watch_sees_its_range_only(group: Arc<Group>) {
    let prefix = group.key("");
    let key = |name: &str| format!("{prefix}{name}");
    let start = group.put(0, &key("before"), "").await;
    group.applied(1, start).await;
    let between = KeyRange { start: bytes(&key("b")), end: bytes(&key("d")) };
    let mut watchers = [
        (group.watch(1, KeyRange::key(key("b")), 0), "b b"),
        (group.watch(1, KeyRange::prefix(key("b")), 0), "b bb b"),
        (group.watch(1, between, 0), "b bb c b"),
        (group.watch(1, KeyRange::prefix(prefix.clone()), start), "before a b bb c d b"),
    ];
    for (turn, name) in ["a", "b", "bb", "c", "d", "b"].into_iter().enumerate() {
        group.put(turn, &key(name), "").await;
    }
    for (watcher, expected) in &mut watchers {
        for name in expected.split(' ') {
            let (_, events) = next_events(watcher).await;
            assert_eq!(events[0].kv.key, key(name), "of {expected}");
        }
    }
}

pub(super) async fn events_of_one_revision_come_together(group: Arc<Group>) {
    let prefix = group.key("");
    let key = |name: &str| format!("{prefix}{name}");
    let first = group.txn(0, steps(["a", "b", "c"].map(|name| put(&key(name), "1")))).await;
    let range = KeyRange::prefix(prefix.clone());
    let delete = Op::Delete(DeleteRequest { range: range.clone(), prev_kv: false });
    let second = group.txn(1, steps([delete])).await;
    for turn in 0..group.members.len() {
        group.applied(turn, second.revision).await;
        let mut watcher = group.watch(turn, range.clone(), first.revision);
        for (reply, kind) in [(&first, EventKind::Put), (&second, EventKind::Delete)] {
            let (revision, events) = next_events(&mut watcher).await;
            assert_eq!(revision, reply.revision);
            let seen: Vec<_> = events.iter().map(|event| (event.kind, &event.kv.key[..])).collect();
            let keys = ["a", "b", "c"].map(key);
            assert_eq!(seen, keys.each_ref().map(|key| (kind, key.as_bytes())));
        }
    }
}

pub(super) async fn deletion_tells_what_was_there(group: Arc<Group>) {
    let key = group.key("a");
    let put = group.put(0, &key, "last words").await;
    group.applied(1, put).await;
    let mut watcher = group.watch(1, KeyRange::key(key.clone()), 0);
    let deleted = group.delete(2, &key).await.revision;
    let (revision, events) = next_events(&mut watcher).await;
    assert_eq!(revision, deleted);
    let kv = KeyValue { key: bytes(&key), mod_revision: deleted, ..KeyValue::default() };
    assert_eq!((events[0].kind, &events[0].kv), (EventKind::Delete, &kv));
    let prev = events[0].prev.as_ref().expect("there was a value");
    assert_eq!((&prev.value[..], prev.mod_revision, prev.version), (&b"last words"[..], put, 1));
}

pub(super) async fn idle_watch_learns_the_latest_revision(group: Arc<Group>) {
    let (key, elsewhere) = (group.key("a"), group.key("b"));
    let start = group.put(0, &key, "1").await;
    group.applied(1, start).await;
    let mut watchers = [
        group.watch(1, KeyRange::key(key.clone()), 0),
        group.watch(1, KeyRange::key(key.clone()), start),
    ];
    for turn in 0..5 {
        let latest = group.put(turn, &elsewhere, "").await;
        for watcher in &mut watchers {
            let mut seen = 0;
            while seen < latest {
                match watcher.next().await {
                    Some(WatchItem::Progress { revision }) if revision > seen => seen = revision,
                    Some(WatchItem::Events { revision, .. }) if revision == start => seen = start,
                    other => panic!("{other:?} after {seen}"),
                }
            }
        }
    }
}

pub(super) async fn slow_watcher_sees_everything_and_delays_no_one(group: Arc<Group>) {
    let key = group.key("a");
    let start = group.put(0, &key, "").await;
    group.applied(1, start).await;
    let mut slow = group.watch(1, KeyRange::key(key.clone()), 0);
    let mut quick = group.watch(1, KeyRange::key(key.clone()), 0);
    let mut revisions = Vec::with_capacity(FLOOD);
    for number in 0..FLOOD {
        let revision = group.put(1, &key, &number.to_string()).await;
        revisions.push(revision);
        assert_eq!(next_events(&mut quick).await.0, revision);
    }
    for (number, expected) in revisions.iter().enumerate() {
        let (revision, events) = next_events(&mut slow).await;
        assert_eq!((revision, &events[0].kv.value), (*expected, &bytes(&number.to_string())));
    }
    let last = group.put(0, &key, "last").await;
    assert_eq!(next_events(&mut slow).await.0, last, "it is in step again");
}

pub(super) async fn watch_of_compacted_history_is_refused(group: Arc<Group>) {
    let key = group.key("a");
    let first = group.put(0, &key, "1").await;
    let second = group.put(0, &key, "2").await;
    group.propose(0, Command::Compact { revision: second }).await.expect("it is in history");
    let behind = group.put(0, &key, "3").await;
    for turn in 0..group.members.len() {
        group.applied(turn, behind).await;
        let request = WatchRequest { range: KeyRange::key(key.clone()), start: first };
        let refusal = group.member(turn).watch(request).err();
        let compacted = Error::Compacted { asked: first, oldest: second };
        assert_eq!(refusal, Some(ReadError::Refused(compacted)));
        let mut watcher = group.watch(turn, KeyRange::key(key.clone()), second);
        assert_eq!(next_events(&mut watcher).await.0, second, "the compacted revision itself");
        assert_eq!(next_events(&mut watcher).await.0, behind);
    }
}

pub(super) async fn watcher_overtaken_by_compaction_is_told(group: Arc<Group>) {
    let key = group.key("a");
    let mut watcher = group.watch(0, KeyRange::key(key.clone()), 0);
    let mut last = 0;
    for number in 0..FLOOD {
        last = group.put(0, &key, &number.to_string()).await;
    }
    group.propose(0, Command::Compact { revision: last }).await.expect("it is in history");
    let mut seen = 0;
    let oldest = loop {
        match watcher.next().await {
            Some(WatchItem::Events { revision, .. }) => {
                assert!(revision > seen && revision < last, "{revision} after {seen}");
                seen = revision;
            }
            Some(WatchItem::Progress { .. }) => {}
            Some(WatchItem::Compacted { oldest }) => break oldest,
            None => panic!("ended without a word after {seen}"),
        }
    };
    assert_eq!(oldest, last);
    assert_eq!(watcher.next().await, None);
}
