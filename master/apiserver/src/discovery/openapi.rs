//! `/openapi/v3`: an index with a hash each, and a document for each group and version.

use std::sync::Arc;

use http::StatusCode;
use http::header::{ACCEPT, ETAG, HeaderValue};
use master_api::status::ApiError;
use master_registry::openapi::OpenApi;

use crate::body::Body;
use crate::call::{Call, Response};
use crate::respond;

/// Answers a path below `/openapi`. Documents are made when first asked for, off the event loop.
pub(super) async fn run(
    openapi: &Arc<OpenApi>,
    call: &Call,
    parts: &[&str],
) -> Result<Response, ApiError> {
    if parts == ["v2"] {
        return Ok(v2(openapi, call));
    }
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

/// OpenAPI v2 names no types: clients that read it (kubectl before v1.27) then leave checking to the server,
/// which does it; without any document they would refuse to send anything.
/// Kinds that users define are in it.
fn v2(openapi: &OpenApi, call: &Call) -> Response {
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let wants_protobuf = call.header(ACCEPT).contains("proto-openapi.spec.v2");
    if wants_protobuf {
        // An empty message is a document without definitions.
        return respond::with_body(
            StatusCode::OK,
            HeaderValue::from_static(PROTOBUF),
            Body::empty(),
        );
    }
    let document = serde_json::json!({
        "swagger": "2.0", "paths": {}, "definitions": openapi.v2_definitions(),
        "info": { "title": "Kubernetes", "version": crate::health::VERSION },
    });
    respond::bytes(StatusCode::OK, document.to_string())
}
