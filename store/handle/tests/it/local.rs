//! The single member in memory passes the battery.

use std::time::Duration;

use store_env::clock::TokioClock;
use store_env::task::Group;
use store_handle::battery::{self, Subject};
use store_handle::local::Local;
use store_handle::{
    Command, Error, Handle, KeyRange, MembershipChange, Op, ProposeError, PutRequest, ReadError,
    Txn, WatchRequest, compactor,
};
use tokio_util::sync::CancellationToken;

const EPOCH_UNIX_MS: u64 = 1_795_000_000_000;

fn start(group: &mut Group) -> std::sync::Arc<Local> {
    Local::start(TokioClock::shared(EPOCH_UNIX_MS), group)
}

#[tokio::test(start_paused = true)]
async fn local_store_passes_the_battery() {
    battery::run(async || {
        let mut group = Group::under(&CancellationToken::new());
        Subject { members: vec![start(&mut group)], keep: Box::new(group) }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn local_store_passes_the_battery_with_all_checks_on_one_store() {
    let mut group = Group::under(&CancellationToken::new());
    let local = start(&mut group);
    battery::run(async || Subject { members: vec![local.clone()], keep: Box::new(()) }).await;
}

#[tokio::test(start_paused = true)]
async fn local_store_that_keeps_no_value_in_its_state_passes_the_battery() {
    let clock = TokioClock::shared(EPOCH_UNIX_MS);
    for cache_bytes in [0, 100] {
        let mut group = Group::under(&CancellationToken::new());
        let local = Local::bounded(Some(cache_bytes), clock.clone(), &mut group);
        battery::run(async || Subject { members: vec![local.clone()], keep: Box::new(()) }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn hash_is_that_of_the_revision_and_notices_any_change() {
    let mut group = Group::under(&CancellationToken::new());
    let clock = TokioClock::shared(EPOCH_UNIX_MS);
    let mut seen = Vec::new();
    for cache_bytes in [None, Some(0)] {
        let local = Local::bounded(cache_bytes, clock.clone(), &mut group);
        let put = async |key: &'static str| {
            let put =
                Op::Put(PutRequest { key: key.into(), value: "1".into(), ..PutRequest::default() });
            let put = Command::Txn(Txn { success: vec![put], ..Txn::default() });
            local.propose(put, None).await.unwrap();
        };
        put("a").await;
        let before = local.hash(0).unwrap();
        put("a").await;
        assert_eq!(local.hash(2).unwrap(), before);
        assert_ne!(local.hash(0).unwrap().crc32, before.crc32);
        let future = ReadError::Refused(Error::FutureRevision { asked: 9, latest: 3 });
        assert_eq!(local.hash(9), Err(future));
        seen.push((before, local.hash(0).unwrap()));
    }
    assert_eq!(seen[0], seen[1], "wherever the values are");
}

#[tokio::test(start_paused = true)]
async fn membership_of_a_local_store_cannot_change() {
    let mut group = Group::under(&CancellationToken::new());
    let local = start(&mut group);
    let removed = local.change_membership(MembershipChange::Remove(1)).await;
    let reason = "a store in memory has one member for life".into();
    assert_eq!(removed, Err(ProposeError::NotProposed { reason }));
    assert!(local.transfer_leadership(Some(2)).await.is_err());
    assert!(local.transfer_leadership(Some(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn watches_end_when_the_store_stops() {
    let root = CancellationToken::new();
    let mut group = Group::under(&root);
    let local = start(&mut group);
    let everything = || WatchRequest { range: KeyRange::prefix(""), start: 0 };
    let mut watcher = local.watch(everything()).unwrap();
    root.cancel();
    group.run(Duration::from_secs(5)).await.unwrap();
    assert_eq!(watcher.next().await, None);
    assert_eq!(local.watch(everything()).unwrap().next().await, None);
    let granted = local.propose(Command::LeaseGrant { id: 0, ttl_s: 1 }, None).await;
    assert!(granted.is_ok(), "what is in memory stays usable");
}

#[tokio::test(start_paused = true)]
async fn history_is_kept_for_its_time_and_then_forgotten() {
    const KEEP: Duration = Duration::from_secs(300);
    let mut group = Group::under(&CancellationToken::new());
    let clock = TokioClock::shared(EPOCH_UNIX_MS);
    let local = Local::start(clock.clone(), &mut group);
    let handle = local.clone();
    group.spawn("compactor", move |stop| compactor::run(handle, clock, KEEP, stop));
    let put = Op::Put(PutRequest { key: "a".into(), ..PutRequest::default() });
    let put = Command::Txn(Txn { success: vec![put], ..Txn::default() });
    // So many that what grows old between two looks takes more than one step.
    let mut revisions_by_s = Vec::new();
    for second in 0..500_usize {
        for _ in 0..100 {
            local.propose(put.clone(), None).await.unwrap();
        }
        revisions_by_s.push(local.revision());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let age = |s: usize| revisions_by_s.get(s).copied().unwrap_or(0);
        let kept = second.checked_sub(300).map_or(0, age);
        assert!(local.compacted() <= kept.max(1), "{second} s: something young is gone");
        let old = usize::checked_sub(second, 365).map_or(0, age);
        assert!(local.compacted() >= old, "{second} s: something old is kept");
    }
}
