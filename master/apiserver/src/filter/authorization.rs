//! Whether the sender may do this.

use master_api::access::Attributes;
use master_api::status::ApiError;
use master_auth::authz::forbidden_message;

use crate::call::Call;
use crate::handler::is_public;
use crate::server::Server;

/// Refuses with upstream's text. What was granted a moment ago through another master counts: a refusal is
/// judged again by all that was acknowledged.
pub async fn check(server: &Server, call: &Call) -> Result<(), ApiError> {
    if !call.info.is_resource && is_public(&call.raw_path) {
        return Ok(());
    }
    let attributes = call.info.attributes(&call.identity);
    let fields = call.query.get("fieldSelector").unwrap_or("").to_owned();
    if judge(server, &attributes, &fields).is_ok() {
        return Ok(());
    }
    server.catch_up().await?;
    judge(server, &attributes, &fields)
}

fn judge(server: &Server, attributes: &Attributes, fields: &str) -> Result<(), ApiError> {
    let decision = server.authorizer.authorize_selected(attributes, fields);
    if decision.allowed {
        return Ok(());
    }
    let message = forbidden_message(attributes, &decision.reason);
    Err(ApiError::forbidden(&attributes.group, &attributes.resource, &attributes.name, message))
}
