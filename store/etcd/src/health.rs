//! gRPC's own health service: serving while there is a leader.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tonic::{Request, Response, Status};

use crate::facade::Facade;
use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_server::Health;
use crate::proto::health::{HealthCheckRequest, HealthCheckResponse};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct HealthService(pub(crate) Arc<Facade>);

fn reply(has_leader: bool) -> HealthCheckResponse {
    let status = if has_leader { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(reply(self.0.leadership().leader.is_some())))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let changes = self.0.leadership_changes();
        let replies = stream::unfold((changes, None), |(mut changes, said)| async move {
            let now = changes.wait_for(|now| Some(now.leader.is_some()) != said).await.ok()?;
            let has_leader = now.leader.is_some();
            drop(now);
            Some((Ok(reply(has_leader)), (changes, Some(has_leader))))
        });
        Ok(Response::new(replies.boxed()))
    }
}
