//! Long answers are compressed for clients that take gzip.
//!
//! As upstream: from 128 KiB on, at the fastest level. A list is compressed a frame at a time as the
//! connection takes it, so neither memory nor another request waits for the whole.

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, VARY};
use http::{Method, StatusCode};

use crate::call::{Call, Response};

/// Shorter answers are not worth it.
const BYTES_MIN: u64 = 128 * 1024;

/// The response, compressed if that is wanted and worth it.
pub fn apply(call: &Call, response: Response) -> Response {
    let is_plain = !response.headers().contains_key(CONTENT_ENCODING);
    let is_wanted = call.method == Method::GET && takes_gzip(call.header(ACCEPT_ENCODING));
    if !is_plain || !is_wanted || response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let (body, is_compressed) = body.gzip(BYTES_MIN);
    if is_compressed {
        parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    http::Response::from_parts(parts, body)
}

fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|one| {
        let (name, quality) = one.split_once(';').unwrap_or((one, ""));
        let is_refused = matches!(quality.trim(), "q=0" | "q=0.0");
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_used_only_where_it_is_taken() {
        #[rustfmt::skip]
        let cases = [
            ("gzip", true), ("deflate, gzip;q=0.5", true), ("GZIP", true),
            ("", false), ("br", false), ("gzip;q=0", false), ("identity", false),
        ];
        for (accepted, expected) in cases {
            assert_eq!(takes_gzip(accepted), expected, "{accepted}");
        }
    }
}
