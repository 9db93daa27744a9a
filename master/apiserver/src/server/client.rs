//! A client of this server within its own process: no sockets, no TLS, the same rules.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::BodyExt;
use master_api::access::Identity;
use store_handle::Term;

use super::Server;
use crate::chain;

impl Server {
    /// A client that is `identity`. With a `fence` its writes happen in that term or not at all; it
    /// passes authorization, admission and validation like any other.
    pub fn client(self: &Arc<Self>, identity: Identity, fence: Option<Term>) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (server, identity) = (server.clone(), identity.clone());
            async move {
                let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
                Ok::<_, Infallible>(chain::in_process(server, identity, fence, request).await)
            }
        });
        kube::Client::new(service, "default")
    }
}
