//! What happens to every request, in order.
//!
//! # Path
//! `server/accept.rs` or `server/client.rs` → here → `filter/*.rs` → `handler.rs` → `rest/<verb>.rs`

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use master_api::access::Identity;
use master_api::status::ApiError;
use store_handle::Term;

use crate::body::RequestBody;
use crate::call::{Call, Response};
use crate::server::Server;
use crate::{filter, handler, respond};

/// How long a request may take that is no watch, stream or proxy.
const REQUEST_MAX: Duration = Duration::from_secs(60);

/// What vouches for whoever sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voucher {
    /// Its credentials, which are looked at.
    Credentials,
    /// Its connection: whoever accepted that has verified the other end.
    Connection,
    /// It comes from this very process.
    Process,
}

/// A request that came over the network.
pub fn from_network(
    server: Arc<Server>,
    certificate: Option<Vec<u8>>,
    request: http::Request<RequestBody>,
) -> BoxFuture<'static, Response> {
    let mut call = Call::new(filter::request_id::choose(request.headers()), request);
    call.certificate = certificate;
    Box::pin(answer(server, call, Voucher::Credentials))
}

/// A request on a connection whose other end is known for certain.
pub fn from_known(
    server: Arc<Server>,
    identity: Identity,
    request: http::Request<RequestBody>,
) -> BoxFuture<'static, Response> {
    let mut call = Call::new(filter::request_id::choose(request.headers()), request);
    call.identity = identity;
    Box::pin(answer(server, call, Voucher::Connection))
}

/// A request of a part of this very process: it is who it says it is.
pub fn in_process(
    server: Arc<Server>,
    identity: Identity,
    fence: Option<Term>,
    request: http::Request<RequestBody>,
) -> BoxFuture<'static, Response> {
    let mut call = Call::new(filter::request_id::choose(request.headers()), request);
    call.speak_as(identity);
    call.fence = fence;
    Box::pin(answer(server, call, Voucher::Process))
}

/// The outermost layer: whatever happens inside, there is one response, counted and logged.
async fn answer(server: Arc<Server>, mut call: Call, voucher: Voucher) -> Response {
    let seen = filter::observe::Seen::begin(&server);
    let outcome = filter::panic::catch(filters(&server, &mut call, voucher)).await;
    let response = outcome.unwrap_or_else(|error| respond::error(&error));
    let mut response = filter::compress::apply(&call, response);
    filter::request_id::show(&call, &mut response);
    filter::warning::show(&call, &mut response);
    seen.end(&server, &call, response.status());
    response
}

/// Every filter, in order.
async fn filters(
    server: &Arc<Server>,
    call: &mut Call,
    voucher: Voucher,
) -> Result<Response, ApiError> {
    filter::request_info::read(call)?;
    filter::ready::check(server, call)?;
    if voucher == Voucher::Credentials {
        filter::authentication::identify(server, call)?;
    }
    if voucher != Voucher::Process {
        filter::impersonation::apply(server, call).await?;
    }
    let demand = filter::in_flight::demand(call, voucher == Voucher::Process);
    let _place = filter::in_flight::take(server, demand).await?;
    filter::authorization::check(server, call).await?;
    if call.info.is_long_running() {
        return handler::handle(server, call).await;
    }
    match tokio::time::timeout(REQUEST_MAX, handler::handle(server, call)).await {
        Ok(response) => response,
        Err(_) => Err(ApiError::Timeout(
            "request did not complete within the allotted timeout".to_owned(),
        )),
    }
}
