//! Who sends the request.
//!
//! # Invariants
//! - Nobody known (`system:anonymous`) gets no further than the paths of `handler::is_public`; no flag
//!   changes that.

use http::header::AUTHORIZATION;
use master_api::status::ApiError;
use master_auth::authn::ANONYMOUS;

use crate::call::Call;
use crate::handler::is_public;
use crate::server::Server;

/// Fills in `call.identity`; the credential goes no further.
pub fn identify(server: &Server, call: &mut Call) -> Result<(), ApiError> {
    let certificate = call.certificate.as_deref();
    match server.authenticator.authenticate(certificate, &call.headers) {
        Ok(identity) => call.identity = identity,
        // A probe with a stale token still learns whether the server lives.
        Err(_) if is_public(&call.raw_path) => call.identity = master_auth::authn::anonymous(),
        Err(error) => return Err(error),
    }
    call.headers.remove(AUTHORIZATION);
    if call.identity.user == ANONYMOUS && !is_public(&call.raw_path) {
        return Err(ApiError::Unauthorized);
    }
    Ok(())
}
