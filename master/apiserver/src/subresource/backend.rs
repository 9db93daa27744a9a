//! Pods that are spoken to on behalf of a client: over TLS if it says so, and their pages with links that lead
//! back through the proxy.
//!
//! # Invariants
//! - A backend is shown nothing of this master's: no certificate, no credentials of the client.

use std::io::Read;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, LOCATION};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use master_api::status::ApiError;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use store_env::tls::AnyCertificate;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::kubelet::Place;
use super::links::Links;
use crate::body::{Body, BoxError};
use crate::call::Response;

/// Pages beyond this are passed on as they are.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Encrypts a connection to a pod. Pods have certificates that nobody here can judge: as upstream does it, whoever
/// answers is believed.
pub async fn encrypt(place: &Place, stream: TcpStream) -> Result<TlsStream<TcpStream>, ApiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(ApiError::internal)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
        .with_no_client_auth();
    let name = ServerName::IpAddress(place.address.ip().into());
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| {
        ApiError::Unavailable(format!("error trying to reach {:?}: {error}", place.node))
    })
}

/// The answer with its links, and where it sends the client, led back through the proxy.
///
/// # Errors
/// The backend ended its page before it was whole.
pub async fn led_back(links: &Links<'_>, mut answer: Response) -> Result<Response, ApiError> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or("").to_owned();
    if let Some(elsewhere) = answer.headers().get(LOCATION).map(text) {
        let led = links.lead(&elsewhere).and_then(|led| HeaderValue::from_str(&led).ok());
        if let Some(led) = led {
            answer.headers_mut().insert(LOCATION, led);
        }
        return Ok(answer);
    }
    let kind = answer.headers().get(CONTENT_TYPE).map(text).unwrap_or_default();
    let is_page = kind.split(';').next().is_some_and(|kind| kind.trim() == "text/html");
    let encoding = answer.headers().get(CONTENT_ENCODING).map(text).unwrap_or_default();
    if !is_page || !matches!(&*encoding, "" | "identity" | "gzip") {
        return Ok(answer);
    }
    let (mut parts, body) = answer.into_parts();
    let (page, rest) = gather(body).await.map_err(|error| {
        ApiError::Unavailable(format!("the backend broke off in the middle of a page: {error}"))
    })?;
    let whole = match (&rest, &*encoding) {
        (Some(_), _) => None,
        (None, "gzip") => unzip(&page),
        (None, _) => Some(page.clone()),
    };
    let Some(whole) = whole else {
        let first = futures::stream::iter([Ok::<_, BoxError>(Frame::data(page))]);
        let rest = rest.map(http_body_util::BodyStream::new);
        let all = first.chain(futures::stream::iter(rest).flatten());
        return Ok(http::Response::from_parts(parts, Body::foreign(StreamBody::new(all))));
    };
    let led = links.rewrite(&whole);
    parts.headers.remove(CONTENT_ENCODING);
    parts.headers.remove(ETAG);
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(led.len()));
    Ok(http::Response::from_parts(parts, Body::full(led)))
}

/// The body, or as much of it as is gathered, with what is left then.
async fn gather(mut body: Body) -> Result<(Bytes, Option<Body>), BoxError> {
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            gathered.extend_from_slice(&data);
        }
        if gathered.len() > PAGE_BYTES_MAX {
            return Ok((gathered.freeze(), Some(body)));
        }
    }
    Ok((gathered.freeze(), None))
}

fn unzip(page: &[u8]) -> Option<Bytes> {
    let limit = u64::try_from(PAGE_BYTES_MAX).ok()?;
    let mut plain = Vec::new();
    let reader = flate2::read::GzDecoder::new(page);
    reader.take(limit).read_to_end(&mut plain).ok()?;
    (plain.len() < PAGE_BYTES_MAX).then(|| plain.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_are_led_back_and_what_is_no_page_or_too_long_is_passed_on() {
        let links = Links { prefix: "/proxy", hosts: ["a", "b"] };
        let long = format!("<a href=\"/x\">{}", "y".repeat(PAGE_BYTES_MAX));
        for (kind, page, expected) in [
            ("text/html; charset=utf-8", "<a href=\"/x\">", "<a href=\"/proxy/x\">"),
            ("text/plain", "<a href=\"/x\">", "<a href=\"/x\">"),
            ("text/html", &*long, &*long),
        ] {
            let answer = http::Response::builder().header(CONTENT_TYPE, kind);
            let answer = answer.body(Body::full(page.to_owned())).unwrap();
            let led = led_back(&links, answer).await.unwrap();
            let told = led.headers().get(CONTENT_LENGTH).cloned();
            let said = led.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(said, expected.as_bytes());
            assert!(told.is_none_or(|told| told == HeaderValue::from(expected.len())));
        }
        let moved = http::Response::builder().header(LOCATION, "/x").body(Body::empty()).unwrap();
        assert_eq!(led_back(&links, moved).await.unwrap().headers()[LOCATION], "/proxy/x");
    }

    #[tokio::test]
    async fn a_page_that_breaks_off_is_not_told_to_be_whole() {
        let links = Links { prefix: "/proxy", hosts: ["a", "b"] };
        let broken = futures::stream::iter([
            Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"<a href=\"/x\">"))),
            Err("connection reset".into()),
        ]);
        let answer = http::Response::builder().header(CONTENT_TYPE, "text/html");
        let answer = answer.body(Body::foreign(StreamBody::new(broken))).unwrap();
        assert!(matches!(led_back(&links, answer).await, Err(ApiError::Unavailable(_))));
    }
}
