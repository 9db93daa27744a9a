//! There are no users and passwords: who may come in is said by certificates.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::errors;
use crate::facade::Facade;
use crate::proto::etcdserverpb::auth_server::Auth;
use crate::proto::etcdserverpb::{AuthStatusRequest, AuthStatusResponse};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct AuthService(pub(crate) Arc<Facade>);

#[tonic::async_trait]
impl Auth for AuthService {
    async fn auth_status(
        &self,
        _: Request<AuthStatusRequest>,
    ) -> Result<Response<AuthStatusResponse>, Status> {
        let header = Some(self.0.header_now());
        Ok(Response::new(AuthStatusResponse { header, enabled: false, auth_revision: 1 }))
    }
}

/// What every other method of the service answers.
pub(crate) fn refusal(method: &str) -> Status {
    match method {
        // Clients that are given a name and a password go on without a token when they hear this.
        "Authenticate" => errors::auth_not_enabled(),
        _ => Status::unimplemented(
            "etcdserver: users and roles are not supported; \
             let clients in by certificate instead (--client-cert-auth, --trusted-ca-file)",
        ),
    }
}
