//! Every message between members and every record of the log, byte for byte as version 1 has them; and what
//! becomes of bytes that nobody wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, TransferLeaderError};
use proptest::prelude::*;
use proptest::sample::Index;
use store_handle::{Batch, Fenced, Op, PutRequest, Term, Txn, TxnReply};

use super::*;
use crate::roster::Roster;
use crate::types::{
    CommittedLeaderId, Entry, LogId, MemberNode, Membership, Proposal, SnapshotMeta, Vote,
};

/// `name hex`, a line each. What version 1 wrote must be read by every later release: never edit, only add.
const VERSION_1: &str = include_str!("version-1.txt");

fn id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

fn member() -> Member {
    Member {
        id: 300,
        name: "m1".into(),
        peer_address: "10.0.0.1:2380".into(),
        labels: [("peer-urls".into(), "http://10.0.0.1:2380".into())].into(),
        is_voter: true,
    }
}

fn membership() -> openraft::Membership<MemberId, MemberNode> {
    let nodes: BTreeMap<MemberId, MemberNode> =
        [300, 301].map(|id| (id, (&member()).into())).into();
    openraft::Membership::new(vec![BTreeSet::from([300])], nodes).unwrap()
}

fn command() -> Command {
    let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
    Command::Txn(Txn { success: vec![Op::Put(put)], ..Txn::default() })
}

fn entries() -> Vec<Entry> {
    let commands = vec![Fenced { fence: Some(Term(7)), command: command() }];
    let batch = codec::encode(&Batch { now_ms: 1_795_000_000_000, commands });
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Normal(Proposal(batch.into())),
        EntryPayload::Membership(membership()),
    ];
    let entry = |(index, payload)| Entry { log_id: id(7, index), payload };
    (40..).zip(payloads).map(entry).collect()
}

/// Encodes, and gives a function that decodes and shows the value.
type Shown = Box<dyn Fn(&[u8]) -> Result<String, codec::CodecError>>;

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    value: String,
    read: Shown,
}

