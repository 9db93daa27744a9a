//! A log over a WebSocket: each piece of it a message, whatever the client sends being passed over.
//!
//! # Invariants
//! - Reading a log needs no more permission over a WebSocket than without: nothing of the client reaches the
//!   kubelet.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::{SinkExt, Stream, StreamExt};
use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use master_api::status::ApiError;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error};

use super::kubelet::Answer;
use super::tunnel::TOKEN_PROTOCOL;
use crate::body::Body;
use crate::call::{Call, Response};
use crate::server::Server;

const BINARY: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";

/// Whether the client wants what it reads as messages.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The subprotocol in which the client is answered; `None` when it names none, which is as [`BINARY`].
fn choose(headers: &HeaderMap) -> Result<Option<&'static str>, ApiError> {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = offered.filter_map(|value| value.to_str().ok()).flat_map(|all| all.split(','));
    let mut is_any = false;
    for protocol in offered.map(str::trim).filter(|name| !name.starts_with(TOKEN_PROTOCOL)) {
        is_any = true;
        if let Some(known) = [BINARY, BASE64].into_iter().find(|known| *known == protocol) {
            return Ok(Some(known));
        }
    }
    match is_any {
        false => Ok(None),
        true => Err(ApiError::bad_request(format!(
            "none of the requested WebSocket subprotocols is served here: use {BINARY} or {BASE64}"
        ))),
    }
}

/// Switches to the WebSocket and sends the kubelet's answer over it.
pub fn join(server: &Server, call: &mut Call, answer: Answer) -> Result<Response, ApiError> {
    let protocol = choose(&call.headers)?;
    let is_text = protocol == Some(BASE64);
    let named = protocol.map(HeaderValue::from_static);
    switch(server, call, named, move |client| send(client, answer, is_text))
}

/// Why a WebSocket ended before its time.
pub type Broken = Box<dyn std::error::Error + Send + Sync>;

/// Switches to the WebSocket; `talk` has the connection until it ends, or this master does.
pub fn switch<F>(
    server: &Server,
    call: &mut Call,
    protocol: Option<HeaderValue>,
    talk: impl FnOnce(OnUpgrade) -> F,
) -> Result<Response, ApiError>
where
    F: Future<Output = Result<(), Broken>> + Send + 'static,
{
    let key = call.headers.get(SEC_WEBSOCKET_KEY);
    let key = key.ok_or_else(|| ApiError::bad_request("Sec-WebSocket-Key is missing"))?;
    let accept = derive_accept_key(key.as_bytes());
    let client = call.upgrade.take();
    let client = client.ok_or_else(|| ApiError::bad_request("Upgrade request required"))?;
    let mut switched = http::Response::new(Body::empty());
    *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = switched.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let (stop, talk) = (server.draining.clone(), talk(client));
    server.tunnels.lock().spawn(async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            ended = talk => if let Err(error) = ended {
                tracing::debug!(%error, "a WebSocket broke off");
            }
        }
    });
    Ok(switched)
}

/// Ends when the client closes its side; whatever else it sends is passed over.
pub async fn left(mut stream: impl Stream<Item = Result<Message, Error>> + Unpin) {
    while let Some(Ok(received)) = stream.next().await {
        if matches!(received, Message::Close(_)) {
            break;
        }
    }
}

fn message(piece: Bytes, is_text: bool) -> Message {
    if is_text { Message::text(BASE64_STANDARD.encode(piece)) } else { Message::Binary(piece) }
}

/// Of a client that has nothing to say: what it says is dropped, and must not be gathered before.
pub(super) fn small() -> WebSocketConfig {
    const SAID_MAX_BYTES: Option<usize> = Some(64 << 10);
    WebSocketConfig::default().max_message_size(SAID_MAX_BYTES).max_frame_size(SAID_MAX_BYTES)
}

async fn send(client: OnUpgrade, answer: Answer, is_text: bool) -> Result<(), Broken> {
    let Answer { response, connection: _connection } = answer;
    let io = TokioIo::new(client.await?);
    let (mut sink, stream) =
        WebSocketStream::from_raw_socket(io, Role::Server, Some(small())).await.split();
    let mut body = response.into_body();
    let pieces = async move {
        // Upstream begins with a message of nothing.
        sink.send(message(Bytes::new(), is_text)).await?;
        while let Some(frame) = body.frame().await {
            if let Ok(piece) = frame?.into_data() {
                sink.send(message(piece, is_text)).await?;
            }
        }
        sink.close().await?;
        Ok(())
    };
    tokio::select! {
        sent = pieces => sent,
        () = left(stream) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subprotocol_is_one_that_is_served() {
        let check = |offered: &[&str], expected: Result<Option<&str>, ()>| {
            let mut headers = HeaderMap::new();
            for one in offered {
                headers.append(SEC_WEBSOCKET_PROTOCOL, one.parse().unwrap());
            }
            assert_eq!(choose(&headers).map_err(drop), expected, "{offered:?}");
        };
        check(&[], Ok(None));
        check(&["base64url.bearer.authorization.k8s.io.dG9rZW4"], Ok(None));
        check(&["v4.channel.k8s.io, binary.k8s.io"], Ok(Some(BINARY)));
        check(&["base64.binary.k8s.io", "binary.k8s.io"], Ok(Some(BASE64)));
        check(&["v5.channel.k8s.io"], Err(()));
    }
}
