//! The state machine against its model, with random logs; and rules worth a test of their own.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::model::Model;
use crate::page::Page;
use crate::restore::Restore;
use crate::types::*;
use crate::versions::Records;

mod records;

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

pub(crate) fn batch() -> impl Strategy<Value = Batch> {
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

fn check_reads(state: &State, disk: &Records, model: &Model, requests: &[RangeRequest]) {
    assert_eq!(state.revision(), model.revision);
    assert_eq!(state.compacted(), model.compacted);
    assert_eq!(state.now_ms(), model.now_ms);
    assert_eq!(state.leases(), model.leases());
    for id in 0..5 {
        assert_eq!(state.lease(id), model.lease(id));
    }
    for revision in model.compacted - 1..=model.revision + 1 {
        for request in requests {
            let request = RangeRequest { revision, ..request.clone() };
            let one = |errors: Vec<Error>| errors[0].clone();
            let reply = state.range(&request).map(|found| found.fetch(disk).unwrap());
            assert_eq!(reply, model.range(&request).map_err(one), "{request:?}");
            let page = state.page(&request.range, revision, usize::MAX);
            let events = page.map(|page| page.fetch(disk, usize::MAX).unwrap().changes);
            assert_eq!(events, model.events_since(&request.range, revision));
            if let Ok(events) = events {
                for bytes_max in [0, 5, usize::MAX] {
                    assert_eq!(pages(state, disk, &request.range, revision, bytes_max), events);
                }
            }
        }
    }
}

fn pages(
    state: &State,
    disk: &Records,
    range: &KeyRange,
    mut from: Revision,
    bytes_max: usize,
) -> Vec<Change> {
    let mut changes = Vec::new();
    while from <= state.revision() {
        let page = state.page(range, from, 2).unwrap();
        let Page { changes: some, through, is_last } = page.fetch(disk, bytes_max).unwrap();
        assert!(some.len() <= 2 && through >= from);
        assert_eq!(is_last, through == state.revision());
        changes.extend(some);
        from = through + 1;
    }
    changes
}

fn restored(disk: &Records, bytes_max: Option<usize>) -> State {
    let mut restore = Restore::new(bytes_max);
    disk.0.iter().for_each(|(key, value)| restore.add(key, value).unwrap());
    restore.finish().unwrap()
}

/// Sweeps a copy of the state to the end; its disk.
fn swept(state: &State, disk: &Records, model: &Model) -> Records {
    let (mut state, mut disk) = (state.clone(), disk.clone());
    while !state.is_swept() {
        disk.store(state.sweep(3));
    }
    assert_eq!(state.key_count(), model.key_count(), "nothing is kept that nobody can meet");
    disk
}

/// How a member keeps its state: values in memory, lines swept after each entry, and whether it forgets
/// all it has in memory and begins again from its records.
fn member() -> impl Strategy<Value = (Option<usize>, usize, bool)> {
    let bytes_max = prop::sample::select(&[None, Some(0), Some(65), Some(130), Some(1000)]);
    (bytes_max, prop::sample::select(&[0, 1, 2, usize::MAX]), prop::bool::weighted(0.2))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn state_does_what_its_model_does(
        (bytes_max, sweeps, restarts) in member(),
        chunks in prop::collection::vec(prop::collection::vec(batch(), 1..3), 1..15),
        requests in prop::collection::vec(range_request(), 4),
    ) {
        let (mut state, mut model) = (State::new(bytes_max), Model::new());
        let mut disk = Records::default();
        for chunk in chunks {
            // Entries that are applied before any of them is stored.
            let mut writes = Vec::new();
            for batch in chunk {
                let batch = resolve(batch, state.revision());
                let mut applied = state.apply(TERM, &batch, &disk);
                applied.lacks.iter().for_each(|lack| lack.fill(&mut applied.changes, &disk));
                check_replies(&applied.replies, &model.apply(TERM, &batch));
                prop_assert_eq!(&applied.changes, &std::mem::take(&mut model.committed));
                writes.extend(applied.writes);
            }
            disk.store(writes);
            state.settle();
            if let Some(bytes_max) = bytes_max {
                prop_assert!(state.resident_bytes() <= bytes_max);
            }
            check_reads(&state, &disk, &model, &requests);
            let swept = swept(&state, &disk, &model);
            if state.revision() > 1 || !disk.0.is_empty() {
                prop_assert_eq!(&Records(state.export(&disk).unwrap().into_iter().collect()), &swept);
            }
            let again = restored(&disk, bytes_max);
            prop_assert_eq!(&again, &state);
            prop_assert_eq!(&self::swept(&again, &disk, &model), &swept);
            prop_assert_eq!(&restored(&swept, None), &state);
            prop_assert_eq!(checksum(&restored(&swept, None), &swept), checksum(&state, &disk));
            if restarts {
                state = again;
            }
            disk.store(state.sweep(sweeps));
        }
    }
}

fn checksum(state: &State, disk: &Records) -> u32 {
    let mut checksum = Checksum::default();
    let mut after = None::<Bytes>;
    loop {
        let items = state.items(after.as_deref(), state.revision(), 2);
        let Some(last) = items.last() else { return checksum.value() };
        after = Some(Bytes::copy_from_slice(last.key()));
        items.into_iter().for_each(|item| checksum.add(&item.fetch(disk).unwrap()));
    }
}

fn put(key: &'static str, value: &'static str) -> Command {
    let (key, value) = (key.into(), value.into());
    let put = Op::Put(PutRequest { key, value, ..PutRequest::default() });
    Command::Txn(Txn { success: vec![put], ..Txn::default() })
}

fn apply(state: &mut State, now_ms: u64, command: Command) -> Applied {
    let commands = vec![Fenced { fence: None, command }];
    let applied = state.apply(TERM, &Batch { now_ms, commands }, &Records::default());
    state.settle();
    applied
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
    let read = state.range(&request).unwrap().fetch(&Records::default()).unwrap();
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
fn compaction_answers_at_once_and_is_swept_at_the_cost_of_what_was_written_since_the_last() {
    let mut state = State::default();
    for _ in 0..3 {
        apply(&mut state, 0, put("a", "1"));
    }
    let compacted = apply(&mut state, 0, Command::Compact { revision: 4 });
    assert_eq!(compacted.writes.len(), 1, "the scalars: {compacted:?}");
    assert_eq!(
        state.page(&KeyRange::key("a"), 3, 9).unwrap_err(),
        Error::Compacted { asked: 3, oldest: 4 }
    );
    let deleted: Vec<_> = std::iter::repeat_with(|| state.sweep(1).len()).take(4).collect();
    assert_eq!(deleted, [2, 0, 0, 0], "two old versions, with the first line that names the key");
    assert!(state.is_swept());
    apply(&mut state, 0, put("b", "1"));
    apply(&mut state, 0, Command::Compact { revision: 5 });
    assert!(!state.is_swept());
    assert_eq!(state.sweep(2), []);
    assert!(state.is_swept());
}

#[test]
fn restart_in_the_middle_of_a_sweep_brings_nothing_back() {
    let mut state = State::default();
    let mut disk = Records::default();
    let delete = DeleteRequest { range: KeyRange::key("a"), prev_kv: false };
    let delete = Command::Txn(Txn { success: vec![Op::Delete(delete)], ..Txn::default() });
    let compact = Command::Compact { revision: 4 };
    for command in [put("a", "1"), delete, put("b", "1"), compact] {
        disk.store(apply(&mut state, 0, command).writes);
    }
    for steps in 0..4 {
        let mut again = restored(&disk, None);
        assert_eq!(again, state, "after {steps} steps");
        disk.store(again.sweep(1));
    }
    assert!(restored(&disk, None).is_swept());
}

#[test]
fn leap_leaves_values_and_forgets_history() {
    let mut state = State::default();
    let mut disk = Records::default();
    let delete = DeleteRequest { range: KeyRange::key("b"), prev_kv: false };
    let delete = Command::Txn(Txn { success: vec![Op::Delete(delete)], ..Txn::default() });
    let lease = Command::LeaseGrant { id: 7, ttl_s: 60 };
    for command in [lease, put("a", "1"), put("a", "2"), put("b", "1"), delete] {
        disk.store(apply(&mut state, 1_000, command).writes);
    }
    let revision = state.revision();
    disk.store(state.leap(1_000));
    assert_eq!((state.revision(), state.compacted()), (revision + 1_000, revision + 1_000));
    assert_eq!(restored(&disk, None), state, "what is stored says the same");
    let all = RangeRequest { range: KeyRange::prefix(""), ..RangeRequest::default() };
    let kvs = state.range(&all).unwrap().fetch(&disk).unwrap().kvs;
    assert_eq!((kvs.len(), &kvs[0].value[..], kvs[0].mod_revision), (1, &b"2"[..], 3));
    for from in [2, revision, revision + 1, revision + 999] {
        let error = state.page(&all.range, from, 9).unwrap_err();
        assert_eq!(error, Error::Compacted { asked: from, oldest: revision + 1_000 });
    }
    assert_eq!(pages(&state, &disk, &all.range, revision + 1_000, 9), []);
    disk.store(state.sweep(usize::MAX));
    assert_eq!(disk.0.keys().filter(|key| key[0] == b'r').count(), 1, "history is gone");
    disk.store(state.leap(0));
    assert_eq!(restored(&disk, None), state);
}
