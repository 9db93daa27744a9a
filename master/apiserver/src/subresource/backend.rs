//! Pods that are spoken to on behalf of a client: over TLS if it says so, and their pages with links that lead
//! back through the proxy.
//!
//! # Invariants
//! - A page is passed on as it comes, however long it is and however long it takes; a part of it is held, never the whole.
//! - A backend is shown nothing of this master's: no certificate, no credentials of the client.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
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
use super::links::{Links, Page};
use crate::body::{Body, BoxError};
use crate::call::Response;

/// So much of a page is read at a time: what a step makes of it, unpacked and led back, is held until it is sent.
const STEP_BYTES: usize = 2 * 1024;

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
pub fn led_back(links: Links, mut answer: Response) -> Response {
    let text = |value: &HeaderValue| value.to_str().unwrap_or("").to_owned();
    if let Some(elsewhere) = answer.headers().get(LOCATION).map(text) {
        let led = links.lead(&elsewhere).and_then(|led| HeaderValue::from_str(&led).ok());
        if let Some(led) = led {
            answer.headers_mut().insert(LOCATION, led);
        }
        return answer;
    }
    let kind = answer.headers().get(CONTENT_TYPE).map(text).unwrap_or_default();
    let is_page = kind.split(';').next().is_some_and(|kind| kind.trim() == "text/html");
    let encoding = answer.headers().get(CONTENT_ENCODING).map(text).unwrap_or_default();
    let unpack = match &*encoding {
        "" | "identity" => None,
        "gzip" => Some(Unpack::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))),
        "deflate" => Some(Unpack::Deflate(Inflate::default())),
        _ => return answer,
    };
    if !is_page {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    for header in [CONTENT_ENCODING, CONTENT_LENGTH, ETAG] {
        parts.headers.remove(header);
    }
    let page = Some(Page::new(links));
    let stream = Stream { body, input: Bytes::new(), has_begun: false, unpack, page };
    let frames = futures::stream::try_unfold(stream, |mut stream| async move {
        let piece = stream.next().await?;
        Ok::<_, BoxError>(piece.map(|piece| (Frame::data(piece), stream)))
    });
    http::Response::from_parts(parts, Body::foreign(StreamBody::new(frames)))
}

/// A page on its way from the backend to the client.
struct Stream {
    body: Body,
    /// What came of it and is not read yet.
    input: Bytes,
    /// Whether anything came at all.
    has_begun: bool,
    unpack: Option<Unpack>,
    /// `None` once it has ended.
    page: Option<Page>,
}

impl Stream {
    /// The next piece, led back; `None` at the end.
    ///
    /// # Errors
    /// The backend broke off, or what it sent is not compressed as it says.
    async fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        while let Some(page) = &mut self.page {
            let piece = if !self.input.is_empty() {
                let piece = self.input.split_to(self.input.len().min(STEP_BYTES));
                match &mut self.unpack {
                    Some(unpack) => page.push(&unpack.unpacked(&piece)?),
                    None => page.push(&piece),
                }
            } else if let Some(frame) = self.body.frame().await {
                self.input = frame?.into_data().unwrap_or_default();
                self.has_begun |= !self.input.is_empty();
                continue;
            } else {
                self.end()?
            };
            if !piece.is_empty() {
                return Ok(Some(piece.into()));
            }
        }
        Ok(None)
    }

    fn end(&mut self) -> Result<Vec<u8>, BoxError> {
        let Some(mut page) = self.page.take() else { return Ok(Vec::new()) };
        let mut left = Vec::new();
        if let Some(unpack) = self.unpack.take() {
            // An answer without a body (to `HEAD`) is not compressed either.
            let rest = if self.has_begun { unpack.finish()? } else { Vec::new() };
            left = page.push(&rest);
        }
        left.extend(page.finish());
        Ok(left)
    }
}

/// How a page is unpacked.
enum Unpack {
    /// Several compressed one after the other are one page.
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Deflate(Inflate),
}

