//! The state machine against its model, with random logs; and rules worth a test of their own.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::model::Model;
use crate::types::*;

const TERM: Term = Term(3);

fn bytes(choices: &'static [&'static str]) -> impl Strategy<Value = Bytes> {
    prop::sample::select(choices).prop_map(|text| Bytes::from_static(text.as_bytes()))
}

fn key() -> impl Strategy<Value = Bytes> {
    prop_oneof![40 => bytes(&["a", "aa", "ab", "b", "c"]), 1 => bytes(&[""])]
}

fn key_range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        4 => key().prop_map(KeyRange::key),
        2 => key().prop_map(KeyRange::prefix),
        2 => (key(), key()).prop_map(|(start, end)| KeyRange { start, end }),
        1 => key().prop_map(|start| KeyRange { start, end: Bytes::from_static(&[0]) }),
    ]
}

fn revision() -> impl Strategy<Value = Revision> {
    prop_oneof![3 => Just(0), 1 => 1_i64..40]
}

fn range_request() -> impl Strategy<Value = RangeRequest> {
    let sort = prop::sample::select(&[
        SortBy::Key,
        SortBy::Version,
        SortBy::CreateRevision,
        SortBy::ModRevision,
        SortBy::Value,
    ]);
    let bounds = prop::array::uniform4(prop_oneof![5 => Just(0_i64), 1 => 1_i64..30]);
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    (key_range(), 0_i64..4, revision(), sort, flags, bounds).prop_map(
        |(range, limit, revision, sort_by, (descending, keys_only, count_only), bounds)| {
            let [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision] =
                bounds;
            RangeRequest {
                range,
                limit,
                revision,
                sort_by,
                descending,
                keys_only,
                count_only,
                min_mod_revision,
                max_mod_revision,
                min_create_revision,
                max_create_revision,
            }
        },
    )
}

fn put_request() -> impl Strategy<Value = PutRequest> {
    let lease = prop_oneof![3 => Just(0), 1 => 1_i64..4];
    let rare = || prop::bool::weighted(0.1);
    (key(), bytes(&["", "1", "2"]), lease, any::<bool>(), rare(), rare()).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| {
            // Mostly well-formed: a request that ignores what it also gives is refused at once.
            let value = if ignore_value && lease != 1 { Bytes::new() } else { value };
            PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease }
        },
    )
}

fn compare() -> impl Strategy<Value = Compare> {
    let order = prop::sample::select(&[Order::Equal, Order::NotEqual, Order::Greater, Order::Less]);
    let target = prop_oneof![
        (0_i64..3).prop_map(Target::Version),
        (0_i64..20).prop_map(Target::CreateRevision),
        (0_i64..20).prop_map(Target::ModRevision),
        (0_i64..3).prop_map(Target::Lease),
        bytes(&["", "1", "2"]).prop_map(Target::Value),
    ];
    (key_range(), order, target).prop_map(|(range, order, target)| Compare { range, order, target })
}

fn op() -> impl Strategy<Value = Op> {
    let delete = (key_range(), any::<bool>())
        .prop_map(|(range, prev_kv)| Op::Delete(DeleteRequest { range, prev_kv }));
    let leaf = prop_oneof![
        2 => range_request().prop_map(Op::Range),
        5 => put_request().prop_map(Op::Put),
        2 => delete,
    ];
    leaf.prop_recursive(2, 8, 3, |op| txn_of(op).prop_map(Op::Txn))
}

fn txn_of(op: impl Strategy<Value = Op> + Clone) -> impl Strategy<Value = Txn> {
    let steps = || prop::collection::vec(op.clone(), 0..3);
    (prop::collection::vec(compare(), 0..2), steps(), steps())
        .prop_map(|(compare, success, failure)| Txn { compare, success, failure })
}

fn command() -> impl Strategy<Value = Command> {
    let id = || 0_i64..4;
    prop_oneof![
        8 => put_request().prop_map(|put| Txn { success: vec![Op::Put(put)], ..Txn::default() })
            .prop_map(Command::Txn),
        8 => txn_of(op().boxed()).prop_map(Command::Txn),
        2 => (id(), prop_oneof![-1_i64..6, Just(i64::MAX)])
            .prop_map(|(id, ttl_s)| Command::LeaseGrant { id, ttl_s }),
        1 => id().prop_map(|id| Command::LeaseRevoke { id }),
        1 => id().prop_map(|id| Command::LeaseKeepAlive { id }),
        1 => prop::collection::vec(id(), 0..4).prop_map(|ids| Command::LeaseExpire { ids }),
        2 => (-6_i64..20).prop_map(|revision| Command::Compact { revision }),
    ]
}

