//! Leases: granted, kept alive, looked at, revoked.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use store_handle::{Command, LeaseId, Reply};
use tonic::{Request, Response, Status, Streaming};

use crate::facade::{Facade, unexpected};
use crate::proto::etcdserverpb::lease_server::Lease;
use crate::proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct LeaseService(pub(crate) Arc<Facade>);

async fn keep_alive(facade: &Facade, id: LeaseId) -> Result<LeaseKeepAliveResponse, Status> {
    match facade.propose(Command::LeaseKeepAlive { id }).await? {
        Reply::LeaseKeptAlive { revision, ttl_s } => {
            let header = Some(facade.header(revision));
            Ok(LeaseKeepAliveResponse { header, id, ttl: ttl_s })
        }
        other => Err(unexpected(&other)),
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    type LeaseKeepAliveStream = BoxStream<'static, Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let LeaseGrantRequest { ttl, id } = request.into_inner();
        match self.0.propose(Command::LeaseGrant { id, ttl_s: ttl }).await? {
            Reply::LeaseGranted { revision, id, ttl_s } => {
                let header = Some(self.0.header(revision));
                let error = String::new();
                Ok(Response::new(LeaseGrantResponse { header, id, ttl: ttl_s, error }))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let LeaseRevokeRequest { id } = request.into_inner();
        match self.0.propose(Command::LeaseRevoke { id }).await? {
            Reply::LeaseRevoked { revision } => {
                Ok(Response::new(LeaseRevokeResponse { header: Some(self.0.header(revision)) }))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let facade = self.0.clone();
        // One after the other: answers come in the order of the questions.
        let answers = request.into_inner().then(move |asked| {
            let facade = facade.clone();
            async move { keep_alive(&facade, asked?.id).await }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let revision = self.0.read_index().await?;
        let info = self.0.handle.lease(id);
        Ok(Response::new(LeaseTimeToLiveResponse {
            header: Some(self.0.header(revision)),
            id,
            ttl: info.remaining_ttl_s,
            granted_ttl: info.granted_ttl_s,
            keys: if keys { info.keys } else { Vec::new() },
        }))
    }

    async fn lease_leases(
        &self,
        _: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let revision = self.0.read_index().await?;
        let leases = self.0.handle.leases().into_iter().map(|id| LeaseStatus { id }).collect();
        Ok(Response::new(LeaseLeasesResponse { header: Some(self.0.header(revision)), leases }))
    }
}
