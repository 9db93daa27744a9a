//! The number by which a request is found again in logs.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::call::{Call, Response};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// The client's own number if it sent a sane one, else a new one.
pub fn choose(headers: &HeaderMap) -> String {
    let sent = headers.get(AUDIT_ID).and_then(|value| value.to_str().ok());
    let sane = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    sent.filter(sane).map_or_else(new_uid, str::to_owned)
}

/// Tells the client.
pub fn show(call: &Call, response: &mut Response) {
    if let Ok(value) = HeaderValue::from_str(&call.id) {
        response.headers_mut().insert(AUDIT_ID, value);
    }
}

/// A random UUID (version 4).
pub fn new_uid() -> String {
    let bits = (u128::from(store_env::rng::draw()) << 64) | u128::from(store_env::rng::draw());
    uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string()
}
