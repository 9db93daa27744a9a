//! Requests to the masters, as commands need them: JSON in, JSON or lines out, refusals as errors.

pub mod discovery;
pub mod find;
pub mod spdy;
pub mod stream;

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use master_client::kubeconfig;
use master_client::masters::{self, Masters};
use serde_json::Value;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

use crate::errln;
use crate::error::{Error, Result, Status, said};
use crate::flags::Global;
use crate::term;
use discovery::{Discovery, Resource};

/// A table of the server's making, or the object itself if it cannot make one.
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const JSON: &str = "application/json";

/// One line of a log or a watch; longer ones are refused rather than filling the memory.
const LINE_BYTES_MAX: usize = 64 << 20;

/// The cluster, as one command talks to it.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    masters: Masters,
    /// The namespace of the flags, the context, or `default`.
    pub namespace: String,
    discovered: Arc<tokio::sync::OnceCell<Discovery>>,
    warned: Arc<Mutex<BTreeSet<String>>>,
}

/// What is put into a request besides its path.
#[derive(Debug, Default)]
pub struct Payload {
    pub content_type: &'static str,
    pub bytes: Vec<u8>,
}

impl Payload {
    /// JSON.
    pub fn json(value: &Value) -> Self {
        Self { content_type: JSON, bytes: value.to_string().into_bytes() }
    }

    /// A patch of the given content type.
    pub fn patch(content_type: &'static str, value: &Value) -> Self {
        Self { content_type, bytes: value.to_string().into_bytes() }
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("masters", &self.masters)
            .field("namespace", &self.namespace)
            .finish()
    }
}

impl Api {
    /// Resolves the kubeconfig; connects with the first request.
    pub fn connect(flags: &Global) -> Result<Self> {
        let config =
            kubeconfig::load(flags.kubeconfig.as_deref()).map_err(|e| said(e.to_string()))?;
        let resolved =
            kubeconfig::resolve(&config, &flags.overrides()).map_err(|e| said(e.to_string()))?;
        let mut masters = resolved.masters;
        if let Some(timeout) = flags.timeout()? {
            masters.request_timeout = Some(timeout);
        }
        masters.headers.insert(
            http::header::USER_AGENT,
            http::HeaderValue::from_static(concat!("kctl/", env!("CARGO_PKG_VERSION"))),
        );
        let (client, masters) =
            masters::connect_with_handle(masters).map_err(|e| said(e.to_string()))?;
        Ok(Self {
            client,
            masters,
            namespace: resolved.namespace,
            discovered: Arc::default(),
            warned: Arc::default(),
        })
    }

    /// Which masters there are and which one is in use.
    pub fn masters(&self) -> &Masters {
        &self.masters
    }

    /// The typed client, for what needs its own way of asking.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// The kinds that the cluster serves.
    pub async fn discovery(&self) -> Result<&Discovery> {
        self.discovered.get_or_try_init(|| discovery::discover(self)).await
    }

    /// The kind with this (short, singular, plural or qualified) name.
    pub async fn resource(&self, name: &str) -> Result<Resource> {
        self.discovery().await?.find(name).cloned()
    }

