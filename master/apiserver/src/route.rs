//! Paths that are no Kubernetes resources, answered by whoever assembles the server.
//!
//! They pass the same chain as everything else: authentication, limits, RBAC on the path.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Method;
use master_api::access::Identity;
use master_api::status::ApiError;
use serde_json::Value;

/// A request for such a path.
#[derive(Clone, Debug)]
pub struct Asked {
    pub identity: Identity,
    pub method: Method,
    pub path: String,
    /// Decoded query parameters, in order.
    pub query: Vec<(String, String)>,
    pub body: Bytes,
}

/// Answers every path below one prefix.
pub trait Route: Send + Sync + std::fmt::Debug {
    /// For instance `/trireme/v1/`.
    fn prefix(&self) -> &'static str;

    /// The JSON of a 200, or an error.
    fn answer(&self, asked: Asked) -> BoxFuture<'_, Result<Value, ApiError>>;
}
