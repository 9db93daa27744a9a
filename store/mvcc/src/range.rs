//! Reads: which keys, as of when, in what order, and how many of them.
//!
//! A read has two parts, so that no disk is waited for while the state is held: [`read`] finds what is in
//! memory and where the rest is, [`Found::fetch`] brings the rest.
//!
//! # Invariants
//! - `count` counts the keys of the range, before filters and limit, as etcd does.
//! - Only what is asked for is fetched: not the values of keys that a limit cuts off.

use bytes::Bytes;

use crate::keyspace::Keyspace;
use crate::types::{Error, KeyValue, RangeReply, RangeRequest, Revision, SortBy};
use crate::versions::{self, Position, Unreadable, Versions};

/// Where history stands at the time of a read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) latest: Revision,
    pub(crate) compacted: Revision,
}

impl Span {
    /// The revision that a read asking for `asked` is answered at.
    pub(crate) fn resolve(self, asked: Revision) -> Result<Revision, Error> {
        match asked {
            ..=0 => Ok(self.latest),
            _ if asked > self.latest => Err(Error::FutureRevision { asked, latest: self.latest }),
            _ if asked < self.compacted => Err(Error::Compacted { asked, oldest: self.compacted }),
            _ => Ok(asked),
        }
    }
}

/// What a read found in memory.
#[derive(Debug)]
pub struct Found {
    request: RangeRequest,
    /// The store's revision.
    revision: Revision,
    count: i64,
    /// Each with where the rest of it is, if it is not complete.
    kvs: Vec<(KeyValue, Option<Position>)>,
}

/// Finds the keys that `request` asks for.
pub(crate) fn read(keys: &Keyspace, span: Span, request: &RangeRequest) -> Result<Found, Error> {
    if request.range.start.is_empty() {
        return Err(Error::EmptyKey);
    }
    let at = span.resolve(request.revision)?;
    let live = keys.live(&request.range, at);
    let mut found =
        Found { request: request.clone(), revision: span.latest, count: 0, kvs: Vec::new() };
    if request.count_only {
        found.count = as_count(live.count());
        return Ok(found);
    }
    // Without a sort, what is beyond the limit need not be looked at, only counted.
    let take = match limit(request) {
        Some(limit) if !is_sorted(request) && !needs_all_first(request) => limit + 1,
        _ => usize::MAX,
    };
    for (key, seen) in live {
        found.count += 1;
        if found.kvs.len() < take {
            let is_single = request.range.is_single();
            let key =
                if is_single { request.range.start.clone() } else { Bytes::copy_from_slice(key) };
            let (kv, absent) = keys.to_key_value(seen, key);
            // What is not known yet is looked at once it is.
            if absent.is_some() && needs_all_first(request) || passes(request, &kv) {
                found.kvs.push((kv, absent));
            }
        }
    }
    Ok(found)
}

impl Found {
    /// Whether nothing has to be fetched.
    pub fn is_complete(&self) -> bool {
        self.kvs.iter().all(|(_, absent)| absent.is_none())
    }

    /// Brings what is not in memory; the answer.
    pub fn fetch(self, versions: &dyn Versions) -> Result<RangeReply, Unreadable> {
        let Self { request, revision, count, mut kvs } = self;
        if needs_all_first(&request) {
            fetch(&mut kvs, versions)?;
            kvs.retain(|(kv, _)| passes(&request, kv));
        }
        if is_sorted(&request) {
            sort(&mut kvs, &request);
        }
        let more = limit(&request).is_some_and(|limit| kvs.len() > limit);
        if let Some(limit) = limit(&request) {
            kvs.truncate(limit);
        }
        // The version and lease of an older version are in its record too.
        if !request.keys_only || request.revision > 0 {
            fetch(&mut kvs, versions)?;
        }
        let mut kvs: Vec<_> = kvs.into_iter().map(|(kv, _)| kv).collect();
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeReply { revision, kvs, more, count })
    }
}

fn fetch(
    kvs: &mut [(KeyValue, Option<Position>)],
    versions: &dyn Versions,
) -> Result<(), Unreadable> {
    for (kv, absent) in kvs {
        if let Some(at) = absent.take() {
            *kv = versions::read_of(versions, &kv.key, at)?;
        }
    }
    Ok(())
}

fn limit(request: &RangeRequest) -> Option<usize> {
    usize::try_from(request.limit).ok().filter(|limit| *limit > 0)
}

fn is_sorted(request: &RangeRequest) -> bool {
    request.sort_by != SortBy::Key || request.descending
}

/// Whether the order or the filters look at what may not be in memory: values, and what older versions
/// say beside their revision.
fn needs_all_first(request: &RangeRequest) -> bool {
    let asks_for_creation = request.min_create_revision != 0 || request.max_create_revision != 0;
    match request.sort_by {
        SortBy::Value => true,
        SortBy::Version | SortBy::CreateRevision => request.revision > 0,
        SortBy::Key | SortBy::ModRevision => asks_for_creation && request.revision > 0,
    }
}

fn passes(request: &RangeRequest, kv: &KeyValue) -> bool {
    let within = |value, min, max| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

/// Keys that are equal in what they are sorted by stay in the order of their names.
fn sort(kvs: &mut [(KeyValue, Option<Position>)], request: &RangeRequest) {
    let ascending = |a: &KeyValue, b: &KeyValue| match request.sort_by {
        SortBy::Key => a.key.cmp(&b.key),
        SortBy::Version => a.version.cmp(&b.version),
        SortBy::CreateRevision => a.create_revision.cmp(&b.create_revision),
        SortBy::ModRevision => a.mod_revision.cmp(&b.mod_revision),
        SortBy::Value => a.value.cmp(&b.value),
    };
    if request.descending {
        kvs.sort_by(|(a, _), (b, _)| ascending(b, a));
    } else {
        kvs.sort_by(|(a, _), (b, _)| ascending(a, b));
    }
}

fn as_count(count: usize) -> i64 {
    i64::try_from(count).expect("fewer keys than i64 counts fit in memory")
}
