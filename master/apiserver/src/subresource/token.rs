//! A token for a service account.

use http::StatusCode;
use master_api::status::ApiError;

use crate::call::{Call, Response};
use crate::rest::{Target, admit_below, answer_value, body};
use crate::server::Server;

/// Answers with the TokenRequest, its status filled.
pub async fn run(server: &Server, call: &mut Call, target: &Target) -> Result<Response, ApiError> {
    let schema = "io.k8s.api.authentication.v1.TokenRequest";
    let request = body::other(call, schema, "authentication.k8s.io/v1", "TokenRequest").await?;
    let account = server.fresh(target).await?.ok_or_else(|| target.not_found())?;
    admit_below(server, call, target, "token", &request).await?;
    let now_s = i64::try_from(server.clock.unix_ms() / 1_000).unwrap_or(i64::MAX);
    let (reader, identity) = (&*server.cacher, &call.identity);
    let answered = server.tokens.issue_for_token_request(
        reader,
        account.value(),
        &request,
        identity,
        now_s,
    )?;
    answer_value(call, StatusCode::CREATED, &answered)
}