    /// Sends a request and gives its answer if the server agreed.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        payload: Payload,
    ) -> Result<Response<Body>> {
        let mut request =
            Request::builder().method(method.clone()).uri(path).header(ACCEPT, accept);
        if !payload.content_type.is_empty() {
            request = request.header(CONTENT_TYPE, payload.content_type);
        }
        let request = request
            .body(Body::from(payload.bytes))
            .map_err(|error| said(format!("{path}: {error}")))?;
        tracing::debug!(%method, path, "request");
        let answer = self.client.send(request).await.map_err(|error| transport(&error))?;
        tracing::debug!(%method, path, status = answer.status().as_u16(), "answer");
        self.show_warnings(&answer);
        if answer.status().is_success() || answer.status().as_u16() == 101 {
            return Ok(answer);
        }
        Err(refusal(answer).await)
    }

    /// GET, as JSON.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.get_as(path, JSON).await
    }

    /// GET with an `Accept` header, as JSON.
    pub async fn get_as(&self, path: &str, accept: &str) -> Result<Value> {
        json(path, self.send(Method::GET, path, accept, Payload::default()).await?).await
    }

    /// GET; `None` if there is no such object.
    pub async fn get_if_there(&self, path: &str) -> Result<Option<Value>> {
        match self.get(path).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// GET, as text.
    pub async fn text(&self, path: &str) -> Result<String> {
        let answer = self.send(Method::GET, path, "*/*", Payload::default()).await?;
        let bytes = collect(path, answer).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// POST.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        json(path, self.send(Method::POST, path, JSON, Payload::json(body)).await?).await
    }

    /// PUT.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        json(path, self.send(Method::PUT, path, JSON, Payload::json(body)).await?).await
    }

    /// PATCH.
    pub async fn patch(
        &self,
        path: &str,
        content_type: &'static str,
        body: &Value,
    ) -> Result<Value> {
        let payload = Payload::patch(content_type, body);
        json(path, self.send(Method::PATCH, path, JSON, payload).await?).await
    }

    /// DELETE, with options.
    pub async fn delete(&self, path: &str, options: &Value) -> Result<Value> {
        json(path, self.send(Method::DELETE, path, JSON, Payload::json(options)).await?).await
    }

    /// The answer's lines, as they come.
    pub async fn lines(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<impl Stream<Item = Result<String>> + Unpin + use<>> {
        let answer = self.send(Method::GET, path, accept, Payload::default()).await?;
        let bytes = answer.into_body().into_data_stream().map_err(std::io::Error::other);
        let reader = StreamReader::new(bytes);
        let lines = FramedRead::new(reader, LinesCodec::new_with_max_length(LINE_BYTES_MAX));
        Ok(Box::pin(
            lines.map_err(|error| said(format!("the answer broke off: {}", chain(&error)))),
        ))
    }

    /// The answer's bytes, as they come.
    pub async fn bytes(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes>> + Unpin + use<>> {
        let answer = self.send(Method::GET, path, "*/*", Payload::default()).await?;
        let stream = answer.into_body().into_data_stream();
        Ok(stream.map_err(|error| said(format!("the answer broke off: {}", chain(&error)))))
    }

    fn show_warnings(&self, answer: &Response<Body>) {
        for value in answer.headers().get_all("warning") {
            let Some(text) = value.to_str().ok().and_then(warning_text) else { continue };
            let is_new = self.warned.lock().is_ok_and(|mut warned| warned.insert(text.clone()));
            if is_new {
                errln!("Warning: {}", term::safe_line(&text));
            }
        }
    }
}

/// Joins query parameters to a path; empty values are left out.
pub fn with_query(path: &str, query: &[(&str, String)]) -> String {
    let mut out = path.to_owned();
    let mut separator = if path.contains('?') { '&' } else { '?' };
    for (key, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        out.push(separator);
        out.push_str(key);
        out.push('=');
        out.push_str(&escape(value));
        separator = '&';
    }
    out
}

/// Percent-encodes what a query value or a path segment may not hold.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The text of `299 - "text"`.
fn warning_text(value: &str) -> Option<String> {
    let quoted = value.split_once('"')?.1;
    let mut text = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some(text),
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    None
}

async fn json(path: &str, answer: Response<Body>) -> Result<Value> {
    let bytes = collect(path, answer).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| said(format!("{path}: the answer is no JSON: {error}")))
}

async fn collect(path: &str, answer: Response<Body>) -> Result<Bytes> {
    let collected = answer.into_body().collect().await;
    Ok(collected.map_err(|error| said(format!("{path}: {}", chain(&error))))?.to_bytes())
}

async fn refusal(answer: Response<Body>) -> Error {
    let code = answer.status();
    let bytes = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let parsed =
        serde_json::from_slice::<Value>(&bytes).ok().filter(|value| value["kind"] == "Status");
    let status = parsed.and_then(|value| serde_json::from_value::<Status>(value).ok());
    let status = status.unwrap_or_else(|| Status {
        message: match String::from_utf8_lossy(&bytes).trim() {
            "" => format!("the server answered {code}"),
            text => term::safe(text),
        },
        code: code.as_u16(),
        ..Status::default()
    });
    let message = term::safe(&status.message);
    Error::Server { status: Box::new(Status { message, ..status }), doing: None }
}

/// A failure below HTTP. The masters' own errors already name addresses and the next command.
fn transport(error: &kube::Error) -> Error {
    match error {
        kube::Error::Service(cause) => match cause.downcast_ref::<masters::Error>() {
            Some(known) => said(known.to_string()),
            None => said(format!("Unable to connect to the server: {}", chain(cause.as_ref()))),
        },
        other => said(format!("Unable to connect to the server: {}", chain(other))),
    }
}

/// An error with its causes, each said once.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded_and_empty_values_left_out() {
        let query = [
            ("labelSelector", "a in (b,c)".to_owned()),
            ("x", String::new()),
            ("limit", "5".to_owned()),
        ];
        assert_eq!(with_query("/p", &query), "/p?labelSelector=a%20in%20%28b%2Cc%29&limit=5");
        assert_eq!(with_query("/p?a=1", &query[2..]), "/p?a=1&limit=5");
    }

    #[test]
    fn warnings_lose_their_wrapping() {
        assert_eq!(warning_text(r#"299 - "unknown field \"a\"""#).unwrap(), "unknown field \"a\"");
        assert_eq!(warning_text("299"), None);
    }
}
