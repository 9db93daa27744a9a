//! A gRPC call within this process: messages framed for the service, its replies unframed.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{Stream, stream};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use prost_reflect::MessageDescriptor;
use serde::de::IgnoredAny;
use tonic::body::Body;
use tonic::{Code, Status};

use super::json;
use crate::route::Routes;

/// In front of each message: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// One message as gRPC puts it on the wire.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(HEAD_BYTES + message.len());
    framed.put_u8(0);
    // A request is bounded far below that, and so is what is made of it.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// A call that has not been made.
pub(super) struct Call(Request<Body>);

impl Call {
    pub(super) fn new<B>(path: &'static str, metadata: HeaderMap, body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut request = Request::new(Body::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static(path);
        *request.headers_mut() = metadata;
        let grpc = HeaderValue::from_static("application/grpc");
        request.headers_mut().insert(header::CONTENT_TYPE, grpc);
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        Self(request)
    }

    /// Makes it; fails if it is refused before the first reply.
    pub(super) async fn start(self, routes: &Routes) -> Result<Replies, Status> {
        let Ok(response) = routes.grpc(self.0).await;
        let (head, body) = response.into_parts();
        match Status::from_header_map(&head.headers) {
            Some(status) if status.code() != Code::Ok => Err(status),
            _ => Ok(Replies { body, buffer: BytesMut::new() }),
        }
    }
}

/// What the service answers.
pub(super) struct Replies {
    body: Body,
    buffer: BytesMut,
}

impl Replies {
    /// The next message; `None` at a good end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<HEAD_BYTES>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if self.buffer.len() - HEAD_BYTES >= length {
                    self.buffer.advance(HEAD_BYTES);
                    return Ok(Some(self.buffer.split_to(length).freeze()));
                }
            }
            let Some(frame) = self.body.frame().await.transpose()? else { return Ok(None) };
            match frame.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    match Status::from_header_map(&trailers) {
                        Some(status) if status.code() != Code::Ok => return Err(status),
                        _ => return Ok(None),
                    }
                }
            }
        }
    }
}

/// JSON values, one after the other, out of a request's body.
pub(super) struct Values {
    body: Incoming,
    buffer: BytesMut,
    kind: MessageDescriptor,
    bytes_max: usize,
}

impl Values {
    pub(super) fn new(body: Incoming, kind: MessageDescriptor, bytes_max: usize) -> Self {
        Self { body, buffer: BytesMut::new(), kind, bytes_max }
    }

    /// Each as a message for the service. What is malformed ends the call.
    pub(super) fn into_frames(self) -> impl Stream<Item = Result<Frame<Bytes>, Status>> + Send {
        stream::unfold(Some(self), |values| async move {
            let mut values = values?;
            match values.next().await {
                Ok(message) => Some((Ok(Frame::data(frame(&message?))), Some(values))),
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, Status> {
        let malformed = |reason: String| Status::invalid_argument(reason);
        loop {
            let text = &self.buffer[..];
            let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
            match values.next() {
                Some(Ok(_)) => {
                    let end = values.byte_offset();
                    let value = self.buffer.split_to(end);
                    return json::to_wire(self.kind.clone(), &value).map(Some);
                }
                Some(Err(error)) if !error.is_eof() => return Err(malformed(error.to_string())),
                Some(Err(_)) | None => {}
            }
            if self.buffer.len() > self.bytes_max {
                return Err(malformed("the request is too large".into()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(Status::cancelled(error.to_string())),
                None if self.buffer.trim_ascii().is_empty() => return Ok(None),
                None => return Err(malformed("unexpected end of JSON input".into())),
            }
        }
    }
}
