//! The gRPC health check: `grpc.health.v1.Health/Check`, whose two messages are written down here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::GRPCAction;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::handler::Verdict;

/// `SERVING` of `HealthCheckResponse.ServingStatus`.
const SERVING: i32 = 1;

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Asks whether a service is served; well is `SERVING`.
pub(super) async fn check(action: &GRPCAction, ip: IpAddr, timeout: Duration) -> Verdict {
    let port = u16::try_from(action.port).map_err(|_| format!("invalid port {}", action.port))?;
    let address = SocketAddr::new(ip, port);
    let request = Request { service: action.service.clone().unwrap_or_default() };
    let ask = async {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| error.to_string())?;
        let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
        let mut client = Grpc::new(channel);
        client.ready().await.map_err(|error| error.to_string())?;
        let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        let codec = ProstCodec::<Request, Response>::default();
        let answer = client.unary(tonic::Request::new(request), path, codec).await;
        answer.map(|answer| answer.into_inner().status).map_err(|error| error.to_string())
    };
    match tokio::time::timeout(timeout, ask).await {
        Ok(Ok(SERVING)) => Ok(()),
        Ok(Ok(status)) => Err(format!("service unhealthy (responded with status {status})")),
        Ok(Err(error)) => Err(format!("{address}: {error}")),
        Err(_) => Err(format!("timeout: failed to connect service {address} within {timeout:?}")),
    }
}