fn batch() -> impl Strategy<Value = Batch> {
    let fence = prop_oneof![8 => Just(None), 2 => Just(Some(TERM)), 1 => Just(Some(Term(2)))];
    let fenced = (fence, command()).prop_map(|(fence, command)| Fenced { fence, command });
    (0_u64..20_000, prop::collection::vec(fenced, 0..4))
        .prop_map(|(now_ms, commands)| Batch { now_ms, commands })
}

/// Compactions are drawn relative to the revision there is, where they are negative.
fn resolve(mut batch: Batch, latest: Revision) -> Batch {
    for Fenced { command, .. } in &mut batch.commands {
        if let Command::Compact { revision } = command
            && *revision < 0
        {
            *revision += latest + 2;
        }
    }
    batch
}

/// What a member has stored.
type Disk = BTreeMap<Vec<u8>, Vec<u8>>;

fn store(disk: &mut Disk, writes: Vec<Record>) {
    for write in writes {
        match write {
            Record::Put { key, value } => drop(disk.insert(key, value)),
            Record::Delete { key } => drop(disk.remove(&key)),
        }
    }
}

fn check_replies(replies: &[Result<Reply, Error>], expected: &[Result<Reply, Vec<Error>>]) {
    assert_eq!(replies.len(), expected.len());
    for (reply, expected) in replies.iter().zip(expected) {
        match (reply, expected) {
            (Err(error), Err(errors)) => assert!(errors.contains(error), "{error} of {errors:?}"),
            (Ok(reply), Ok(expected)) => assert_eq!(reply, expected),
            _ => panic!("{reply:?} instead of {expected:?}"),
        }
    }
}

fn check_reads(state: &State, model: &Model, requests: &[RangeRequest]) {
    assert_eq!(state.revision(), model.revision);
    assert_eq!(state.compacted(), model.compacted);
    assert_eq!(state.now_ms(), model.now_ms);
    assert_eq!(state.leases(), model.leases());
    assert_eq!(state.key_count(), model.key_count(), "nothing is kept that nobody can meet");
    for id in 0..5 {
        assert_eq!(state.lease(id), model.lease(id));
    }
    for revision in model.compacted - 1..=model.revision + 1 {
        for request in requests {
            let request = RangeRequest { revision, ..request.clone() };
            let one = |errors: Vec<Error>| errors[0].clone();
            assert_eq!(state.range(&request), model.range(&request).map_err(one), "{request:?}");
            let events = state.events_since(&request.range, revision);
            assert_eq!(events, model.events_since(&request.range, revision));
            if let Ok(events) = events {
                assert_eq!(pages(state, &request.range, revision), events);
            }
        }
    }
}

