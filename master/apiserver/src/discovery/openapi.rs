//! `/openapi/v3`: an index with a hash each, and a document for each group and version.

use std::sync::Arc;

use http::StatusCode;
use http::header::{ETAG, HeaderValue};
use master_api::status::ApiError;
use master_registry::openapi::OpenApi;

use crate::call::{Call, Response};
use crate::respond;

/// Answers a path below `/openapi`. Documents are made when first asked for, off the event loop.
pub(super) async fn run(
    openapi: &Arc<OpenApi>,
    call: &Call,
    parts: &[&str],
) -> Result<Response, ApiError> {
    let openapi = openapi.clone();
    let path = match parts {
        ["v3"] => {
            let index = store_env::task::blocking(move || openapi.v3_index()).await;
            return crate::rest::answer_value(call, StatusCode::OK, &index);
        }
        ["v3", path @ ..] => path.join("/"),
        _ => return Err(ApiError::NoSuchPath),
    };
    let document = store_env::task::blocking(move || openapi.v3(&path)).await;
    let document = document.ok_or(ApiError::NoSuchPath)?;
    let mut response = respond::bytes(StatusCode::OK, document.bytes);
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", document.hash)) {
        response.headers_mut().insert(ETAG, etag);
    }
    Ok(response)
}
