//! etcd's API as JSON over HTTP, for those who speak no gRPC: `POST /v3/kv/put` and the like.
//!
//! A request becomes a gRPC call of the service in this process, and the replies become JSON again, by the
//! descriptors of the messages: no method has code of its own here.
//!
//! # Path
//! [`crate::route`] → [`table`] → [`json`], [`call`] → the service
//!
//! # Invariants
//! - What is answered is what gRPC answers: names, codes and words are those of the protocol's files.

mod call;
mod json;
mod table;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use prost_reflect::MethodDescriptor;
use tonic::body::Body;
use tonic::{Code, Status};

use self::call::{Call, Values};
use crate::route::Routes;

/// What the paths of all methods begin with; the second is how etcd up to 3.3 had it.
const PREFIXES: [&str; 2] = ["/v3/", "/v3beta/"];

/// Headers that are handed on to the service, without what they begin with.
const METADATA: &str = "grpc-metadata-";

/// Base64 and escapes make a request larger than the message in it.
const JSON_FACTOR: usize = 2;

/// Whether it is for methods.
pub(crate) fn is_path(path: &str) -> bool {
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// Whether a method's requests, and its replies, are streams.
pub(crate) fn streams(path: &str) -> (bool, bool) {
    let method = json::method(path);
    method.map_or((false, false), |it| (it.is_client_streaming(), it.is_server_streaming()))
}

/// Answers one request.
pub(crate) async fn answer(routes: Routes, request: Request<Incoming>) -> Response<Body> {
    let Some(path) = table::find(request.uri().path()) else {
        return refusal(StatusCode::NOT_FOUND, Code::NotFound, "Not Found");
    };
    if request.method() != Method::POST {
        return refusal(StatusCode::NOT_IMPLEMENTED, Code::Unimplemented, "Method Not Allowed");
    }
    let Some(method) = json::method(path) else {
        // Of methods that are not served no message is known, and none is looked at.
        let call = Call::new(path, HeaderMap::new(), Full::new(call::frame(&[])));
        return match call.start(&routes).await {
            Ok(_) => refused(&Status::unimplemented("the method is not served")),
            Err(status) => refused(&status),
        };
    };
    let bytes_max = routes.request_bytes_max().saturating_mul(JSON_FACTOR);
    let metadata = metadata(request.headers());
    match method.is_client_streaming() {
        true => {
            let values = Values::new(request.into_body(), method.input(), bytes_max);
            let call = Call::new(path, metadata, StreamBody::new(values.into_frames()));
            stream_of(call, &routes, &method).await
        }
        false => {
            let body = Limited::new(request.into_body(), bytes_max).collect().await;
            let message = match body {
                Ok(body) => json::to_wire(method.input(), &body.to_bytes()),
                Err(error) => Err(Status::invalid_argument(error.to_string())),
            };
            let message = match message {
                Ok(message) => message,
                Err(status) => return refused(&status),
            };
            let call = Call::new(path, metadata, Full::new(call::frame(&message)));
            match method.is_server_streaming() {
                true => stream_of(call, &routes, &method).await,
                false => single(call, &routes, &method).await,
            }
        }
    }
}

/// One message, as it is.
async fn single(call: Call, routes: &Routes, method: &MethodDescriptor) -> Response<Body> {
    let reply = async {
        let mut replies = call.start(routes).await?;
        let message = replies.next().await?;
        let message = message.ok_or_else(|| Status::internal("the service said nothing"))?;
        // What went wrong after the message would be said now.
        while replies.next().await?.is_some() {}
        json::from_wire(method.output(), message)
    };
    match reply.await {
        Ok(text) => response(StatusCode::OK, Body::new(Full::new(Bytes::from(text)))),
        Err(status) => refused(&status),
    }
}

/// A line for each message, under `result`; the last may be an `error`.
async fn stream_of(call: Call, routes: &Routes, method: &MethodDescriptor) -> Response<Body> {
    let replies = match call.start(routes).await {
        Ok(replies) => replies,
        Err(status) => {
            let text = format!("{{\"error\":{}}}", error_of(&status));
            return response(http_status(status.code()), Body::new(Full::new(Bytes::from(text))));
        }
    };
    let kind = method.output();
    let lines = stream::unfold(Some(replies), move |replies| {
        let kind = kind.clone();
        async move {
            let mut replies = replies?;
            let text = match replies.next().await {
                Ok(message) => json::from_wire(kind, message?),
                Err(status) => Err(status),
            };
            let (line, rest) = match text {
                Ok(text) => (format!("{{\"result\":{text}}}\n"), Some(replies)),
                Err(status) => (format!("{{\"error\":{}}}\n", error_of(&status)), None),
            };
            Some((Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(line))), rest))
        }
    });
    response(StatusCode::OK, Body::new(StreamBody::new(lines)))
}

fn metadata(headers: &HeaderMap) -> HeaderMap {
    let handed_on = |(name, value): (&HeaderName, &http::HeaderValue)| {
        let name = name.as_str().strip_prefix(METADATA)?;
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value.clone()))
    };
    headers.iter().filter_map(handed_on).collect()
}

/// `error` is where clients of etcd up to 3.5 look, `message` where later ones do.
fn error_of(status: &Status) -> serde_json::Value {
    serde_json::json!({
        "error": status.message(),
        "code": i32::from(status.code()),
        "message": status.message(),
    })
}

fn refused(status: &Status) -> Response<Body> {
    let text = error_of(status).to_string();
    response(http_status(status.code()), Body::new(Full::new(Bytes::from(text))))
}

fn refusal(http: StatusCode, code: Code, message: &str) -> Response<Body> {
    let text = error_of(&Status::new(code, message)).to_string();
    response(http, Body::new(Full::new(Bytes::from(text))))
}

fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// As grpc-gateway tells gRPC's codes.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
