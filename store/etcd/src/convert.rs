//! etcd's messages and the store's words, into each other. Pure; bytes are shared, not copied.

use std::sync::Arc;

use bytes::Bytes;
use store_handle::{
    Compare, DeleteRequest, Event, EventKind, KeyRange, KeyValue, Op, OpReply, Order, PutRequest,
    RangeReply, RangeRequest, Revision, SortBy, Target, Txn, TxnReply,
};

use crate::proto::etcdserverpb as pb;
use crate::proto::mvccpb;

/// etcd takes a range that ends where it begins, or before, as empty; so does the store.
fn key_range(start: Bytes, end: Bytes) -> KeyRange {
    KeyRange { start, end }
}

pub(crate) fn range(request: pb::RangeRequest) -> RangeRequest {
    let descending = request.sort_order() == pb::range_request::SortOrder::Descend;
    let sort_by = match request.sort_target() {
        pb::range_request::SortTarget::Key => SortBy::Key,
        pb::range_request::SortTarget::Version => SortBy::Version,
        pb::range_request::SortTarget::Create => SortBy::CreateRevision,
        pb::range_request::SortTarget::Mod => SortBy::ModRevision,
        pb::range_request::SortTarget::Value => SortBy::Value,
    };
    RangeRequest {
        range: key_range(request.key, request.range_end),
        limit: request.limit,
        revision: request.revision,
        sort_by,
        descending,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    }
}

pub(crate) fn put(request: pb::PutRequest) -> PutRequest {
    PutRequest {
        key: request.key,
        value: request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

pub(crate) fn delete(request: pb::DeleteRangeRequest) -> DeleteRequest {
    DeleteRequest { range: key_range(request.key, request.range_end), prev_kv: request.prev_kv }
}

pub(crate) fn txn(request: pb::TxnRequest) -> Txn {
    Txn {
        compare: request.compare.into_iter().map(compare).collect(),
        success: request.success.into_iter().filter_map(op).collect(),
        failure: request.failure.into_iter().filter_map(op).collect(),
    }
}

/// A step without content was refused before.
fn op(op: pb::RequestOp) -> Option<Op> {
    use pb::request_op::Request;
    Some(match op.request? {
        Request::RequestRange(request) => Op::Range(range(request)),
        Request::RequestPut(request) => Op::Put(put(request)),
        Request::RequestDeleteRange(request) => Op::Delete(delete(request)),
        Request::RequestTxn(request) => Op::Txn(txn(request)),
    })
}

/// The field `target` says what is compared; a value that is not given is zero.
fn compare(compare: pb::Compare) -> Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let order = match compare.result() {
        CompareResult::Equal => Order::Equal,
        CompareResult::NotEqual => Order::NotEqual,
        CompareResult::Greater => Order::Greater,
        CompareResult::Less => Order::Less,
    };
    let target = match (compare.target(), compare.target_union) {
        (CompareTarget::Version, Some(TargetUnion::Version(asked))) => Target::Version(asked),
        (CompareTarget::Version, _) => Target::Version(0),
        (CompareTarget::Create, Some(TargetUnion::CreateRevision(asked))) => {
            Target::CreateRevision(asked)
        }
        (CompareTarget::Create, _) => Target::CreateRevision(0),
        (CompareTarget::Mod, Some(TargetUnion::ModRevision(asked))) => Target::ModRevision(asked),
        (CompareTarget::Mod, _) => Target::ModRevision(0),
        (CompareTarget::Lease, Some(TargetUnion::Lease(asked))) => Target::Lease(asked),
        (CompareTarget::Lease, _) => Target::Lease(0),
        (CompareTarget::Value, Some(TargetUnion::Value(asked))) => Target::Value(asked),
        (CompareTarget::Value, _) => Target::Value(Bytes::new()),
    };
    Compare { range: key_range(compare.key, compare.range_end), order, target }
}

pub(crate) fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

pub(crate) fn key_values(kvs: Vec<KeyValue>) -> Vec<mvccpb::KeyValue> {
    kvs.into_iter().map(key_value).collect()
}

pub(crate) fn range_reply(header: pb::ResponseHeader, reply: RangeReply) -> pb::RangeResponse {
    pb::RangeResponse {
        header: Some(header),
        kvs: key_values(reply.kvs),
        more: reply.more,
        count: reply.count,
    }
}

pub(crate) fn put_reply(header: pb::ResponseHeader, prev: Option<KeyValue>) -> pb::PutResponse {
    pb::PutResponse { header: Some(header), prev_kv: prev.map(key_value) }
}

pub(crate) fn delete_reply(
    header: pb::ResponseHeader,
    deleted: i64,
    prev: Vec<KeyValue>,
) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse { header: Some(header), deleted, prev_kvs: key_values(prev) }
}

/// The steps' own headers hold the revision and nothing else.
pub(crate) fn txn_reply(header: pb::ResponseHeader, reply: TxnReply) -> pb::TxnResponse {
    let revision = reply.revision;
    pb::TxnResponse {
        header: Some(header),
        succeeded: reply.succeeded,
        responses: reply.replies.into_iter().map(|reply| op_reply(revision, reply)).collect(),
    }
}

fn op_reply(revision: Revision, reply: OpReply) -> pb::ResponseOp {
    use pb::response_op::Response;
    let header = pb::ResponseHeader { revision, ..pb::ResponseHeader::default() };
    let response = match reply {
        OpReply::Range(reply) => Response::ResponseRange(range_reply(header, reply)),
        OpReply::Put { prev } => Response::ResponsePut(put_reply(header, prev)),
        OpReply::Delete { deleted, prev } => {
            Response::ResponseDeleteRange(delete_reply(header, deleted, prev))
        }
        OpReply::Txn(reply) => Response::ResponseTxn(txn_reply(header, reply)),
    };
    pb::ResponseOp { response: Some(response) }
}

/// What a watcher wants of the events that its range holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) puts: bool,
    pub(crate) deletes: bool,
    pub(crate) prev: bool,
}

pub(crate) fn events(found: &Arc<[Event]>, wanted: Wanted, into: &mut Vec<mvccpb::Event>) {
    for event in &**found {
        let (kind, is_wanted) = match event.kind {
            EventKind::Put => (mvccpb::event::EventType::Put, wanted.puts),
            EventKind::Delete => (mvccpb::event::EventType::Delete, wanted.deletes),
        };
        if is_wanted {
            let prev = event.prev.clone().filter(|_| wanted.prev);
            into.push(mvccpb::Event {
                r#type: kind.into(),
                kv: Some(key_value(event.kv.clone())),
                prev_kv: prev.map(key_value),
            });
        }
    }
}
