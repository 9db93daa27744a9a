//! One request on its way through the chain.

use http::{HeaderMap, Method};
use hyper::upgrade::OnUpgrade;
use master_api::access::Identity;
use parking_lot::Mutex;
use store_handle::Term;

use crate::body::{Body, RequestBody};
use crate::query::Query;
use crate::request::RequestInfo;

/// A response on its way back.
pub type Response = http::Response<Body>;

/// What is known of a request; filters fill it in.
pub struct Call {
    /// Told to the client as `Audit-Id`, and part of every log line.
    pub id: String,
    pub method: Method,
    pub headers: HeaderMap,
    /// As sent: undecoded.
    pub raw_path: String,
    pub raw_query: String,
    pub query: Query,
    pub info: RequestInfo,
    /// The client's certificate (DER), verified by TLS.
    pub certificate: Option<Vec<u8>>,
    pub identity: Identity,
    /// Writes happen in this term or not at all.
    pub fence: Option<Term>,
    /// Sent as `Warning` headers.
    pub warnings: Vec<String>,
    /// Behind a lock only so that a call may be shared; it is taken once.
    pub body: Mutex<Option<RequestBody>>,
    /// Where the connection can be taken over, if the client asks for that.
    pub upgrade: Option<OnUpgrade>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Call");
        shown.field("id", &self.id).field("method", &self.method).field("path", &self.raw_path);
        shown.field("user", &self.identity.user).finish_non_exhaustive()
    }
}

impl Call {
    /// A call of which only the request itself is known.
    pub fn new(id: String, mut request: http::Request<RequestBody>) -> Self {
        let upgrade = request
            .headers()
            .contains_key(http::header::UPGRADE)
            .then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let raw_query = parts.uri.query().unwrap_or("").to_owned();
        Self {
            id,
            method: parts.method,
            headers: parts.headers,
            raw_path: parts.uri.path().to_owned(),
            query: Query::parse(&raw_query),
            raw_query,
            info: RequestInfo::default(),
            certificate: None,
            identity: Identity::default(),
            fence: None,
            warnings: Vec::new(),
            body: Mutex::new(Some(body)),
            upgrade,
        }
    }

    /// A call of a part of this process, which is who it says it is.
    pub fn speak_as(&mut self, identity: Identity) {
        let agent = crate::rest::ownership::agent(&identity.user);
        if let Ok(agent) = agent.parse() {
            self.headers.entry(http::header::USER_AGENT).or_insert(agent);
        }
        self.identity = identity;
    }

    /// A header as text; empty if it is missing.
    pub fn header(&self, name: http::header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Whether nothing may be written.
    pub fn is_dry_run(&self) -> bool {
        self.query.all("dryRun").any(|value| value == "All")
    }
}
