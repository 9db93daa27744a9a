//! List: the objects of a resource at one revision, whole or page by page.
//!
//! The first page comes from memory. Later pages are of the same revision: from memory while nothing of
//! the resource has changed since, from the store's history after that.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD};
use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use master_api::go;
use master_api::status::ApiError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store_handle::{KeyRange, RangeRequest, Revision};

use super::options::{Freshness, ListOptions};
use super::selection::{self, Selection};
use super::{Target, get};
use crate::cacher::Snapshot;
use crate::cacher::entry::Entry;
use crate::call::{Call, Response};
use crate::content::{self, Form};
use crate::respond;
use crate::server::Server;
use crate::storage::store_key;
use crate::table::{self, Include};

/// Keys read from history at a time when a selector may drop some.
const CHUNK: i64 = 500;

/// What is between two objects, about, and how much of it is allocated at once.
const BETWEEN_BYTES: usize = 56;
const BETWEEN_BYTES_MAX: usize = 64 << 10;

const TOKEN_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// As Go reads tokens: bits that are left over do not matter.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// Where a list goes on; opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    /// The revision of all pages; -1: whatever is there now.
    rv: Revision,
    /// The last key of the page before.
    after: String,
}

impl Token {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("a token is JSON"))
    }

    fn decode(text: &str) -> Result<Self, ApiError> {
        let bytes = LENIENT.decode(text.trim_end_matches('=')).unwrap_or_default();
        serde_json::from_slice(&bytes).map_err(|error| {
            let problem = go::json_problem(&bytes).unwrap_or_else(|| error.to_string());
            ApiError::BadRequest(format!(
                "invalid continue token: continue key is not valid: {problem}"
            ))
        })
    }
}

/// One page.
#[derive(Debug)]
pub struct Page {
    snapshot: Snapshot,
    /// How many there are after it is known.
    counts: bool,
}

impl Page {
    /// What is on it.
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.snapshot.entries
    }
}

/// Answers with the list.
pub async fn run(server: &Server, call: &Call, target: &Target) -> Result<Response, ApiError> {
    match look(server, call, target).await? {
        Ok(page) => render(server, call, target, page),
        Err(token) => Ok(token_expired(&token)),
    }
}

/// The objects that a deletecollection is about: a page of them, if the client asks for one.
pub async fn matching(server: &Server, call: &Call, target: &Target) -> Result<Page, ApiError> {
    look(server, call, target).await?.map_err(|_| ApiError::Expired(TOKEN_EXPIRED.into()))
}

/// What the call asks for, or the token that is too old.
async fn look(
    server: &Server,
    call: &Call,
    target: &Target,
) -> Result<Result<Page, Token>, ApiError> {
    let options = ListOptions::parse(&call.query, false)?;
    let selection = selection::of(call, target)?;
    let token = options.token.as_deref().map(Token::decode).transpose()?;
    if token.is_some() && options.names_version {
        let text = "specifying resource version is not allowed when using continue";
        return Err(ApiError::bad_request(text));
    }
    match (page(server, target, &selection, &options, token.as_ref()).await, token) {
        (Err(ApiError::Expired(_)), Some(token)) => Ok(Err(token)),
        (page, _) => page.map(Ok),
    }
}

async fn page(
    server: &Server,
    target: &Target,
    selection: &Selection,
    options: &ListOptions,
    token: Option<&Token>,
) -> Result<Page, ApiError> {
    let after = token.map(|token| token.after.as_str());
    let exact = match (token, options.freshness) {
        (Some(token), _) if token.rv > 0 => Some(token.rv),
        (None, Freshness::Exact(revision)) => Some(revision),
        _ => None,
    };
    let matcher = selection.matcher.as_deref();
    let counts = matcher.is_none();
    // As upstream: from whatever is there, all at once.
    let limit =
        if token.is_none() && options.freshness == Freshness::Any { 0 } else { options.limit };
    let now = || server.cacher.snapshot(&target.table, &selection.scope, matcher, after, limit);
    let Some(revision) = exact else {
        get::wait(server, if token.is_some() { Freshness::Latest } else { options.freshness })
            .await?;
        return Ok(Page { snapshot: now(), counts });
    };
    get::wait(server, Freshness::NotOlderThan(revision)).await?;
    let mut snapshot = now();
    if snapshot.changed_at <= revision {
        snapshot.revision = revision;
        return Ok(Page { snapshot, counts });
    }
    let snapshot = history(server, target, selection, options.limit, after, revision)?;
    Ok(Page { snapshot, counts })
}

