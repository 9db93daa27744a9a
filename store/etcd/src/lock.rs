//! Locks, each held by one lease at a time (`v3lockpb`).

use std::sync::Arc;

use bytes::Bytes;
use store_handle::{DeleteRequest, KeyRange, Op, RangeRequest, Txn};
use tonic::{Request, Response, Status};

use crate::facade::Facade;
use crate::line::{self, Leaving};
use crate::proto::v3lockpb::lock_server::Lock;
use crate::proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct LockService(pub(crate) Arc<Facade>);

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let LockRequest { name, lease } = request.into_inner();
        let place = line::enter(&self.0, &name, lease, Bytes::new()).await?;
        let leaving = Leaving::new(&self.0, place.key.clone());
        line::wait_turn(&self.0, &place).await?;
        // The lease may have ended while it waited.
        let own = KeyRange::key(place.key.clone());
        let own = line::read(&self.0, RangeRequest { range: own, ..RangeRequest::default() });
        let own = own.await?;
        if own.kvs.is_empty() {
            return Err(Status::unknown("mutex: session is expired"));
        }
        leaving.stay();
        let header = Some(self.0.header(own.revision));
        Ok(Response::new(LockResponse { header, key: place.key }))
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let range = KeyRange::key(request.into_inner().key);
        let delete = Op::Delete(DeleteRequest { range, prev_kv: false });
        let reply = line::run(&self.0, Txn { success: vec![delete], ..Txn::default() }).await?;
        Ok(Response::new(UnlockResponse { header: Some(self.0.header(reply.revision)) }))
    }
}
