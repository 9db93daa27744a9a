//! Checks of leases: what ends with them, and when.

use store_mvcc::types::{Error, EventKind, LeaseId};

use super::*;

pub(super) async fn revoked_lease_takes_its_keys_along(group: Arc<Group>) {
    let prefix = group.key("");
    let (a, b) = (format!("{prefix}a"), format!("{prefix}b"));
    let id = grant(&group, 0, 600).await;
    let start = group.txn(1, steps([leased(&a, id), leased(&b, id)])).await.revision;
    for turn in 0..group.members.len() {
        group.applied(turn, start).await;
        let info = group.member(turn).lease(id);
        assert_eq!((info.granted_ttl_s, info.keys), (600, vec![bytes(&a), bytes(&b)]));
        assert!((1..=600).contains(&info.remaining_ttl_s), "{} s", info.remaining_ttl_s);
        assert!(group.member(turn).leases().contains(&id));
    }
    let mut watcher = group.watch(0, KeyRange::prefix(prefix), start + 1);
    let revoked = group.propose(1, Command::LeaseRevoke { id }).await;
    let Ok(Reply::LeaseRevoked { revision }) = revoked else { panic!("{revoked:?}") };
    let (deleted, events) = next_events(&mut watcher).await;
    assert_eq!((deleted, events.len()), (revision, 2));
    assert!(events.iter().all(|event| event.kind == EventKind::Delete));
    for turn in 0..group.members.len() {
        assert_eq!(group.get(turn, &a).await, None);
        assert_eq!(group.member(turn).lease(id).remaining_ttl_s, -1);
    }
}

pub(super) async fn lease_that_is_not_renewed_ends(group: Arc<Group>) {
    let key = group.key("a");
    let id = grant(&group, 0, 1).await;
    let put = group.txn(0, steps([leased(&key, id)])).await.revision;
    let last = group.members.len() - 1;
    group.applied(last, put).await;
    let mut watcher = group.watch(last, KeyRange::key(key.clone()), put + 1);
    let (_, events) = next_events(&mut watcher).await;
    assert_eq!(events[0].kind, EventKind::Delete);
    assert_eq!(group.get(0, &key).await, None);
    assert!(!group.member(0).leases().contains(&id));
}

pub(super) async fn lease_that_is_renewed_lives_on(group: Arc<Group>) {
    let key = group.key("a");
    let id = grant(&group, 0, 2).await;
    group.txn(0, steps([leased(&key, id)])).await;
    for turn in 0..8 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let kept = group.propose(turn, Command::LeaseKeepAlive { id }).await;
        assert!(matches!(kept, Ok(Reply::LeaseKeptAlive { ttl_s: 2, .. })), "{kept:?}");
    }
    assert!(group.get(0, &key).await.is_some(), "twice its time has passed");
    while group.get(0, &key).await.is_some() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let gone = group.propose(1, Command::LeaseKeepAlive { id }).await;
    assert!(matches!(gone, Ok(Reply::LeaseKeptAlive { ttl_s: 0, .. })), "{gone:?}");
}

pub(super) async fn key_put_again_leaves_its_lease(group: Arc<Group>) {
    let (stays, moves) = (group.key("stays"), group.key("moves"));
    let (first, second) = (grant(&group, 0, 600).await, grant(&group, 1, 600).await);
    assert_ne!(first, second);
    group.txn(0, steps([leased(&stays, first), leased(&moves, first)])).await;
    group.txn(1, steps([put(&stays, "free"), leased(&moves, second)])).await;
    group.propose(0, Command::LeaseRevoke { id: first }).await.expect("it exists");
    for key in [&stays, &moves] {
        assert!(group.get(1, key).await.is_some(), "{key}");
    }
    group.propose(1, Command::LeaseRevoke { id: second }).await.expect("it exists");
    assert!(group.get(0, &stays).await.is_some());
    assert_eq!(group.get(0, &moves).await, None);
}

pub(super) async fn lease_that_does_not_exist_is_refused(group: Arc<Group>) {
    let key = group.key("a");
    let id = grant(&group, 0, 600).await;
    group.propose(0, Command::LeaseRevoke { id }).await.expect("it exists");
    let not_found = Err(ProposeError::Refused(Error::LeaseNotFound { id }));
    assert_eq!(group.propose(1, Command::LeaseRevoke { id }).await, not_found);
    let put = Command::Txn(steps([leased(&key, id)]));
    assert_eq!(group.propose(0, put).await, not_found);
    assert_eq!(group.get(1, &key).await, None);

    let granted = group.propose(0, Command::LeaseGrant { id, ttl_s: 600 }).await;
    assert!(matches!(granted, Ok(Reply::LeaseGranted { id: same, .. }) if same == id));
    let twice = group.propose(1, Command::LeaseGrant { id, ttl_s: 600 }).await;
    assert_eq!(twice, Err(ProposeError::Refused(Error::LeaseExists { id })));
    group.propose(0, Command::LeaseRevoke { id }).await.expect("it exists");
}

async fn grant(group: &Group, turn: usize, ttl_s: i64) -> LeaseId {
    match group.propose(turn, Command::LeaseGrant { id: 0, ttl_s }).await {
        Ok(Reply::LeaseGranted { id, ttl_s: granted, .. }) => {
            assert_eq!(granted, ttl_s);
            id
        }
        other => panic!("a grant was answered with {other:?}"),
    }
}

fn leased(key: &str, lease: LeaseId) -> Op {
    Op::Put(PutRequest { key: bytes(key), lease, ..PutRequest::default() })
}
