//! Checks of reads: freshness, options, old revisions.

use store_mvcc::types::{Error, SortBy};

use super::*;

pub(super) async fn read_index_covers_every_acknowledged_write(group: Arc<Group>) {
    let key = group.key("a");
    for turn in 0..15 {
        let written = group.put(turn, &key, &turn.to_string()).await;
        for reader in 0..group.members.len() {
            let member = group.member(reader);
            let index = member.read_index().await.expect("a quorum confirms the read index");
            assert!(index >= written, "read index {index} before acknowledged {written}");
            assert!(member.revision() >= index, "the read index is applied when it is returned");
            let kv = group.get(reader, &key).await.expect("the key is there");
            assert_eq!(kv.mod_revision, written);
        }
    }
}

pub(super) async fn range_obeys_limit_sort_and_filters(group: Arc<Group>) {
    let prefix = group.key("");
    let mut revisions = Vec::new();
    for (turn, name) in ["b", "c", "a", "d"].into_iter().enumerate() {
        revisions.push(group.put(turn, &format!("{prefix}{name}"), &format!("v{name}")).await);
    }
    let all = RangeRequest { range: KeyRange::prefix(prefix.clone()), ..RangeRequest::default() };
    let by_time = RangeRequest { sort_by: SortBy::ModRevision, ..all.clone() };
    #[rustfmt::skip]
    let cases = [
        (all.clone(),                                                       "a b c d", false, 4),
        (RangeRequest { limit: 2, ..all.clone() },                          "a b",     true,  4),
        (RangeRequest { limit: 4, ..all.clone() },                          "a b c d", false, 4),
        (RangeRequest { descending: true, limit: 3, ..all.clone() },        "d c b",   true,  4),
        (by_time.clone(),                                                   "b c a d", false, 4),
        (RangeRequest { descending: true, ..by_time },                      "d a c b", false, 4),
        (RangeRequest { min_mod_revision: revisions[2], ..all.clone() },    "a d",     false, 4),
        (RangeRequest { max_create_revision: revisions[1], ..all.clone() }, "b c",     false, 4),
        (RangeRequest { revision: revisions[1], ..all.clone() },            "b c",     false, 2),
        (RangeRequest { count_only: true, ..all.clone() },                  "",        false, 4),
    ];
    for (request, names, more, count) in cases {
        let reply = group.range(1, request.clone()).await.expect("it is readable");
        let name = |kv: &KeyValue| String::from_utf8_lossy(&kv.key[prefix.len()..]).into_owned();
        let found: Vec<_> = reply.kvs.iter().map(name).collect();
        assert_eq!(
            (found.join(" "), reply.more, reply.count),
            (names.into(), more, count),
            "{request:?}"
        );
    }
    let names_only = group.range(2, RangeRequest { keys_only: true, ..all }).await;
    let kvs = names_only.expect("it is readable").kvs;
    assert!(kvs.len() == 4 && kvs.iter().all(|kv| kv.value.is_empty()));
}

pub(super) async fn old_revisions_are_readable_until_compacted(group: Arc<Group>) {
    let key = group.key("a");
    let first = group.put(0, &key, "1").await;
    let second = group.put(1, &key, "2").await;
    let third = group.put(2, &key, "3").await;
    let at = |revision| RangeRequest {
        range: KeyRange::key(key.clone()),
        revision,
        ..RangeRequest::default()
    };
    for turn in 0..group.members.len() {
        for (revision, value) in [(first, "1"), (second, "2"), (third, "3"), (0, "3")] {
            let reply = group.range(turn, at(revision)).await.expect("not compacted yet");
            assert_eq!(reply.kvs[0].value, value, "at {revision}");
        }
        let future = group.range(turn, at(third + 1_000_000)).await;
        assert!(matches!(future, Err(ReadError::Refused(Error::FutureRevision { .. }))));
    }

    let compacted = group.propose(1, Command::Compact { revision: second }).await;
    assert!(matches!(compacted, Ok(Reply::Compacted { .. })), "{compacted:?}");
    let again = group.propose(2, Command::Compact { revision: second }).await;
    let refused = Error::Compacted { asked: second, oldest: second };
    assert_eq!(again, Err(ProposeError::Refused(refused)));
    for turn in 0..group.members.len() {
        // A write behind the compaction: whoever has applied it has compacted.
        let written = group.put(turn, &group.key("b"), "").await;
        group.applied(turn, written).await;
        assert_eq!(group.member(turn).compacted(), second);
        let gone = group.range(turn, at(first)).await;
        let oldest = Error::Compacted { asked: first, oldest: second };
        assert_eq!(gone, Err(ReadError::Refused(oldest)));
        let kept = group.range(turn, at(second)).await.expect("the compacted revision itself");
        assert_eq!(kept.kvs[0].value, "2");
    }
}

pub(super) async fn status_and_members_agree(group: Arc<Group>) {
    let (leader, leadership) = group.leader().await;
    let id = leader.status().id;
    assert_eq!(leadership.leader, Some(id));
    for member in &group.members {
        let members = member.members();
        let itself = members.iter().find(|other| other.id == member.status().id);
        assert!(itself.is_some(), "{} not among {members:?}", member.status().id);
        assert!(members.iter().any(|other| other.id == id && other.is_voter));
    }
}
