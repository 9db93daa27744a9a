//! Whether the sender may do this.

use master_api::status::ApiError;
use master_auth::authz::forbidden_message;

use crate::call::Call;
use crate::handler::is_public;
use crate::server::Server;

/// Refuses with upstream's text.
pub fn check(server: &Server, call: &Call) -> Result<(), ApiError> {
    if !call.info.is_resource && is_public(&call.raw_path) {
        return Ok(());
    }
    let attributes = call.info.attributes(&call.identity);
    let fields = call.query.get("fieldSelector").unwrap_or("");
    let decision = server.authorizer.authorize_selected(&attributes, fields);
    if decision.allowed {
        return Ok(());
    }
    let message = forbidden_message(&attributes, &decision.reason);
    Err(ApiError::forbidden(&attributes.group, &attributes.resource, &attributes.name, message))
}
