//! What is in memory, what is read from its record, and records that are damaged.

use super::*;
use crate::residents::OVERHEAD_BYTES;

#[test]
fn values_beyond_the_bound_are_those_written_longest_ago() {
    let cost = OVERHEAD_BYTES + 1;
    let mut state = State::new(Some(2 * cost));
    let mut disk = Records::default();
    for key in ["a", "b", "c"] {
        disk.store(apply(&mut state, 0, put(key, "1")).writes);
    }
    let in_memory = |state: &State, key| {
        let request = RangeRequest { range: KeyRange::key(key), ..RangeRequest::default() };
        state.range(&request).unwrap().is_complete()
    };
    assert_eq!(["a", "b", "c"].map(|key| in_memory(&state, key)), [false, true, true]);
    disk.store(apply(&mut state, 0, put("b", "2")).writes);
    disk.store(apply(&mut state, 0, put("d", "2")).writes);
    assert_eq!(["a", "b", "c", "d"].map(|key| in_memory(&state, key)), [false, true, false, true]);
    assert_eq!(state.resident_bytes(), 2 * cost);
    // The first that come back after a restart are those that are there longest; what is replaced by another
    // that comes back with it counts until both are there.
    let again = restored(&disk, Some(2 * cost));
    assert_eq!(["a", "b", "c", "d"].map(|key| in_memory(&again, key)), [true, false, false, false]);
    assert_eq!(again.resident_bytes(), cost);
}

#[test]
fn version_is_readable_before_it_is_stored() {
    let mut state = State::new(Some(0));
    let range = KeyRange::key("a");
    let read = Op::Range(RangeRequest { range, revision: 2, ..RangeRequest::default() });
    let read = Command::Txn(Txn { success: vec![read], ..Txn::default() });
    let commands = [put("a", "1"), put("a", "2"), put("a", "3"), read];
    let commands = commands.map(|command| Fenced { fence: None, command }).into();
    let batch = Batch { now_ms: 0, commands };
    let applied = state.apply(TERM, &batch, &Records::default());
    let Some(Ok(Reply::Txn(reply))) = applied.replies.last() else { panic!("{applied:?}") };
    let [OpReply::Range(reply)] = &reply.replies[..] else { panic!("{reply:?}") };
    assert_eq!(reply.kvs[0].value, "1");
}

#[test]
fn record_that_is_gone_or_changed_is_named() {
    let mut state = State::new(Some(0));
    let mut disk = Records::default();
    disk.store(apply(&mut state, 0, put("a", "1")).writes);
    disk.store(apply(&mut state, 0, put("b", "1")).writes);
    let request = RangeRequest { range: KeyRange::key("a"), ..RangeRequest::default() };
    let read = |disk: &Records| state.range(&request).unwrap().fetch(disk);
    assert!(read(&disk).is_ok());
    let key = record::version_key(2, 0);
    let check = |change: &dyn Fn(&mut Records), expected: &str| {
        let mut disk = disk.clone();
        change(&mut disk);
        let unreadable = read(&disk).unwrap_err().to_string();
        let expected = format!("unreadable record 72000000000000000200000000: {expected}");
        assert!(unreadable.starts_with(&expected), "{unreadable}");
    };
    check(&|disk| drop(disk.0.remove(&key)), "missing");
    check(&|disk| disk.0.get_mut(&key).unwrap()[7] ^= 1, "checksum");
    check(
        &|disk| {
            let kv = KeyValue { key: "b".into(), mod_revision: 2, ..KeyValue::default() };
            disk.0.insert(key.clone(), record::encode_version(&kv));
        },
        "holds key 62 instead of 61",
    );
}

type Disk = std::collections::BTreeMap<Vec<u8>, Vec<u8>>;

#[test]
fn records_that_contradict_each_other_are_refused() {
    let mut state = State::default();
    apply(&mut state, 0, put("a", "1"));
    let records: Disk = state.export(&Records::default()).unwrap().into_iter().collect();
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
    let mut backwards = Restore::new(None);
    let mut records = records.iter();
    let (meta, version) = (records.next().unwrap(), records.next().unwrap());
    backwards.add(meta.0, meta.1).unwrap();
    backwards.add(version.0, version.1).unwrap();
    assert!(backwards.add(version.0, version.1).unwrap_err().to_string().contains("not in order"));
}
