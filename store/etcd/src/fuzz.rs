//! Requests that no client of etcd's would send: decoded and checked, or refused; never a panic.
//!
//! `TRIREME_FUZZ_CASES=1000000 cargo test -p store-etcd fuzz` runs longer.

use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

use crate::proto::etcdserverpb as pb;
use crate::{check, convert};

fn cases() -> u32 {
    let asked = std::env::var("TRIREME_FUZZ_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(3_000)
}

/// A transaction of everything, nested so deep.
fn txn(depth: u32) -> pb::TxnRequest {
    use pb::request_op::Request;
    let op = |request| pb::RequestOp { request: Some(request) };
    let range = pb::RangeRequest {
        key: "a".into(),
        range_end: "b".into(),
        limit: 3,
        revision: 300,
        sort_order: 1,
        sort_target: 2,
        ..pb::RangeRequest::default()
    };
    let put = pb::PutRequest {
        key: "k".into(),
        value: "v".into(),
        lease: -1,
        prev_kv: true,
        ..pb::PutRequest::default()
    };
    let delete = pb::DeleteRangeRequest { key: "k".into(), range_end: "\0".into(), prev_kv: true };
    let compare = pb::Compare {
        result: 3,
        target: 3,
        key: "k".into(),
        range_end: "z".into(),
        target_union: Some(pb::compare::TargetUnion::Value("v".into())),
    };
    let mut success = vec![
        op(Request::RequestRange(range)),
        op(Request::RequestPut(put)),
        op(Request::RequestDeleteRange(delete)),
    ];
    if let Some(less) = depth.checked_sub(1) {
        success.push(op(Request::RequestTxn(txn(less))));
    }
    pb::TxnRequest { compare: vec![compare], failure: success[..1].to_vec(), success }
}

fn take(bytes: &[u8]) {
    if let Ok(request) = pb::TxnRequest::decode(bytes)
        && check::txn(&request, 128).is_ok()
    {
        convert::txn(request);
    }
    if let Ok(request) = pb::RangeRequest::decode(bytes)
        && check::range(&request).is_ok()
    {
        convert::range(request);
    }
    if let Ok(request) = pb::PutRequest::decode(bytes)
        && check::put(&request).is_ok()
    {
        convert::put(request);
    }
    if let Ok(request) = pb::DeleteRangeRequest::decode(bytes)
        && check::delete(&request).is_ok()
    {
        convert::delete(request);
    }
    drop(pb::WatchRequest::decode(bytes));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn fuzz_requests(
        depth in 0..4_u32,
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..8),
        cut in prop::option::of(any::<Index>()),
    ) {
        let mut bytes = txn(depth).encode_to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        take(&bytes);
    }

    #[test]
    fn fuzz_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        take(&bytes);
    }
}

#[test]
fn transaction_nested_without_end_is_refused_when_it_is_decoded() {
    assert!(pb::TxnRequest::decode(&txn(10).encode_to_vec()[..]).is_ok());
    let error = pb::TxnRequest::decode(&txn(200).encode_to_vec()[..]).unwrap_err();
    assert!(error.to_string().contains("recursion limit reached"), "{error}");
}
