//! Acting as somebody else, for those who may.

use master_api::status::ApiError;
use master_auth::authn::{ANONYMOUS, impersonation};

use crate::call::Call;
use crate::server::Server;

/// Replaces `call.identity` if the `Impersonate-*` headers ask for it and the sender may. A refusal is judged again by
/// all that was acknowledged.
pub async fn apply(server: &Server, call: &mut Call) -> Result<(), ApiError> {
    let Some(wanted) = impersonation::requested(&call.headers)? else { return Ok(()) };
    let request = call.info.attributes(&call.identity);
    let evaluate = || impersonation::evaluate(&server.authorizer, &request, &wanted);
    call.identity = match evaluate() {
        Ok(identity) => identity,
        // Strangers have no permissions to wait for.
        Err(refusal) if call.identity.user == ANONYMOUS => return Err(refusal),
        Err(_) => {
            server.catch_up().await?;
            evaluate()?
        }
    };
    let names: Vec<_> = call.headers.keys().cloned().collect();
    for name in names.iter().filter(|name| name.as_str().starts_with("impersonate-")) {
        call.headers.remove(name);
    }
    Ok(())
}
