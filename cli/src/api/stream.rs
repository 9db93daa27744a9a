//! Streams to a container: a WebSocket over the masters' connection, with Kubernetes' channels in it.
//!
//! Each binary message begins with the number of its channel (KEP-4006; `v4` and `v5.channel.k8s.io`).

use std::pin::Pin;

use futures::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Request, Response, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::{Api, chain, refusal, transport};
use crate::error::{Error, Result, said};

/// Can say that an input has ended.
pub const V5: &str = "v5.channel.k8s.io";
/// What streaming servers up to containerd 1.6 know.
pub const V4: &str = "v4.channel.k8s.io";

const STDIN: u8 = 0;
/// Where a command's output comes.
pub const STDOUT: u8 = 1;
/// Where its complaints come, without a terminal.
pub const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

const CHUNK_BYTES: usize = 32 << 10;

/// An upgraded connection.
#[derive(Debug)]
pub struct Socket {
    pub stream: WebSocketStream<TokioIo<Upgraded>>,
    /// What the server chose.
    pub protocol: String,
}

/// Where what a remote command reads comes from.
pub type Input = Pin<Box<dyn AsyncRead + Send>>;

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}

impl Api {
    /// Upgrades to a WebSocket, offering `v5` and `v4`; then `v4` alone, since some servers refuse a
    /// handshake that names what they do not know.
    pub async fn stream(&self, path: &str) -> Result<Socket> {
        match self.upgrade(path, &[V5, V4]).await {
            Err(Error::Server { status, .. }) if matches!(status.code, 400 | 403 | 426) => {
                self.upgrade(path, &[V4]).await
            }
            outcome => outcome,
        }
    }

    /// Runs a command whose input has an end that it must see, as in `echo x | kctl exec -i POD -- sort`.
    pub async fn run_piped(
        &self,
        path: &str,
        input: Input,
        output: impl FnMut(u8, &[u8]),
    ) -> Result {
        let (_, no_sizes) = mpsc::channel(1);
        match self.upgrade(path, &[V5]).await {
            Ok(socket) if socket.protocol == V5 => {
                socket.carry(Some(input), no_sizes, output).await
            }
            Err(Error::Server { status, .. }) if !matches!(status.code, 400 | 403 | 426) => {
                Err(Error::Server { status, doing: None })
            }
            Ok(_) | Err(Error::Server { .. }) => self.exec_spdy(path, input, output).await,
            Err(error) => Err(error),
        }
    }

    /// Upgrades to a WebSocket that speaks one of `protocols`.
    pub async fn upgrade(&self, path: &str, protocols: &[&str]) -> Result<Socket> {
        let key = generate_key();
        let request = Request::get(path)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key)
            .header(SEC_WEBSOCKET_PROTOCOL, protocols.join(", "))
            .body(Body::empty())
            .map_err(|error| said(format!("{path}: {error}")))?;
        let answer = self.client.send(request).await.map_err(|error| transport(&error))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(answer).await);
        }
        let protocol = accepted_protocol(&answer, &key)?;
        let upgraded = hyper::upgrade::on(answer)
            .await
            .map_err(|error| said(format!("upgrading the connection: {}", chain(&error))))?;
        let stream =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
        Ok(Socket { stream, protocol })
    }
}

/// What the server chose, if it proves that it read our handshake.
fn accepted_protocol(answer: &Response<Body>, key: &str) -> Result<String> {
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    if header(SEC_WEBSOCKET_ACCEPT) != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(said("the server did not upgrade the connection to a WebSocket of ours"));
    }
    Ok(header(SEC_WEBSOCKET_PROTOCOL).unwrap_or_default().to_owned())
}

impl Socket {
    /// Carries a command's streams until it has ended. `output` gets what comes, by channel.
    ///
    /// # Errors
    /// [`Error::Exit`] with the command's own exit code if that is not 0.
    pub async fn carry(
        mut self,
        mut input: Option<Input>,
        mut sizes: mpsc::Receiver<Size>,
        mut output: impl FnMut(u8, &[u8]),
    ) -> Result {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut has_sizes = true;
        loop {
            tokio::select! {
                // What the command says first: its end must not wait for our keyboard.
                biased;
                message = self.stream.next() => match message {
                    Some(Ok(Message::Binary(bytes))) => match bytes.split_first() {
                        Some((&ERROR, status)) => return verdict(status),
                        Some((&channel, data)) => output(channel, data),
                        None => {}
                    },
                    Some(Ok(Message::Close(_))) | None => return Ok(()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(said(format!("the stream broke off: {}", chain(&error)))),
                },
                size = sizes.recv(), if has_sizes => match size {
                    Some(size) => self.send(RESIZE, size_text(size).as_bytes()).await?,
                    None => has_sizes = false,
                },
                read = read_input(&mut input, &mut buffer), if input.is_some() => match read {
                    0 => {
                        input = None;
                        self.end_input().await?;
                    }
                    count => self.send(STDIN, &buffer[..count]).await?,
                },
            }
        }
    }

    async fn end_input(&mut self) -> Result {
        // `v4` has no word for it; commands that need the end, such as tar, see it in their data.
        if self.protocol == V5 { self.send(CLOSE, &[STDIN]).await } else { Ok(()) }
    }

    async fn send(&mut self, channel: u8, data: &[u8]) -> Result {
        let mut message = Vec::with_capacity(data.len() + 1);
        message.push(channel);
        message.extend_from_slice(data);
        let sent = self.stream.send(Message::binary(message)).await;
        sent.map_err(|error| said(format!("the stream broke off: {}", chain(&error))))
    }
}

/// A read that failed is an end: there is nobody to tell.
pub(super) async fn read_input(input: &mut Option<Input>, buffer: &mut [u8]) -> usize {
    match input {
        Some(input) => input.read(buffer).await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

fn size_text(size: Size) -> String {
    json!({ "Width": size.columns, "Height": size.rows }).to_string()
}

/// What the last message says: success, an exit code, or why the command could not run.
pub(super) fn verdict(status: &[u8]) -> Result {
    let Ok(status) = serde_json::from_slice::<Value>(status) else {
        let text = String::from_utf8_lossy(status);
        return Err(said(crate::term::safe(text.trim())));
    };
    if status["status"] != "Failure" {
        return Ok(());
    }
    let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
    let code = causes.iter().find(|cause| cause["reason"] == "ExitCode");
    match code.and_then(|cause| cause["message"].as_str()).and_then(|code| code.parse().ok()) {
        Some(code) => Err(Error::Exit(code)),
        None => {
            Err(said(crate::term::safe(status["message"].as_str().unwrap_or("the command failed"))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_message_becomes_the_exit_code() {
        let exit = r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        #[rustfmt::skip]
        let cases = [
            // message                                            exit code
            (r#"{"metadata":{},"status":"Success"}"#,             0),
            (exit,                                                7),
            (r#"{"status":"Failure","message":"no such file"}"#,  1),
            ("container not running",                             1),
        ];
        for (message, code) in cases {
            assert_eq!(verdict(message.as_bytes()).map_or_else(|e| e.exit_code(), |()| 0), code);
        }
    }
}
