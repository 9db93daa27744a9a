//! A watch over a WebSocket: each event a message of text, as browsers watch.
//!
//! # Path
//! `rest/watch.rs` (the stream of events) → here → `log_socket::switch`

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use master_api::status::ApiError;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::log_socket::{self, Broken};
use super::tunnel::TOKEN_PROTOCOL;
use crate::body::Body;
use crate::call::{Call, Response};
use crate::server::Server;

/// The answer to a watch: the stream, or the switch to a WebSocket on which it goes on, if the client wants that.
pub fn join(server: &Server, call: &mut Call, events: Response) -> Result<Response, ApiError> {
    if events.status() != StatusCode::OK || !log_socket::is_wanted(&call.headers) {
        return Ok(events);
    }
    let protocol = offered(&call.headers)?;
    log_socket::switch(server, call, protocol, move |client| send(client, events.into_body()))
}

/// The client's one subprotocol; several are not chosen from.
fn offered(headers: &HeaderMap) -> Result<Option<HeaderValue>, ApiError> {
    let all = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let all = all.filter_map(|value| value.to_str().ok()).flat_map(|all| all.split(','));
    let all = all.map(str::trim).filter(|name| !name.starts_with(TOKEN_PROTOCOL));
    match all.collect::<Vec<_>>().as_slice() {
        [] => Ok(None),
        [one] => Ok(HeaderValue::from_str(one).ok()),
        _ => Err(ApiError::bad_request("a watch is in one WebSocket subprotocol at most")),
    }
}

async fn send(client: OnUpgrade, mut events: Body) -> Result<(), Broken> {
    let io = TokioIo::new(client.await?);
    let (mut sink, stream) =
        WebSocketStream::from_raw_socket(io, Role::Server, Some(log_socket::small())).await.split();
    let messages = async move {
        let mut begun = BytesMut::new();
        while let Some(frame) = events.frame().await {
            let Ok(piece) = frame?.into_data() else { continue };
            for event in whole(&mut begun, &piece) {
                let text = String::from_utf8_lossy(&event).into_owned();
                sink.send(Message::text(text)).await?;
            }
        }
        sink.close().await?;
        Ok(())
    };
    tokio::select! {
        sent = messages => sent,
        () = log_socket::left(stream) => Ok(()),
    }
}

/// The events that a piece of the stream completes; what it begins is kept.
fn whole(begun: &mut BytesMut, piece: &[u8]) -> Vec<Bytes> {
    begun.extend_from_slice(piece);
    let mut events = Vec::new();
    while let Some(end) = begun.iter().position(|byte| *byte == b'\n') {
        events.push(begun.split_to(end + 1).freeze());
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_a_message() {
        let mut begun = BytesMut::new();
        assert_eq!(whole(&mut begun, b"{1}\n{2"), ["{1}\n"]);
        assert_eq!(whole(&mut begun, b"}"), [""; 0]);
        assert_eq!(whole(&mut begun, b"\n{3}\n"), ["{2}\n", "{3}\n"]);
        assert!(begun.is_empty());
    }
}
