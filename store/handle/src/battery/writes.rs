//! Checks of proposals: revisions, transactions, refusals, fences.

use futures::future::join_all;
use store_mvcc::types::Error;

use super::*;

pub(super) async fn every_write_takes_the_next_revision(group: Arc<Group>) {
    let key = group.key("a");
    let mut last = group.put(0, &key, "0").await;
    for turn in 1..20 {
        let revision = group.put(turn, &key, &turn.to_string()).await;
        assert!(revision > last, "{revision} after {last}");
        assert!(group.member(turn).revision() >= revision, "applied where it was proposed");
        last = revision;
        let kv = group.get(turn + 1, &key).await.expect("the key is there");
        let turn = i64::try_from(turn).expect("a small number");
        assert_eq!((kv.mod_revision, kv.version), (revision, turn + 1));
    }
    let read = group.txn(0, steps([])).await;
    assert!(read.revision >= last, "a transaction that writes nothing keeps the revision");
}

pub(super) async fn put_returns_what_it_replaced(group: Arc<Group>) {
    let key = group.key("a");
    let request = |value| PutRequest {
        key: bytes(&key),
        value: bytes(value),
        prev_kv: true,
        ..PutRequest::default()
    };
    let first = group.txn(0, steps([Op::Put(request("1"))])).await;
    assert_eq!(first.replies, [OpReply::Put { prev: None }]);
    let second = group.txn(1, steps([Op::Put(request("2"))])).await;
    let [OpReply::Put { prev: Some(prev) }] = &second.replies[..] else {
        panic!("{second:?} without the value before");
    };
    assert_eq!((&prev.value[..], prev.mod_revision), (&b"1"[..], first.revision));
}

pub(super) async fn deleted_key_starts_again_at_version_one(group: Arc<Group>) {
    let key = group.key("a");
    group.put(0, &key, "1").await;
    group.put(1, &key, "2").await;
    let deleted = group.delete(2, &key).await;
    let [OpReply::Delete { deleted: 1, prev }] = &deleted.replies[..] else {
        panic!("{deleted:?} instead of one deletion");
    };
    assert_eq!((prev[0].version, &prev[0].value[..]), (2, &b"2"[..]));
    assert_eq!(group.get(0, &key).await, None);
    let nothing = group.delete(1, &key).await;
    assert_eq!(nothing.replies, [OpReply::Delete { deleted: 0, prev: vec![] }]);

    let revision = group.put(0, &key, "3").await;
    let kv = group.get(1, &key).await.expect("the key is there again");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (revision, revision, 1));
}

pub(super) async fn failed_comparison_runs_the_other_branch(group: Arc<Group>) {
    let (key, other) = (group.key("a"), group.key("b"));
    let revision = group.put(0, &key, "1").await;
    let guarded = |expected| Txn {
        compare: vec![mod_revision_is(&key, expected)],
        success: vec![put(&key, "2")],
        failure: vec![put(&other, "lost")],
    };
    let lost = group.txn(1, guarded(revision - 1)).await;
    assert!(!lost.succeeded && lost.revision > revision);
    assert_eq!(group.get(2, &key).await.expect("still there").value, "1");
    assert_eq!(group.get(2, &other).await.expect("the other branch ran").value, "lost");
    let won = group.txn(1, guarded(revision)).await;
    assert!(won.succeeded);
    assert_eq!(group.get(0, &key).await.expect("still there").mod_revision, won.revision);
}

pub(super) async fn writes_of_a_transaction_share_a_revision(group: Arc<Group>) {
    let (a, b) = (group.key("a"), group.key("b"));
    let read =
        Op::Range(RangeRequest { range: KeyRange::key(a.clone()), ..RangeRequest::default() });
    let reply = group.txn(1, steps([put(&a, "1"), read, put(&b, "2")])).await;
    let [_, OpReply::Range(seen), _] = &reply.replies[..] else { panic!("{reply:?}") };
    assert_eq!(seen.kvs[0].value, "1", "a read sees what the transaction wrote before");
    for key in [a, b] {
        let kv = group.get(2, &key).await.expect("both are there");
        assert_eq!(kv.mod_revision, reply.revision);
    }
}

