//! Reads what the request is about.

use http::Method;
use master_api::status::ApiError;

use crate::call::Call;
use crate::request::{BadPath, RequestInfo};

/// Fills in `call.info`.
pub fn read(call: &mut Call) -> Result<(), ApiError> {
    let known =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    if !known.contains(&call.method) && call.method != Method::OPTIONS {
        return Err(ApiError::NoSuchMethod);
    }
    call.info = RequestInfo::parse(&call.method, &call.raw_path, &call.query).map_err(
        |BadPath(part)| match part.as_str() {
            "." | ".." | "%2e" | "%2e%2e" | "%2E" | "%2E%2E" => {
                let dots = part.replace("%2e", ".").replace("%2E", ".");
                let text = format!("Name parameter invalid: {dots:?}: may not be '{dots}'");
                ApiError::BadRequest(text)
            }
            _ => ApiError::NoSuchPath,
        },
    )?;
    Ok(())
}
