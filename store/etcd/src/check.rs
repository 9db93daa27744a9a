//! What etcd refuses before it proposes anything, in its order and its words. Pure.

use tonic::Status;

use crate::errors;
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::etcdserverpb::request_op::Request;
use crate::proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

type Checked = Result<(), Status>;

pub(crate) fn range(request: &RangeRequest) -> Checked {
    if request.key.is_empty() {
        return Err(errors::empty_key());
    }
    let is_known = SortOrder::try_from(request.sort_order).is_ok()
        && SortTarget::try_from(request.sort_target).is_ok();
    if is_known { Ok(()) } else { Err(errors::invalid_sort_option()) }
}

pub(crate) fn put(request: &PutRequest) -> Checked {
    if request.key.is_empty() {
        Err(errors::empty_key())
    } else if request.ignore_value && !request.value.is_empty() {
        Err(errors::value_provided())
    } else if request.ignore_lease && request.lease != 0 {
        Err(errors::lease_provided())
    } else {
        Ok(())
    }
}

pub(crate) fn delete(request: &DeleteRangeRequest) -> Checked {
    if request.key.is_empty() { Err(errors::empty_key()) } else { Ok(()) }
}

/// `ops_max`: what this transaction may hold, at most; those inside get what it leaves.
///
/// That no key is written twice is checked by the state machine.
pub(crate) fn txn(request: &TxnRequest, ops_max: usize) -> Checked {
    let lengths = [request.compare.len(), request.success.len(), request.failure.len()];
    let ops = lengths.into_iter().max().unwrap_or(0);
    let Some(left) = ops_max.checked_sub(ops) else { return Err(errors::too_many_ops()) };
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(errors::empty_key());
    }
    request.success.iter().chain(&request.failure).try_for_each(|op| step(op, left))
}

fn step(op: &RequestOp, ops_max: usize) -> Checked {
    match &op.request {
        Some(Request::RequestRange(request)) => range(request),
        Some(Request::RequestPut(request)) => put(request),
        Some(Request::RequestDeleteRange(request)) => delete(request),
        Some(Request::RequestTxn(request)) => txn(request, ops_max),
        None => Err(errors::key_not_found()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(request: Request) -> RequestOp {
        RequestOp { request: Some(request) }
    }

    fn put_op(key: &'static str) -> RequestOp {
        op(Request::RequestPut(PutRequest { key: key.into(), ..PutRequest::default() }))
    }

    fn nest(levels: usize) -> TxnRequest {
        let success = match levels {
            0 => vec![put_op("k")],
            _ => vec![op(Request::RequestTxn(nest(levels - 1)))],
        };
        TxnRequest { success, ..TxnRequest::default() }
    }

    #[test]
    fn refusals_are_etcds() {
        let keyed = |request: PutRequest| put(&PutRequest { key: "k".into(), ..request });
        let many =
            |count| TxnRequest { success: vec![put_op("k"); count], ..TxnRequest::default() };
        let strange = RangeRequest { key: "k".into(), sort_order: 7, ..RangeRequest::default() };
        #[rustfmt::skip]
        let cases = [
            (range(&RangeRequest::default()),        "etcdserver: key is not provided"),
            (range(&strange),                        "etcdserver: invalid sort option"),
            (delete(&DeleteRangeRequest::default()), "etcdserver: key is not provided"),
            (keyed(PutRequest { ignore_value: true, value: "v".into(), ..PutRequest::default() }), "etcdserver: value is provided"),
            (keyed(PutRequest { ignore_lease: true, lease: 1, ..PutRequest::default() }),          "etcdserver: lease is provided"),
            (txn(&many(129), 128),                   "etcdserver: too many operations in txn request"),
            (txn(&many(128), 128),                   ""),
            (txn(&nest(127), 128),                   ""),
            (txn(&nest(128), 128),                   "etcdserver: too many operations in txn request"),
            (txn(&TxnRequest { success: vec![put_op("")], ..TxnRequest::default() }, 128), "etcdserver: key is not provided"),
            (txn(&TxnRequest { failure: vec![RequestOp::default()], ..TxnRequest::default() }, 128), "etcdserver: key not found"),
        ];
        for (index, (checked, expected)) in cases.into_iter().enumerate() {
            let found = checked.err().map(|status| status.message().to_owned());
            assert_eq!(found.unwrap_or_default(), expected, "case {index}");
        }
    }
}