pub(super) async fn refused_transaction_leaves_no_trace(group: Arc<Group>) {
    let key = group.key("a");
    let ignoring = Op::Put(PutRequest {
        key: bytes(&group.key("missing")),
        ignore_value: true,
        ..PutRequest::default()
    });
    let cases = [
        (steps([put(&key, "1"), put(&key, "2")]), Error::DuplicateKey),
        (steps([put(&key, "1"), put("", "2")]), Error::EmptyKey),
        (steps([put(&key, "1"), ignoring]), Error::KeyNotFound),
    ];
    for (turn, (txn, expected)) in cases.into_iter().enumerate() {
        let outcome = group.propose(turn, Command::Txn(txn)).await;
        assert_eq!(outcome, Err(ProposeError::Refused(expected)));
        assert_eq!(group.get(turn + 1, &key).await, None);
    }
}

pub(super) async fn contended_counter_loses_no_increment(group: Arc<Group>) {
    const WRITERS: usize = 6;
    const INCREMENTS: usize = 10;
    let key = group.key("counter");
    let writer = async |turn: usize| {
        for _ in 0..INCREMENTS {
            while !increment(&group, turn, &key).await {}
        }
    };
    join_all((0..WRITERS).map(writer)).await;
    let kv = group.get(0, &key).await.expect("it was counted");
    assert_eq!(kv.value, (WRITERS * INCREMENTS).to_string());
}

/// Reads, adds one and writes, unless someone else wrote in between.
async fn increment(group: &Group, turn: usize, key: &str) -> bool {
    let seen = group.get(turn, key).await.unwrap_or_default();
    let count: usize = match std::str::from_utf8(&seen.value) {
        Ok("") => 0,
        text => text.expect("ASCII").parse().expect("a number"),
    };
    let compare = vec![mod_revision_is(key, seen.mod_revision)];
    let success = vec![put(key, &(count + 1).to_string())];
    group.txn(turn, Txn { compare, success, failure: vec![] }).await.succeeded
}

pub(super) async fn fence_of_this_term_is_accepted_on_the_leader(group: Arc<Group>) {
    let key = group.key("a");
    let (leader, leadership) = group.leader().await;
    let command = Command::Txn(steps([put(&key, "1")]));
    let outcome = leader.propose(command, Some(leadership.term)).await;
    assert!(matches!(outcome, Ok(Reply::Txn(_))), "{outcome:?}");
    assert!(group.get(1, &key).await.is_some());
}

pub(super) async fn fence_of_another_term_is_refused(group: Arc<Group>) {
    let key = group.key("a");
    let (leader, Leadership { term, .. }) = group.leader().await;
    for wrong in [Term(term.0 - 1), Term(term.0 + 1)] {
        let command = Command::Txn(steps([put(&key, "1")]));
        let outcome = leader.propose(command, Some(wrong)).await;
        let is_refused = matches!(
            outcome,
            Err(ProposeError::Refused(Error::Fenced { .. }) | ProposeError::NotProposed { .. })
        );
        assert!(is_refused, "{outcome:?}");
        assert_eq!(group.get(1, &key).await, None);
    }
}

pub(super) async fn fenced_write_is_never_forwarded(group: Arc<Group>) {
    let key = group.key("a");
    let (_, Leadership { term, leader, .. }) = group.leader().await;
    for member in group.members.iter().filter(|member| Some(member.status().id) != leader) {
        let command = Command::Txn(steps([put(&key, "1")]));
        let outcome = member.propose(command, Some(term)).await;
        assert!(matches!(outcome, Err(ProposeError::NotProposed { .. })), "{outcome:?}");
    }
    assert_eq!(group.get(0, &key).await, None);
}