fn case<T: Serialize + DeserializeOwned + Debug + 'static>(name: &'static str, value: &T) -> Case {
    let read = |bytes: &[u8]| codec::decode::<T>(bytes).map(|value| format!("{value:?}"));
    Case { name, bytes: codec::encode(value), value: format!("{value:?}"), read: Box::new(read) }
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let vote = Vote::new_committed(7, 300);
    let (last, meta) = (Some(id(7, 41)), SnapshotMeta { last_log_id: Some(id(7, 41)), last_membership: Membership::new(Some(id(7, 40)), membership()) });
    let view = View { is_gone: true, term: 7, last_log: (7, 41) };
    let reply = Reply::Txn(TxnReply { succeeded: true, revision: 5, replies: Vec::new() });
    let [blank, normal, members] = <[Entry; 3]>::try_from(entries()).unwrap();
    let append = AppendEntriesRequest::<TypeConfig> { vote, prev_log_id: Some(id(6, 39)), entries: entries(), leader_commit: last };
    type Appended = openraft::raft::StreamAppendResult<TypeConfig>;
    vec![
        case("log.entry.blank", &blank),
        case("log.entry.normal", &normal),
        case("log.entry.membership", &members),
        case("log.vote", &vote),
        case("log.committed", &id(7, 41)),
        case("state.applied", &last),
        case("state.members", &(Membership::new(Some(id(7, 40)), membership()), BTreeSet::<MemberId>::from([9]))),
        case("append.request", &append),
        case("append.done", &Appended::Ok(last)),
        case("append.conflict", &Appended::Err(StreamAppendError::Conflict(id(7, 41)))),
        case("append.higher-vote", &Appended::Err(StreamAppendError::HigherVote(vote))),
        case("ask.vote", &Ask::Vote(VoteRequest::new(vote, last))),
        case("ask.pre-vote", &Ask::PreVote(VoteRequest::new(vote, None))),
        case("ask.transfer", &Ask::Transfer(TransferLeaderRequest::new(vote, 301, last))),
        case("ask.propose", &Ask::Propose(vec![command()])),
        case("ask.read-index", &Ask::ReadIndex),
        case("ask.change.add", &Ask::Change(Change::Add(member()))),
        case("ask.change.remove", &Ask::Change(Change::Remove(300))),
        case("ask.change.promote", &Ask::Change(Change::Promote(300))),
        case("ask.hand-over", &Ask::HandOver(Some(301))),
        case("ask.is-gone", &Ask::IsGone(300)),
        case("answer.vote", &Answer::Vote(VoteResponse::new(vote, last, true))),
        case("answer.pre-vote", &Answer::PreVote(VoteResponse::new(vote, None, false))),
        case("answer.transfer", &Answer::Transfer(Ok(()))),
        case("answer.transfer.changed", &Answer::Transfer(Err(TransferLeaderError::VoteChanged { expected: vote, actual: Vote::new(8, 301) }))),
        case("answer.propose", &Answer::Propose(vec![
            Outcome::Done { index: 41, reply: Ok(reply) },
            Outcome::Done { index: 41, reply: Err(Error::KeyNotFound) },
            Outcome::Undone(Undone::NotLeader),
            Outcome::Undone(Undone::Never("never".into())),
            Outcome::Undone(Undone::Unknown("unknown".into())),
        ])),
        case("answer.read-index", &Answer::ReadIndex(Ok(41))),
        case("answer.read-index.none", &Answer::ReadIndex(Err("no".into()))),
        case("answer.change", &Answer::Change(Ok(()))),
        case("answer.hand-over", &Answer::HandOver(Err(Undone::NotLeader))),
        case("answer.is-gone", &Answer::IsGone(Some(view))),
        case("snapshot.head", &SnapshotPiece::Head { vote, meta }),
        case("snapshot.records", &SnapshotPiece::Records(vec![(b"A".to_vec(), b"x".to_vec())])),
        case("snapshot.end", &SnapshotPiece::End { records: 1 }),
        case("hello", &Hello { incarnation: 0xfeed }),
        case("roster", &Roster { cluster_id: 0xfeed, epoch: 1, members: vec![member()] }),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn messages_and_log_records_of_version_1_stay_as_they_are() {
    let written: BTreeMap<&str, &str> =
        VERSION_1.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut missing = String::new();
    for case in cases() {
        let bytes = hex(&case.bytes);
        match written.get(case.name) {
            Some(known) => assert_eq!(bytes, *known, "{}", case.name),
            None => missing += &format!("{} {bytes}\n", case.name),
        }
        assert_eq!((case.read)(&case.bytes), Ok(case.value), "{}", case.name);
    }
    assert!(missing.is_empty(), "not in version-1.txt:\n{missing}");
    assert_eq!(written.len(), cases().len(), "a fixture without a case");
}

/// Cases of the property below: `TRIREME_FUZZ_CASES` for a longer run.
fn fuzz_cases() -> u32 {
    let asked = std::env::var("TRIREME_FUZZ_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(3_000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(fuzz_cases()))]

    /// Whatever a peer or a disk brings is a value or an error: no panic, no memory for what is not there.
    #[test]
    fn fuzz_messages_and_log_records(
        which in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), prop_oneof![any::<u8>(), 250..=255_u8]), 1..6),
        cut in prop::option::of(any::<Index>()),
        is_sealed in any::<bool>(),
    ) {
        let cases = cases();
        let case = &cases[which.index(cases.len())];
        let mut bytes = case.bytes.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if is_sealed && bytes.len() > 5 {
            // With the checksum that belongs to it: only the decoder is left to notice.
            bytes[0] = codec::VERSION;
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&bytes[..1]);
            hasher.update(&bytes[5..]);
            bytes[1..5].copy_from_slice(&hasher.finalize().to_be_bytes());
        }
        for case in &cases {
            drop((case.read)(&bytes));
        }
    }
}
