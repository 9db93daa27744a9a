//! Keys: read, put, deleted, in transactions; and history forgotten.
//!
//! # Invariants
//! - A read that is not serializable is answered after a read index: it sees all that was acknowledged before.

use std::sync::Arc;

use prost::Message;
use store_handle::{Command, Op, OpReply, RangeReply, Reply, Txn, TxnReply};
use tonic::{Request, Response, Status};

use crate::facade::{Facade, unexpected};
use crate::proto::etcdserverpb::kv_server::Kv;
use crate::proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use crate::{check, convert, errors, metrics};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct KvService(pub(crate) Arc<Facade>);

impl KvService {
    async fn read(&self, request: RangeRequest) -> Result<RangeReply, Status> {
        check::range(&request)?;
        if !request.serializable && self.0.is_learner() {
            return Err(errors::not_for_learners());
        }
        if !request.serializable {
            self.0.read_index().await?;
        }
        metrics::one(&self.0.metrics.ranges);
        self.0.handle.range(&convert::range(request)).map_err(errors::of_read)
    }

    /// Bounds what gets into the log.
    fn bound(&self, message: &impl Message) -> Result<(), Status> {
        if message.encoded_len() > self.0.options.request_bytes_max {
            return Err(errors::request_too_large());
        }
        Ok(())
    }

    async fn run(&self, txn: Txn) -> Result<TxnReply, Status> {
        match self.0.propose(Command::Txn(txn)).await? {
            Reply::Txn(reply) => Ok(reply),
            other => Err(unexpected(&other)),
        }
    }

    /// A transaction of one step; its revision and reply.
    async fn run_one(&self, op: Op) -> Result<(i64, OpReply), Status> {
        let txn = Txn { success: vec![op], ..Txn::default() };
        let mut reply = self.run(txn).await?;
        let only = reply.replies.pop().ok_or_else(|| Status::internal("no reply to a step"))?;
        Ok((reply.revision, only))
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let reply = self.read(request.into_inner()).await?;
        Ok(Response::new(convert::range_reply(self.0.header(reply.revision), reply)))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = request.into_inner();
        check::put(&request)?;
        self.bound(&request)?;
        match self.run_one(Op::Put(convert::put(request))).await? {
            (revision, OpReply::Put { prev }) => {
                Ok(Response::new(convert::put_reply(self.0.header(revision), prev)))
            }
            (_, other) => Err(Status::internal(format!("a put was answered {other:?}"))),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let request = request.into_inner();
        check::delete(&request)?;
        self.bound(&request)?;
        match self.run_one(Op::Delete(convert::delete(request))).await? {
            (revision, OpReply::Delete { deleted, prev }) => {
                let header = self.0.header(revision);
                Ok(Response::new(convert::delete_reply(header, deleted, prev)))
            }
            (_, other) => Err(Status::internal(format!("a deletion was answered {other:?}"))),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let request = request.into_inner();
        check::txn(&request, self.0.options.txn_ops_max)?;
        self.bound(&request)?;
        let reply = self.run(convert::txn(request)).await?;
        Ok(Response::new(convert::txn_reply(self.0.header(reply.revision), reply)))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        // Nobody can read what is compacted once this is answered. `physical` asks to wait until its
        // space is free too: each member sees to that in the background.
        let revision = request.into_inner().revision;
        match self.0.propose(Command::Compact { revision }).await? {
            Reply::Compacted { revision } => {
                Ok(Response::new(CompactionResponse { header: Some(self.0.header(revision)) }))
            }
            other => Err(unexpected(&other)),
        }
    }
}