impl Unpack {
    /// What a compressed piece holds.
    fn unpacked(&mut self, mut piece: &[u8]) -> Result<Vec<u8>, BoxError> {
        match self {
            Self::Gzip(unzip) => {
                while !piece.is_empty() {
                    piece = &piece[unzip.write(piece)?..];
                }
                Ok(std::mem::take(unzip.get_mut()))
            }
            Self::Deflate(inflate) => inflate.unpacked(piece),
        }
    }

    /// What is left at the end.
    fn finish(self) -> Result<Vec<u8>, BoxError> {
        match self {
            Self::Gzip(unzip) => Ok(unzip.finish()?),
            Self::Deflate(Inflate { is_over: true, .. }) => Ok(Vec::new()),
            Self::Deflate(_) => Err("the page broke off".into()),
        }
    }
}

/// `deflate` is zlib's format (RFC 9110, 8.4.1.2); some send it without that format's frame, which upstream takes alone.
#[derive(Default)]
struct Inflate {
    inner: Option<Decompress>,
    is_over: bool,
}

impl Inflate {
    /// What comes after the end is left out.
    fn unpacked(&mut self, mut piece: &[u8]) -> Result<Vec<u8>, BoxError> {
        let mut said = Vec::new();
        let Some(first) = piece.first().filter(|_| !self.is_over) else { return Ok(said) };
        // Deflated data does not begin like this: a stored block's first byte is padded with zeros.
        let is_framed = first & 0x0f == 8;
        let inner = self.inner.get_or_insert_with(|| Decompress::new(is_framed));
        loop {
            said.reserve(STEP_BYTES);
            let before = (inner.total_in(), inner.total_out());
            let status = inner.decompress_vec(piece, &mut said, FlushDecompress::None)?;
            let after = (inner.total_in(), inner.total_out());
            let read = usize::try_from(after.0 - before.0)?;
            piece = &piece[read..];
            self.is_over = status == Status::StreamEnd;
            if self.is_over || after == before {
                return Ok(said);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use futures::StreamExt;

    use super::*;

    fn links() -> Links {
        Links { prefix: "/proxy".to_owned(), hosts: ["a", "b"].map(str::to_owned) }
    }

    fn answer(kind: &str, encoding: &str, body: Body) -> Response {
        let answer = http::Response::builder().header(CONTENT_TYPE, kind);
        let answer = answer.header(CONTENT_ENCODING, encoding).header(CONTENT_LENGTH, 12);
        answer.body(body).unwrap()
    }

    fn pieces(pieces: Vec<Result<Bytes, BoxError>>) -> Body {
        let frames = pieces.into_iter().map(|piece| piece.map(Frame::data));
        Body::foreign(StreamBody::new(futures::stream::iter(frames)))
    }

    fn zipped(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn deflated(text: &[u8]) -> [Vec<u8>; 2] {
        let mut framed = ZlibEncoder::new(Vec::new(), Compression::fast());
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::fast());
        framed.write_all(text).unwrap();
        bare.write_all(text).unwrap();
        [framed.finish().unwrap(), bare.finish().unwrap()]
    }

    #[tokio::test]
    async fn deflated_pages_are_led_back_framed_or_not() {
        let mut page = "<a href=\"/x\">".to_owned();
        page.extend((0..5_000).map(|number| number.to_string()));
        let expected = page.replace("/x", "/proxy/x");
        for packed in deflated(page.as_bytes()) {
            for size in [1, 7, packed.len()] {
                let frames = packed.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece)));
                let body = pieces(frames.collect());
                let led = led_back(links(), answer("text/html", "deflate", body));
                assert!(!led.headers().contains_key(CONTENT_ENCODING));
                let said = led.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(said, expected.as_bytes(), "in pieces of {size}");
            }
            let half = Bytes::copy_from_slice(&packed[..packed.len() / 2]);
            let led = led_back(links(), answer("text/html", "deflate", Body::full(half)));
            assert!(led.into_body().collect().await.is_err());
        }
        let led = led_back(links(), answer("text/html", "deflate", Body::empty()));
        assert!(led.into_body().collect().await.unwrap().to_bytes().is_empty());
    }

