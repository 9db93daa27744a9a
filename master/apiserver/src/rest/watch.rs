//! Watch: the changes of a resource as they happen, each flushed at once.
//!
//! # Invariants
//! - A watch that cannot go on without a gap is ended; a client that asks for history that is gone gets an
//!   ERROR event with 410.
//! - A bookmark with revision R comes after every event up to R.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::HeaderValue;
use master_api::status::ApiError;
use master_registry::Resource;
use serde_json::{Value, json};
use store_handle::{KeyRange, Revision, WatchItem, WatchRequest, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::options::{Freshness, ListOptions};
use super::selection::{self, Selection};
use super::{Target, get};
use crate::body::Body;
use crate::cacher::entry::Entry;
use crate::cacher::table::{Change, Kind, Notice, Start, Subscription, entry_frame, frame};
use crate::call::{Call, Response};
use crate::content::{self, Form, Output};
use crate::metrics::Gauge;
use crate::respond;
use crate::server::Server;
use crate::storage::{error::expired, store_key};
use crate::table::{self, Include};

/// Without a wish of the client's, a watch lasts between this and twice this.
const LASTS_S: u64 = 1_800;
/// How often a client that allows it is told how far it has seen.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before the end of a watch it is told for the last time.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Frames that wait for the connection; the watcher's own queue comes before it.
const FRAMES: usize = 64;
/// Several frames that are ready are sent as one up to this size.
const BATCH_BYTES: usize = 64 * 1024;

/// Where changes come from.
enum Source {
    /// This master's memory.
    Live(mpsc::Receiver<Notice>),
    /// The store's history, for a client that lies too far behind.
    History(Box<History>),
}

struct History {
    watcher: Watcher,
    prefix: usize,
    selection: Selection,
    ready: Vec<Notice>,
}

/// How changes are written down for one client.
struct Writer {
    output: Output,
    include: Include,
    target: Target,
    server: Arc<Server>,
    has_columns: bool,
}

/// One watch under way.
struct Stream {
    writer: Writer,
    source: Source,
    out: mpsc::Sender<Bytes>,
    allows_bookmarks: bool,
    ends_at: Instant,
}

/// Answers with the stream.
pub async fn run(server: &Arc<Server>, call: &Call, target: &Target) -> Result<Response, ApiError> {
    let options = ListOptions::parse(&call.query, true)?;
    let selection = selection::of(call, target)?;
    let output = content::negotiate_stream(&call.headers, &call.query)?;
    let include = Include::wanted(output.form, &call.query)?;
    let ahead = ahead(server, &options);
    let begun = match ahead {
        Some(_) => None,
        None => {
            match get::wait(server, wait_for(&options)).await {
                Err(error @ ApiError::VersionTooLarge { .. }) => return Ok(refused(&error)),
                outcome => outcome?,
            }
            match begin(server, target, &selection, &options) {
                Ok(begun) => Some(begun),
                Err(ApiError::Expired(_)) => return Ok(refused(&expired())),
                Err(error) => return Err(error),
            }
        }
    };
    let lasts = options.timeout_s.unwrap_or(LASTS_S + store_env::rng::draw() % LASTS_S);
    let ends_at = Instant::now() + Duration::from_secs(lasts.min(LASTS_S * 24));
    let writer = Writer {
        output,
        include,
        target: target.clone(),
        server: server.clone(),
        has_columns: false,
    };
    let allows_bookmarks = options.allows_bookmarks;
    let body = Body::live(FRAMES, move |out| async move {
        let server = writer.server.clone();
        let _counted = Gauge::up(&server.metrics.watches);
        let stop = server.draining.clone();
        let run = async {
            let begun = match begun {
                Some(begun) => begun,
                None => {
                    let revision = ahead.unwrap_or_default();
                    if !server.cacher.wait_for(revision, ends_at - Instant::now()).await {
                        return Ok(());
                    }
                    begin(&server, &writer.target, &selection, &options).map_err(|_| Ended)?
                }
            };
            let (first, source) = begun;
            let stream = Stream { writer, source, out, allows_bookmarks, ends_at };
            stream.run(first).await
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tokio::time::sleep_until(ends_at) => {}
            _ = run => {}
        }
    });
    Ok(stream_response(body))
}

fn stream_response(body: Body) -> Response {
    respond::with_body(StatusCode::OK, HeaderValue::from_static("application/json"), body)
}

/// History is gone, or has not come yet: a stream of one ERROR event.
fn refused(error: &ApiError) -> Response {
    let status = error.to_status().to_string();
    stream_response(Body::full(frame("ERROR", status.as_bytes())))
}

/// The revision that a watch is to begin after, if that has not come yet: its client hears nothing until then.
fn ahead(server: &Server, options: &ListOptions) -> Option<Revision> {
    let (Freshness::NotOlderThan(revision) | Freshness::Exact(revision)) = options.freshness else {
        return None;
    };
    let is_stream_of_changes = options.sends_initial != Some(true);
    (is_stream_of_changes && revision > server.cacher.revision()).then_some(revision)
}

/// A watch from a revision in the past needs no fresh state; from "now" it does.
fn wait_for(options: &ListOptions) -> Freshness {
    match options.freshness {
        Freshness::Exact(revision) => Freshness::NotOlderThan(revision),
        other => other,
    }
}

/// What is sent before changes.
#[derive(Default)]
struct First {
    initial: Vec<Arc<Entry>>,
    replay: Vec<Notice>,
    /// The revision that `initial` is of, if its end is to be marked.
    marks_end: Option<Revision>,
}

fn begin(
    server: &Arc<Server>,
    target: &Target,
    selection: &Selection,
    options: &ListOptions,
) -> Result<(First, Source), ApiError> {
    let start = match (options.sends_initial, options.freshness) {
        (Some(true), _) => Start::Now,
        (Some(false), Freshness::Latest | Freshness::Any) => Start::After(server.cacher.revision()),
        (None, Freshness::Latest | Freshness::Any) => Start::Now,
        (_, Freshness::NotOlderThan(revision) | Freshness::Exact(revision)) => {
            Start::After(revision)
        }
    };
    let (scope, matcher) = (selection.scope.clone(), selection.matcher.clone());
    match server.cacher.subscribe(&target.table, scope, matcher, start) {
        Ok(Subscription { initial, replay, revision, live }) => {
            let marks = options.sends_initial == Some(true) && options.allows_bookmarks;
            let first = First { initial, replay, marks_end: marks.then_some(revision) };
            Ok((first, Source::Live(live)))
        }
        Err(_) => {
            let Start::After(revision) = start else { return Err(expired()) };
            let prefix = store_key(&target.table, "");
            let range = store_key(&target.table, selection.scope.prefix());
            let request =
                WatchRequest { range: KeyRange::prefix(range.into_bytes()), start: revision + 1 };
            let watcher = server.storage.watch(request)?;
            let (prefix, selection, ready) = (prefix.len(), selection.clone(), Vec::new());
            let history = History { watcher, prefix, selection, ready };
            Ok((First::default(), Source::History(Box::new(history))))
        }
    }
}

/// The client has gone, or there is nothing more to say.
struct Ended;

impl Stream {
    async fn run(mut self, first: First) -> Result<(), Ended> {
        let mut batch = BytesMut::new();
        for entry in first.initial {
            batch.extend_from_slice(&self.writer.entry(Kind::Added, &entry, entry.revision));
            if batch.len() >= BATCH_BYTES {
                self.send(batch.split().freeze()).await?;
            }
        }
        if !batch.is_empty() {
            self.send(batch.freeze()).await?;
        }
        if let Some(revision) = first.marks_end {
            let frame = self.writer.bookmark(revision, true);
            self.send(frame).await?;
        }
        for notice in first.replay {
            let frame = self.writer.notice(&notice);
            self.send(frame).await?;
        }
        let next_bookmark = tokio::time::sleep(self.until_bookmark());
        let kind_ends = kind_ends(self.writer.server.clone(), self.writer.target.resource.clone());
        tokio::pin!(kind_ends, next_bookmark);
        loop {
            let noticed = tokio::select! {
                biased;
                notice = self.source.next() => Some(notice),
                () = &mut next_bookmark, if self.allows_bookmarks => None,
                // Last: what happened before the kind went is told first.
                () = &mut kind_ends => return Err(Ended),
            };
            match noticed {
                Some(Next::Notice(notice)) => {
                    let frames = self.batch(notice);
                    self.send(frames).await?;
                }
                Some(Next::Expired) => {
                    let status = expired().to_status().to_string();
                    self.send(frame("ERROR", status.as_bytes())).await?;
                    return Err(Ended);
                }
                Some(Next::End) => return Err(Ended),
                None => {
                    self.bookmark().await?;
                    next_bookmark.as_mut().reset(Instant::now() + self.until_bookmark());
                }
            }
        }
    }

    /// Once a minute, and once before the end, if there is as much time left.
    fn until_bookmark(&self) -> Duration {
        let until_end = self.ends_at.saturating_duration_since(Instant::now());
        match until_end.checked_sub(BOOKMARK_BEFORE_END) {
            Some(left) if !left.is_zero() => BOOKMARK_EVERY.min(left),
            _ => BOOKMARK_EVERY,
        }
    }

    /// This change and those that are ready too, in one piece.
    fn batch(&mut self, first: Notice) -> Bytes {
        let first = self.writer.notice(&first);
        let Some(second) = self.source.try_next() else { return first };
        let mut frames = first.to_vec();
        let mut next = Some(second);
        while let Some(notice) = next {
            frames.extend_from_slice(&self.writer.notice(&notice));
            next = if frames.len() < BATCH_BYTES { self.source.try_next() } else { None };
        }
        frames.into()
    }

    async fn bookmark(&mut self) -> Result<(), Ended> {
        let revision = match &mut self.source {
            // In this order: everything up to the revision is in the queue once it is shown.
            Source::Live(live) => {
                let revision = self.writer.server.cacher.revision();
                if live.is_empty() { revision } else { return Ok(()) }
            }
            Source::History(history) if history.ready.is_empty() => history.watcher.seen(),
            Source::History(_) => return Ok(()),
        };
        if revision == 0 {
            return Ok(());
        }
        let frame = self.writer.bookmark(revision, false);
        self.send(frame).await
    }

    async fn send(&mut self, frame: Bytes) -> Result<(), Ended> {
        self.out.send(frame).await.map_err(|_| Ended)
    }
}

/// Waits until a kind is no longer served, or defined otherwise; built-in kinds never end.
async fn kind_ends(server: Arc<Server>, resource: Arc<Resource>) {
    let Some(custom) = &resource.custom else { return std::future::pending().await };
    let mut changes = server.cacher.definition_changes();
    loop {
        changes.mark_unchanged();
        let served = server.served();
        let found = served.catalog.find(&resource.group, &resource.version, &resource.plural);
        let current = found.and_then(|resource| resource.custom.as_ref());
        if !current.is_some_and(|current| current.is_same_kind(custom)) {
            return;
        }
        drop(served);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

enum Next {
    Notice(Notice),
    Expired,
    End,
}

impl Source {
    async fn next(&mut self) -> Next {
        match self {
            Self::Live(live) => live.recv().await.map_or(Next::End, Next::Notice),
            Self::History(history) => history.next().await,
        }
    }

    fn try_next(&mut self) -> Option<Notice> {
        match self {
            Self::Live(live) => live.try_recv().ok(),
            Self::History(history) => history.ready.pop(),
        }
    }
}

impl History {
    async fn next(&mut self) -> Next {
        loop {
            if let Some(notice) = self.ready.pop() {
                return Next::Notice(notice);
            }
            match self.watcher.next().await {
                None => return Next::End,
                Some(WatchItem::Compacted { .. }) => return Next::Expired,
                Some(WatchItem::Progress { .. }) => {}
                Some(WatchItem::Events { revision, events }) => {
                    let scope = &self.selection.scope;
                    let matcher = self.selection.matcher.as_deref();
                    let notice = |event: &store_handle::Event| {
                        let key = std::str::from_utf8(&event.kv.key[self.prefix..]).ok()?;
                        let entry = |kv| Arc::new(Entry::new(key.into(), kv));
                        let new =
                            (event.kind == store_handle::EventKind::Put).then(|| entry(&event.kv));
                        let prev = event.prev.as_ref().map(entry);
                        if new.is_none() && prev.is_none() {
                            return None;
                        }
                        Notice::of(&Arc::new(Change::new(revision, prev, new)), scope, matcher)
                    };
                    self.ready = events.iter().rev().filter_map(notice).collect();
                }
            }
        }
    }
}

impl Writer {
    fn is_plain(&self, entry: &Entry) -> bool {
        let is_stored_form = self.target.resource.serves_as_stored(entry.revision);
        self.output.form == Form::Object && !self.output.yaml && is_stored_form
    }

    fn notice(&mut self, notice: &Notice) -> Bytes {
        if self.is_plain(notice.entry()) {
            return notice.frame();
        }
        let revision = match notice.kind {
            Kind::Added | Kind::Modified => notice.entry().revision,
            Kind::Deleted => notice.change.revision,
        };
        self.entry(notice.kind, notice.entry(), revision)
    }

    /// `revision` is the resourceVersion to send.
    fn entry(&mut self, kind: Kind, entry: &Entry, revision: Revision) -> Bytes {
        if self.is_plain(entry) {
            return entry_frame(kind, entry, revision);
        }
        let serves_as_stored = self.target.resource.serves_as_stored(entry.revision);
        let is_partial =
            matches!(self.output.form, Form::PartialMetadata | Form::PartialMetadataList);
        if is_partial && serves_as_stored {
            return frame(kind.name(), &entry.partial_json_at(revision));
        }
        let mut decoded: Value;
        let known = entry.value_once();
        let object: &Value = if kind == Kind::Deleted {
            decoded = (*known).clone();
            decoded["metadata"]["resourceVersion"] = revision.to_string().into();
            &decoded
        } else {
            &known
        };
        let converted;
        let object = if !serves_as_stored {
            let mut own = object.clone();
            self.target.resource.strategy.served_form(&mut own);
            converted = own;
            &converted
        } else {
            object
        };
        let shown = self.shaped(object);
        frame(kind.name(), shown.to_string().as_bytes())
    }

    fn shaped(&mut self, object: &Value) -> Value {
        match self.output.form {
            Form::Table => {
                let metadata = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
                let with_columns = !std::mem::replace(&mut self.has_columns, true);
                let (resource, now) = (&self.target.resource, self.server.now());
                table::table(resource, [object], metadata, self.include, now, with_columns)
            }
            Form::PartialMetadata | Form::PartialMetadataList => table::partial(object),
            Form::Object | Form::AggregatedDiscovery => object.clone(),
        }
    }

    fn bookmark(&mut self, revision: Revision, is_initial_end: bool) -> Bytes {
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if is_initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let resource = &self.target.resource;
        let mut object = json!({
            "kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata,
        });
        match self.output.form {
            Form::Table => {
                let metadata = object["metadata"].clone();
                let with_columns = !std::mem::replace(&mut self.has_columns, true);
                let no_rows = std::iter::empty();
                let (include, now) = (self.include, self.server.now());
                object = table::table(resource, no_rows, metadata, include, now, with_columns);
            }
            Form::PartialMetadata | Form::PartialMetadataList => object = table::partial(&object),
            Form::Object | Form::AggregatedDiscovery => {}
        }
        frame("BOOKMARK", object.to_string().as_bytes())
    }
}
