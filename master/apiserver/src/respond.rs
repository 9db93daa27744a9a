//! Responses: objects in the form a client asked for, and refusals as Status.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use master_api::status::ApiError;
use master_registry::Resource;
use serde_json::Value;

use crate::body::Body;
use crate::cacher::entry::Entry;
use crate::call::Response;
use crate::content::{Form, Output};
use crate::table;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const YAML: HeaderValue = HeaderValue::from_static("application/yaml");

/// Bytes that are JSON already.
pub fn bytes(code: StatusCode, json: impl Into<Bytes>) -> Response {
    with_body(code, JSON, Body::full(json))
}

/// Many pieces that together are JSON.
pub fn pieces(json: Vec<Bytes>) -> Response {
    with_body(StatusCode::OK, JSON, Body::pieces(json))
}

/// Plain text.
pub fn text(code: StatusCode, text: impl Into<Bytes>) -> Response {
    with_body(code, HeaderValue::from_static("text/plain; charset=utf-8"), Body::full(text))
}

/// A response with this body.
pub fn with_body(code: StatusCode, content_type: HeaderValue, body: Body) -> Response {
    let mut response = http::Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A value, as JSON or YAML.
pub fn value(code: StatusCode, output: Output, value: &Value) -> Response {
    if output.yaml {
        let text = serde_saphyr::to_string(value).unwrap_or_default();
        return with_body(code, YAML, Body::full(text));
    }
    let json = if output.pretty {
        let mut json = serde_json::to_vec_pretty(value).expect("a value is JSON");
        json.push(b'\n');
        json
    } else {
        serde_json::to_vec(value).expect("a value is JSON")
    };
    bytes(code, json)
}

/// One object, in the form that was asked for.
pub fn object(
    code: StatusCode,
    output: Output,
    resource: &Resource,
    include: table::Include,
    entry: &Entry,
    now: jiff::Timestamp,
) -> Response {
    match output.form {
        Form::Object if !output.yaml && !output.pretty => bytes(code, entry.json()),
        Form::Object | Form::AggregatedDiscovery => value(code, output, &entry.value_once()),
        Form::PartialMetadata | Form::PartialMetadataList if !output.yaml && !output.pretty => {
            bytes(code, entry.partial_json())
        }
        Form::PartialMetadata | Form::PartialMetadataList => {
            value(code, output, &table::partial(&entry.value_once()))
        }
        Form::Table => {
            let object = entry.value_once();
            let version = object["metadata"]["resourceVersion"].clone();
            let meta = serde_json::json!({ "resourceVersion": version });
            let rows = std::iter::once(&*object);
            value(code, output, &table::table(resource, rows, meta, include, now, true))
        }
    }
}

/// A refusal.
pub fn error(error: &ApiError) -> Response {
    if matches!(error, ApiError::NoSuchPage) {
        return text(StatusCode::NOT_FOUND, format!("{error}\n"));
    }
    let code = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = serde_json::to_vec(&error.to_status()).expect("a value is JSON");
    let mut response = bytes(code, json);
    let retry_s = match error {
        // Nothing was done: the client may come back at once.
        ApiError::Unavailable(_) => Some(1),
        other => other.retry_after_s(),
    };
    if let Some(retry_s) = retry_s {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_s));
    }
    if matches!(error, ApiError::Unauthorized) {
        let challenge = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, challenge);
    }
    response
}
