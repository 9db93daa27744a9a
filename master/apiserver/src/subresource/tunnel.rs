//! A connection handed over: bytes both ways, whatever protocol the two ends speak.
//!
//! # Invariants
//! - There is a tunnel only after the other end has said 101; any other answer ends the exchange, so that no
//!   second request can be smuggled through (CVE-2018-1002105).

use http::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use master_api::status::ApiError;

use super::kubelet::{Answer, is_redirect};
use crate::body::Body;
use crate::call::{Call, Response};
use crate::server::Server;

const SEC_WEBSOCKET_PROTOCOL: &str = "sec-websocket-protocol";
const X_STREAM_PROTOCOL: &str = "x-stream-protocol-version";
/// A bearer token in disguise, for browsers; it is this server's, not the kubelet's.
pub const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Whether a request asks for one of the two protocols that are let through.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or("");
    upgrade.eq_ignore_ascii_case("websocket") || upgrade.eq_ignore_ascii_case("SPDY/3.1")
}

/// What of the client's headers the other end sees.
pub fn request_headers(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for (name, value) in headers {
        let text = name.as_str();
        let is_handshake =
            name == UPGRADE || text.starts_with("sec-websocket-") || text == X_STREAM_PROTOCOL;
        if !is_handshake {
            continue;
        }
        if text == SEC_WEBSOCKET_PROTOCOL {
            let protocols = value.to_str().unwrap_or("").split(',').map(str::trim);
            let kept: Vec<&str> = protocols.filter(|p| !p.starts_with(TOKEN_PROTOCOL)).collect();
            if let Ok(value) = HeaderValue::from_str(&kept.join(", "))
                && !kept.is_empty()
            {
                passed.append(name.clone(), value);
            }
            continue;
        }
        passed.append(name.clone(), value.clone());
    }
    passed.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    passed
}

/// Joins the two ends if the other end agreed; else passes its refusal on.
pub fn join(server: &Server, call: &mut Call, answer: Answer) -> Result<Response, ApiError> {
    let Answer { mut response, connection } = answer;
    let code = response.status();
    if code != StatusCode::SWITCHING_PROTOCOLS {
        if is_redirect(code) {
            return Err(ApiError::Internal("the backend redirects, which is refused".into()));
        }
        return Ok(super::connect::pass_on(Answer { response, connection }));
    }
    let client = call.upgrade.take();
    let client = client.ok_or_else(|| ApiError::bad_request("Upgrade request required"))?;
    let backend = hyper::upgrade::on(&mut response);
    let mut switched = http::Response::new(Body::empty());
    *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in response.headers() {
        if is_answer_header(name) {
            switched.headers_mut().append(name.clone(), value.clone());
        }
    }
    switched.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let stop = server.draining.clone();
    server.tunnels.lock().spawn(async move {
        let _connection = connection;
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = copy(client, backend) => {}
        }
    });
    Ok(switched)
}

fn is_answer_header(name: &HeaderName) -> bool {
    let text = name.as_str();
    name == UPGRADE || text.starts_with("sec-websocket-") || text == X_STREAM_PROTOCOL
}

async fn copy(client: OnUpgrade, backend: OnUpgrade) {
    let (client, backend) = match tokio::try_join!(client, backend) {
        Ok(ends) => ends,
        Err(error) => return tracing::debug!(%error, "upgrade"),
    };
    let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut backend).await {
        tracing::debug!(%error, "tunnel");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshake_is_passed_on_and_credentials_are_not() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("cookie", "c"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "k"),
            (
                "sec-websocket-protocol",
                "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.abc",
            ),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        assert!(is_wanted(&headers));
        let passed = request_headers(&headers);
        let names: Vec<&str> = passed.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["upgrade", "sec-websocket-key", "sec-websocket-protocol", "connection"]);
        assert_eq!(passed["sec-websocket-protocol"], "v5.channel.k8s.io");
        headers.insert("upgrade", "h2c".parse().unwrap());
        assert!(!is_wanted(&headers));
    }
}
