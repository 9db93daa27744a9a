//! `/openapi/v3`: an index with a hash each, and a document for each group and version. `/openapi/v2`: one
//! document of all.

use std::sync::Arc;

use http::StatusCode;
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use master_api::status::ApiError;
use master_registry::openapi::{Document, OpenApi};

use crate::body::Body;
use crate::call::{Call, Response};
use crate::respond;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROTOBUF: HeaderValue =
    HeaderValue::from_static("application/com.github.proto-openapi.spec.v2.v1.0+protobuf");

/// Answers a path below `/openapi`. Documents are made when first asked for, off the event loop.
pub(super) async fn run(
    openapi: &Arc<OpenApi>,
    call: &Call,
    parts: &[&str],
) -> Result<Response, ApiError> {
    let openapi = openapi.clone();
    let document = match parts {
        ["v2"] if wants_protobuf(call) => {
            let made = move || openapi.v2_protobuf(crate::health::VERSION);
            let document = store_env::task::blocking(made).await;
            return Ok(tagged(call, &document, PROTOBUF));
        }
        ["v2"] => store_env::task::blocking(move || openapi.v2(crate::health::VERSION)).await,
        ["v3"] => {
            let index = store_env::task::blocking(move || openapi.v3_index()).await;
            return crate::rest::answer_value(call, StatusCode::OK, &index);
        }
        ["v3", path @ ..] => {
            let path = path.join("/");
            let document = store_env::task::blocking(move || openapi.v3(&path)).await;
            document.ok_or(ApiError::NoSuchPage)?
        }
        _ => return Err(ApiError::NoSuchPage),
    };
    Ok(tagged(call, &document, JSON))
}

/// A document, unless the client has this very one. Asked for by its hash, it may be kept for ever.
fn tagged(call: &Call, document: &Document, media: HeaderValue) -> Response {
    const FOR_EVER: HeaderValue = HeaderValue::from_static("public, immutable");
    let etag = format!("\"{}\"", document.hash);
    let known = call.header(IF_NONE_MATCH).split(',').any(|known| known.trim() == etag);
    let mut response = if known {
        respond::with_body(StatusCode::NOT_MODIFIED, media, Body::empty())
    } else {
        respond::with_body(StatusCode::OK, media, Body::full(document.bytes.clone()))
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, HeaderValue::from_str(&etag).expect("hex is a header"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if call.query.get("hash") == Some(&*document.hash) {
        headers.insert(CACHE_CONTROL, FOR_EVER);
    }
    response
}

fn wants_protobuf(call: &Call) -> bool {
    let accept = call.header(ACCEPT);
    accept.contains("proto-openapi.spec.v2") && !accept.contains("application/json")
}