/// The same from the store's history.
fn history(
    server: &Server,
    target: &Target,
    selection: &Selection,
    limit: usize,
    after: Option<&str>,
    revision: Revision,
) -> Result<Snapshot, ApiError> {
    let prefix = store_key(&target.table, "");
    let mut range =
        KeyRange::prefix(store_key(&target.table, selection.scope.prefix()).into_bytes());
    let from = |after: &str| Bytes::from(format!("{prefix}{after}\0"));
    if let Some(after) = after {
        range.start = from(after);
    }
    let mut entries: Vec<Arc<Entry>> = Vec::new();
    loop {
        let want = if limit > 0 && selection.matcher.is_none() { limit as i64 } else { CHUNK };
        let request =
            RangeRequest { range: range.clone(), limit: want, revision, ..RangeRequest::default() };
        let reply = server.storage.history(&request).map_err(|error| match error {
            ApiError::Expired(_) => {
                ApiError::Expired("The resourceVersion for the provided list is too old.".into())
            }
            other => other,
        })?;
        let total = usize::try_from(reply.count).unwrap_or(0);
        let mut left = reply.kvs.len();
        for kv in &reply.kvs {
            let key = String::from_utf8_lossy(&kv.key[prefix.len()..]).into_owned();
            range.start = from(&key);
            left -= 1;
            let entry = Arc::new(Entry::new(key.into(), kv));
            let is_wanted = selection.scope.contains(&entry.key)
                && selection.matcher.as_ref().is_none_or(|matcher| matcher.matches(&entry));
            if is_wanted {
                entries.push(entry);
            }
            if limit > 0 && entries.len() == limit {
                let more = reply.more || left > 0;
                let remaining = total.saturating_sub(reply.kvs.len() - left);
                return Ok(Snapshot { revision, changed_at: revision, entries, more, remaining });
            }
        }
        if !reply.more {
            return Ok(Snapshot {
                revision,
                changed_at: revision,
                entries,
                more: false,
                remaining: 0,
            });
        }
    }
}

/// A page in the form that the client wants.
pub fn render(
    server: &Server,
    call: &Call,
    target: &Target,
    page: Page,
) -> Result<Response, ApiError> {
    let output = content::negotiate(&call.headers, &call.query)?;
    let Snapshot { revision, entries, more, remaining, .. } = page.snapshot;
    let entries: Vec<_> = entries.into_iter().map(|entry| target.shown(entry)).collect();
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    if more && let Some(last) = entries.last() {
        metadata["continue"] = Token { rv: revision, after: last.key.to_string() }.encode().into();
        if page.counts {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    let resource = &target.resource;
    let (kind, api_version) = match output.form {
        Form::Table => {
            let include = Include::of(&call.query)?;
            let objects: Vec<_> = entries.iter().map(|entry| entry.value_once()).collect();
            let objects = objects.iter().map(|object| &**object);
            let table = table::table(resource, objects, metadata, include, server.now(), true);
            return Ok(respond::value(StatusCode::OK, output, &table));
        }
        Form::PartialMetadata | Form::PartialMetadataList => {
            ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned())
        }
        Form::Object | Form::AggregatedDiscovery => (resource.list_kind(), resource.api_version()),
    };
    let is_partial = kind == "PartialObjectMetadataList";
    if !output.yaml && !output.pretty {
        let pieces = if is_partial {
            let item = |out: &mut Pieces, entry: &Arc<Entry>| out.push(entry.partial_json());
            pieces(&kind, &api_version, &metadata, &entries, item)
        } else {
            pieces(&kind, &api_version, &metadata, &entries, push_whole)
        };
        return Ok(respond::pieces(pieces));
    }
    let item = |entry: &Arc<Entry>| -> Value {
        let object = entry.value_once();
        if is_partial { table::partial(&object) } else { (*object).clone() }
    };
    let items: Vec<Value> = entries.iter().map(item).collect();
    let list =
        json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items });
    Ok(respond::value(StatusCode::OK, output, &list))
}

/// What a body is made of.
#[derive(Debug)]
pub struct Pieces {
    pieces: Vec<Bytes>,
    /// What is between the shared pieces, in one allocation for many.
    between: BytesMut,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if !self.between.is_empty() {
            self.pieces.push(self.between.split().freeze());
        }
        self.pieces.push(piece);
    }
}

/// An object as it is stored, with its resourceVersion.
pub fn push_whole(out: &mut Pieces, entry: &Arc<Entry>) {
    let rest = entry.write_head(&mut out.between);
    out.push(rest);
}

/// A list as the shared bytes of its objects with what goes between them.
pub fn pieces(
    kind: &str,
    api_version: &str,
    metadata: &Value,
    entries: &[Arc<Entry>],
    push: impl Fn(&mut Pieces, &Arc<Entry>),
) -> Vec<Bytes> {
    let head = format!(
        "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":["
    );
    let between = head.len() + (entries.len() * BETWEEN_BYTES).min(BETWEEN_BYTES_MAX);
    let mut out = Pieces {
        pieces: Vec::with_capacity(entries.len() * 2 + 1),
        between: BytesMut::with_capacity(between),
    };
    out.between.put_slice(head.as_bytes());
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.between.put_u8(b',');
        }
        push(&mut out, entry);
    }
    out.between.put_slice(b"]}");
    out.pieces.push(out.between.freeze());
    out.pieces
}

/// The history of the token's revision is gone; the client may go on, inconsistently, with a new token.
fn token_expired(token: &Token) -> Response {
    let error = ApiError::Expired(TOKEN_EXPIRED.into());
    let mut status = error.to_status();
    let anew = Token { rv: -1, after: token.after.clone() };
    status["metadata"]["continue"] = anew.encode().into();
    respond::bytes(StatusCode::GONE, status.to_string())
}
