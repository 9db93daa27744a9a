//! The single member in memory passes the battery.

use std::time::Duration;

use store_env::clock::TokioClock;
use store_env::task::Group;
use store_handle::battery::{self, Subject};
use store_handle::local::Local;
use store_handle::{Command, Handle, KeyRange, MembershipChange, ProposeError, WatchRequest};
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
