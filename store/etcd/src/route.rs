//! From a request's path to the service that answers it; without a router's generality, which costs.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, header};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::auth::{self, AuthService};
use crate::cluster::ClusterService;
use crate::election::ElectionService;
use crate::facade::Facade;
use crate::front::{self, Door, Serves};
use crate::health::HealthService;
use crate::kv::KvService;
use crate::lease::LeaseService;
use crate::lock::LockService;
use crate::maintenance::MaintenanceService;
use crate::metrics::calls::{Call, Kind};
use crate::metrics::streams::{Heard, Said};
use crate::proto::etcdserverpb::auth_server::AuthServer;
use crate::proto::etcdserverpb::cluster_server::ClusterServer;
use crate::proto::etcdserverpb::kv_server::KvServer;
use crate::proto::etcdserverpb::lease_server::LeaseServer;
use crate::proto::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::proto::etcdserverpb::watch_server::WatchServer;
use crate::proto::health::health_server::HealthServer;
use crate::proto::v3electionpb::election_server::ElectionServer;
use crate::proto::v3lockpb::lock_server::LockServer;
use crate::standing;
use crate::watch::WatchService;

/// What a request may be larger than `request_bytes_max`, as etcd has it: then it is refused unread.
const OVERHEAD_BYTES: usize = 512 << 10;

/// Every method of etcd's services that is served, those that are asked most first.
pub(crate) const METHODS: &[&str] = &[
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/DeleteRange",
    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.KV/Compact",
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseRevoke",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.Lease/LeaseTimeToLive",
    "/etcdserverpb.Lease/LeaseLeases",
    "/etcdserverpb.Cluster/MemberAdd",
    "/etcdserverpb.Cluster/MemberRemove",
    "/etcdserverpb.Cluster/MemberUpdate",
    "/etcdserverpb.Cluster/MemberList",
    "/etcdserverpb.Cluster/MemberPromote",
    "/etcdserverpb.Maintenance/Alarm",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/Defragment",
    "/etcdserverpb.Maintenance/Hash",
    "/etcdserverpb.Maintenance/HashKV",
    "/etcdserverpb.Maintenance/Snapshot",
    "/etcdserverpb.Maintenance/MoveLeader",
    "/etcdserverpb.Maintenance/Downgrade",
    "/etcdserverpb.Auth/AuthStatus",
    "/v3lockpb.Lock/Lock",
    "/v3lockpb.Lock/Unlock",
    "/v3electionpb.Election/Campaign",
    "/v3electionpb.Election/Proclaim",
    "/v3electionpb.Election/Leader",
    "/v3electionpb.Election/Observe",
    "/v3electionpb.Election/Resign",
];

/// All services of one member.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    pub(crate) facade: Arc<Facade>,
    pub(crate) door: Door,
    kv: KvServer<KvService>,
    watch: WatchServer<WatchService>,
    lease: LeaseServer<LeaseService>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<MaintenanceService>,
    auth: AuthServer<AuthService>,
    lock: LockServer<LockService>,
    election: ElectionServer<ElectionService>,
    health: HealthServer<HealthService>,
}

pub(crate) type Answer = Result<Response<Body>, Infallible>;

impl Routes {
    pub(crate) fn new(facade: &Arc<Facade>, door: Door) -> Self {
        let bytes_max = facade.options.request_bytes_max.saturating_add(OVERHEAD_BYTES);
        Self {
            facade: facade.clone(),
            door,
            kv: KvServer::new(KvService(facade.clone()))
                .max_decoding_message_size(bytes_max)
                .max_encoding_message_size(usize::MAX),
            watch: WatchServer::new(WatchService(facade.clone()))
                .max_encoding_message_size(usize::MAX),
            lease: LeaseServer::new(LeaseService(facade.clone()))
                .max_encoding_message_size(usize::MAX),
            cluster: ClusterServer::new(ClusterService(facade.clone())),
            maintenance: MaintenanceServer::new(MaintenanceService(facade.clone())),
            auth: AuthServer::new(AuthService(facade.clone())),
            lock: LockServer::new(LockService(facade.clone())),
            election: ElectionServer::new(ElectionService(facade.clone())),
            health: HealthServer::new(HealthService(facade.clone())),
        }
    }

    /// Bytes of a request, at most.
    pub(crate) fn request_bytes_max(&self) -> usize {
        self.facade.options.request_bytes_max.saturating_add(OVERHEAD_BYTES)
    }

    /// Answers a call, and counts it.
    pub(crate) fn grpc<B>(&self, request: Request<B>) -> BoxFuture<'static, Answer>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let Some(mut call) = Call::start(&self.facade, request.uri().path()) else {
            return self.dispatch(request);
        };
        let kind = call.method().kind;
        let answer = match kind {
            Kind::Unary | Kind::ServerStream => self.dispatch(request),
            Kind::BidiStream => self.dispatch(request.map(|body| Heard::new(body, &call))),
        };
        Box::pin(async move {
            let answer = answer.await?;
            // A refusal says so in its head.
            let is_refused = call.end_if_said(answer.headers());
            if kind == Kind::Unary {
                call.end_well();
                return Ok(answer);
            }
            if is_refused {
                return Ok(answer);
            }
            Ok(answer.map(|body| Body::new(Said::new(body, call))))
        })
    }

    fn dispatch<B>(&self, request: Request<B>) -> BoxFuture<'static, Answer>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let path = request.uri().path();
        let (service, method) = path[1.min(path.len())..].split_once('/').unwrap_or_default();
        if let Err(status) = standing::admit(&self.facade, service, method) {
            return Box::pin(async move { Ok(status.into_http()) });
        }
        match service {
            "etcdserverpb.KV" => self.kv.clone().call(request),
            "etcdserverpb.Watch" => self.watch.clone().call(request),
            "etcdserverpb.Lease" => self.lease.clone().call(request),
            "etcdserverpb.Cluster" => self.cluster.clone().call(request),
            "etcdserverpb.Maintenance" => self.maintenance.clone().call(request),
            "etcdserverpb.Auth" if method == "AuthStatus" => self.auth.clone().call(request),
            "etcdserverpb.Auth" => {
                let refusal = auth::refusal(method).into_http();
                Box::pin(async move { Ok(refusal) })
            }
            "v3lockpb.Lock" => self.lock.clone().call(request),
            "v3electionpb.Election" => self.election.clone().call(request),
            "grpc.health.v1.Health" => self.health.clone().call(request),
            _ => {
                let text = format!("unknown service {service}");
                Box::pin(async move { Ok(tonic::Status::unimplemented(text).into_http()) })
            }
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Answer>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if self.door.serves != Serves::Http && is_grpc(&request) {
            return self.grpc(request);
        }
        let routes = self.clone();
        Box::pin(async move { Ok(front::answer(routes, request).await) })
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