    #[tokio::test]
    async fn pages_are_led_back_and_what_is_no_page_is_passed_on() {
        let page = "<a href=\"/x\">";
        let bytes = Bytes::from(page.to_owned());
        let packed = Bytes::from(zipped(page.as_bytes()));
        let in_two = Bytes::from([zipped(b"<a href=\"/"), zipped(b"x\">")].concat());
        for (kind, encoding, body, expected) in [
            ("text/html; charset=utf-8", "identity", &bytes, "<a href=\"/proxy/x\">"),
            ("text/html", "gzip", &packed, "<a href=\"/proxy/x\">"),
            ("text/html", "gzip", &in_two, "<a href=\"/proxy/x\">"),
            ("text/html", "br", &bytes, page),
            ("text/plain", "identity", &bytes, page),
        ] {
            let led = led_back(links(), answer(kind, encoding, Body::full(body.clone())));
            assert_eq!(led.headers().contains_key(CONTENT_LENGTH), expected == page);
            let said = led.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(said, expected.as_bytes(), "{kind} {encoding}");
        }
        // Of a page that is only asked about there is nothing to unpack.
        let led = led_back(links(), answer("text/html", "gzip", Body::empty()));
        assert!(led.into_body().collect().await.unwrap().to_bytes().is_empty());
        let moved = http::Response::builder().header(LOCATION, "/x").body(Body::empty()).unwrap();
        assert_eq!(led_back(links(), moved).headers()[LOCATION], "/proxy/x");
    }

    #[tokio::test]
    async fn page_that_never_ends_comes_as_it_is_said() {
        let piece = |at: u64| Bytes::from(if at.is_multiple_of(2) { "<a href='/" } else { "x'>" });
        let endless =
            futures::stream::iter(0..).map(move |at| Ok::<_, BoxError>(Frame::data(piece(at))));
        let body = Body::foreign(StreamBody::new(endless));
        let mut said = led_back(links(), answer("text/html", "identity", body)).into_body();
        for _ in 0..1_000 {
            for expected in ["<a href='", "/proxy/x'>"] {
                let frame = said.frame().await.unwrap().unwrap();
                assert_eq!(frame.into_data().unwrap(), expected);
            }
        }
    }

    #[tokio::test]
    async fn little_that_unpacks_to_much_comes_in_pieces() {
        let much = zipped(&vec![b'x'; 64 << 20]);
        let mut said = led_back(links(), answer("text/html", "gzip", Body::full(much))).into_body();
        let (mut total, mut largest) = (0, 0);
        while let Some(frame) = said.frame().await {
            let length = frame.unwrap().into_data().unwrap().len();
            (total, largest) = (total + length, largest.max(length));
        }
        assert_eq!(total, 64 << 20);
        assert!(largest <= 3 << 20, "{largest}");
    }

    #[tokio::test]
    async fn a_page_that_breaks_off_is_not_told_to_be_whole() {
        let packed = zipped(b"<a href=\"/x\">");
        let half = Bytes::copy_from_slice(&packed[..packed.len() / 2]);
        let few = Bytes::copy_from_slice(&packed[..5]);
        let followed = Bytes::from([&*packed, b"more"].concat());
        let whole = Bytes::from_static(b"<a href=\"/x\">");
        for (encoding, body) in [
            ("identity", pieces(vec![Ok(whole.clone()), Err("connection reset".into())])),
            ("gzip", pieces(vec![Ok(half)])),
            ("gzip", pieces(vec![Ok(few)])),
            ("gzip", pieces(vec![Ok(followed)])),
            ("gzip", pieces(vec![Ok(whole)])),
        ] {
            let led = led_back(links(), answer("text/html", encoding, body));
            assert!(led.into_body().collect().await.is_err(), "{encoding}");
        }
    }
}
