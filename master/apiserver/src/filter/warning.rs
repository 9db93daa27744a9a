//! What a client should know although its request was served.

use http::header::{HeaderValue, WARNING};

use crate::call::{Call, Response};

/// All warnings together may have this many bytes; the rest is cut off.
const BYTES_MAX: usize = 4096;

/// Adds a `Warning` header each (RFC 7234 §5.5), as client-go prints them.
pub fn show(call: &Call, response: &mut Response) {
    let mut left = BYTES_MAX;
    for warning in &call.warnings {
        let text: String = warning.chars().filter(|c| !c.is_control()).take(256).collect();
        if text.len() > left {
            return;
        }
        left -= text.len();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}