fn pages(state: &State, range: &KeyRange, mut from: Revision) -> Vec<Change> {
    let mut changes = Vec::new();
    while from <= state.revision() {
        let page = state.page(range, from, 2).unwrap();
        assert!(page.changes.len() <= 2 && page.through >= from);
        changes.extend(page.changes);
        from = page.through + 1;
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn state_does_what_its_model_does(
        batches in prop::collection::vec(batch(), 1..25),
        requests in prop::collection::vec(range_request(), 4),
    ) {
        let (mut state, mut model, mut disk) = (State::default(), Model::new(), Disk::new());
        for batch in batches {
            let batch = resolve(batch, state.revision());
            let applied = state.apply(TERM, &batch);
            check_replies(&applied.replies, &model.apply(TERM, &batch));
            prop_assert_eq!(&applied.changes, &std::mem::take(&mut model.committed));
            store(&mut disk, applied.writes);
            check_reads(&state, &model, &requests);
            if state.revision() > 1 || !disk.is_empty() {
                prop_assert_eq!(&state.export().collect::<Disk>(), &disk);
            }
            prop_assert_eq!(&State::restore(disk.clone()).unwrap(), &state);
        }
    }
}

fn put(key: &'static str, value: &'static str) -> Command {
    let (key, value) = (key.into(), value.into());
    let put = Op::Put(PutRequest { key, value, ..PutRequest::default() });
    Command::Txn(Txn { success: vec![put], ..Txn::default() })
}

fn apply(state: &mut State, now_ms: u64, command: Command) -> Applied {
    let commands = vec![Fenced { fence: None, command }];
    state.apply(TERM, &Batch { now_ms, commands })
}

#[test]
fn equal_logs_give_equal_records() {
    let run = || {
        let mut state = State::default();
        let lease = apply(&mut state, 5, Command::LeaseGrant { id: 0, ttl_s: 9 });
        (lease, apply(&mut state, 7, put("a", "1")), apply(&mut state, 8, put("a", "2")))
    };
    assert_eq!(run(), run());
}

#[test]
fn values_are_shared_not_copied() {
    let mut state = State::default();
    let value = Bytes::from(vec![7; 4096]);
    let put =
        Op::Put(PutRequest { key: "a".into(), value: value.clone(), ..PutRequest::default() });
    let txn = Txn { success: vec![put], ..Txn::default() };
    let applied = apply(&mut state, 0, Command::Txn(txn));
    let request = RangeRequest { range: KeyRange::key("a"), ..RangeRequest::default() };
    let read = state.range(&request).unwrap();
    for shared in [&applied.changes[0].events[0].kv.value, &read.kvs[0].value] {
        assert_eq!(shared.as_ptr(), value.as_ptr());
    }
}

#[test]
fn time_never_goes_back() {
    let mut state = State::default();
    apply(&mut state, 10_000, Command::LeaseGrant { id: 1, ttl_s: 5 });
    apply(&mut state, 2_000, Command::LeaseKeepAlive { id: 1 });
    assert_eq!(state.next_lease_due_ms(), Some(15_000));
    assert_eq!(state.leases_due(14_999, 9), []);
    assert_eq!(state.leases_due(15_000, 9), [1]);
    // Asked to end it early, by a leader whose clock is ahead of what the log has seen.
    let early = apply(&mut state, 14_999, Command::LeaseExpire { ids: vec![1] });
    assert_eq!(early.replies, [Ok(Reply::LeasesExpired { revision: 1, count: 0 })]);
    let due = apply(&mut state, 15_000, Command::LeaseExpire { ids: vec![1, 1] });
    assert_eq!(due.replies, [Ok(Reply::LeasesExpired { revision: 1, count: 1 })]);
}

#[test]
fn compaction_costs_what_was_written_since_the_last() {
    let mut state = State::default();
    for _ in 0..3 {
        apply(&mut state, 0, put("a", "1"));
    }
    let deleted = apply(&mut state, 0, Command::Compact { revision: 4 }).writes;
    assert_eq!(deleted.len(), 3, "two old versions and the scalars: {deleted:?}");
    apply(&mut state, 0, put("b", "1"));
    let deleted = apply(&mut state, 0, Command::Compact { revision: 5 }).writes;
    assert_eq!(deleted.len(), 1, "the scalars: {deleted:?}");
}

#[test]
fn records_that_contradict_each_other_are_refused() {
    let mut state = State::default();
    apply(&mut state, 0, put("a", "1"));
    let records: Disk = state.export().collect();
    let meta = record::meta_key();
    let check = |change: &dyn Fn(&mut Disk), expected: &str| {
        let mut records = records.clone();
        change(&mut records);
        let corrupt = State::restore(records).unwrap_err().to_string();
        assert!(corrupt.contains(expected), "{corrupt}");
    };
    check(&|disk| drop(disk.remove(&meta)), "missing");
    check(&|disk| disk.get_mut(&meta).unwrap()[6] ^= 1, "checksum");
    check(
        &|disk| {
            let kv = KeyValue { key: "a".into(), mod_revision: 9, ..KeyValue::default() };
            disk.insert(record::version_key(9, 0), record::encode_version(&kv));
        },
        "later than the store's revision",
    );
    check(
        &|disk| {
            let kv = KeyValue { key: "a".into(), mod_revision: 2, ..KeyValue::default() };
            disk.insert(record::version_key(2, 1), record::encode_version(&kv));
        },
        "a second version of its key in one revision",
    );
    assert_eq!(State::restore([]).unwrap(), State::default());
}

#[test]
fn hash_is_that_of_the_revision_and_notices_any_change() {
    let mut state = State::default();
    let put = |key: &'static str, value: &'static str| {
        let put = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
        Txn { success: vec![Op::Put(put)], ..Txn::default() }
    };
    let batch = |txn| Batch {
        now_ms: 0,
        commands: vec![Fenced { fence: None, command: Command::Txn(txn) }],
    };
    state.apply(Term(1), &batch(put("a", "1")));
    let before = state.hash(0).unwrap();
    assert_eq!(before, state.hash(2).unwrap());
    state.apply(Term(1), &batch(put("b", "1")));
    assert_eq!(before, state.hash(2).unwrap());
    assert_ne!(before.0, state.hash(0).unwrap().0);
    assert!(matches!(state.hash(9), Err(Error::FutureRevision { asked: 9, latest: 3 })));
}
