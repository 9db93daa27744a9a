//! What is served: groups, versions, resources, schemas; all derived from the catalog.

mod aggregated;
mod groups;
mod openapi;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use master_api::status::ApiError;
use master_registry::openapi::OpenApi;
use sha2::{Digest, Sha256};

use crate::body::Body;
use crate::call::{Call, Response};
use crate::catalog::Catalog;
use crate::content::{self, Form};
use crate::respond;
use crate::server::Server;

/// The media type of aggregated discovery.
const AGGREGATED: HeaderValue = HeaderValue::from_static(
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
);

/// Documents that are the same for every client, made when first asked for.
#[derive(Debug)]
pub struct Documents {
    /// Core group only, and all others.
    aggregated: [OnceLock<Tagged>; 2],
    advertise: SocketAddr,
    openapi: Arc<OpenApi>,
}

#[derive(Debug)]
struct Tagged {
    json: Bytes,
    etag: String,
}

impl Tagged {
    fn new(json: impl Into<Bytes>) -> Self {
        let json = json.into();
        let etag = hash(&json);
        Self { json, etag }
    }
}

impl Documents {
    /// The documents of a catalog.
    pub fn new(openapi: OpenApi, advertise: SocketAddr) -> Self {
        Self { aggregated: Default::default(), advertise, openapi: Arc::new(openapi) }
    }

    /// The schemas, for those that come after.
    pub fn openapi(&self) -> &OpenApi {
        &self.openapi
    }

    fn aggregated(&self, catalog: &Catalog, is_core: bool) -> &Tagged {
        let made = || Tagged::new(aggregated::list(catalog, is_core).to_string());
        self.aggregated[usize::from(!is_core)].get_or_init(made)
    }
}

/// Upper-case hex, as upstream's hashes look.
pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Answers a path that is no resource and no health. A kind that was defined a moment ago through
/// another master is known here, too: a path that is not there is looked for again.
pub async fn run(server: &Server, call: &Call, path: &str) -> Result<Response, ApiError> {
    match look(server, call, path).await {
        Err(ApiError::NoSuchPath | ApiError::NoSuchPage)
            if path.starts_with("apis/") || path.starts_with("openapi/") =>
        {
            server.catch_up().await?;
            look(server, call, path).await
        }
        answer => answer,
    }
}

async fn look(server: &Server, call: &Call, path: &str) -> Result<Response, ApiError> {
    let parts: Vec<&str> = path.split('/').collect();
    let served = server.served();
    let (catalog, documents) = (&served.catalog, &served.documents);
    let value = match parts.as_slice() {
        [""] => groups::root(catalog),
        ["api"] if wants_aggregated(call)? => {
            return Ok(tagged(call, documents.aggregated(catalog, true)));
        }
        ["apis"] if wants_aggregated(call)? => {
            return Ok(tagged(call, documents.aggregated(catalog, false)));
        }
        ["api"] => groups::core_versions(documents.advertise),
        ["apis"] => groups::group_list(catalog),
        ["apis", group] => groups::group(catalog, group).ok_or(ApiError::NoSuchPage)?,
        ["api", version] => groups::resources(catalog, "", version).ok_or(ApiError::NoSuchPath)?,
        ["apis", group, version] => {
            groups::resources(catalog, group, version).ok_or_else(|| missing(catalog, group))?
        }
        ["openapi", ..] => return openapi::run(&documents.openapi, call, &parts[1..]).await,
        [".well-known", "openid-configuration"] => server.tokens.openid_configuration(),
        ["openid", "v1", "jwks"] => server.tokens.jwks(),
        ["api" | "apis", ..] => return Err(ApiError::NoSuchPath),
        _ => return Err(ApiError::NoSuchPage),
    };
    let output = content::negotiate(&call.headers, &call.query)?;
    Ok(respond::value(StatusCode::OK, output, &value))
}

/// What is not there: something in a group that is, or the whole group.
pub fn missing(catalog: &Catalog, group: &str) -> ApiError {
    if catalog.groups().iter().any(|(name, _)| *name == group) {
        ApiError::NoSuchPath
    } else {
        ApiError::NoSuchPage
    }
}

fn wants_aggregated(call: &Call) -> Result<bool, ApiError> {
    Ok(content::negotiate(&call.headers, &call.query)?.form == Form::AggregatedDiscovery)
}

fn tagged(call: &Call, document: &Tagged) -> Response {
    let etag = format!("\"{}\"", document.etag);
    let mut response = if call.header(IF_NONE_MATCH) == etag {
        respond::with_body(StatusCode::NOT_MODIFIED, AGGREGATED, Body::empty())
    } else {
        respond::bytes(StatusCode::OK, document.json.clone())
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, AGGREGATED);
    headers.insert(ETAG, HeaderValue::from_str(&etag).expect("hex is a header"));
    headers.insert(http::header::VARY, HeaderValue::from_static("Accept"));
    response
}
