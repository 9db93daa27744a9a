//! Reads: which keys, as of when, in what order, and how many of them.
//!
//! # Invariants
//! - `count` counts the keys of the range, before filters and limit, as etcd does.

use bytes::Bytes;

use crate::keyspace::Keyspace;
use crate::types::{Error, KeyValue, RangeReply, RangeRequest, Revision, SortBy};

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

/// Answers `request`.
pub(crate) fn read(
    keys: &Keyspace,
    span: Span,
    request: &RangeRequest,
) -> Result<RangeReply, Error> {
    if request.range.start.is_empty() {
        return Err(Error::EmptyKey);
    }
    let at = span.resolve(request.revision)?;
    let live = keys.live(&request.range, at);
    let mut reply = RangeReply { revision: span.latest, ..RangeReply::default() };
    if request.count_only {
        reply.count = as_count(live.count());
        return Ok(reply);
    }
    let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
    // Without a sort, what is beyond the limit need not be looked at, only counted.
    let sorted = request.sort_by != SortBy::Key || request.descending;
    let take = limit.filter(|_| !sorted).map_or(usize::MAX, |limit| limit + 1);
    for (key, version) in live {
        reply.count += 1;
        if reply.kvs.len() < take && passes(request, version.create_revision, version.mod_revision)
        {
            reply.kvs.push(version.to_key_value(key));
        }
    }
    if sorted {
        sort(&mut reply.kvs, request);
    }
    if let Some(limit) = limit
        && reply.kvs.len() > limit
    {
        reply.kvs.truncate(limit);
        reply.more = true;
    }
    if request.keys_only {
        reply.kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    Ok(reply)
}

fn passes(request: &RangeRequest, create: Revision, modify: Revision) -> bool {
    let within = |value, min, max| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(modify, request.min_mod_revision, request.max_mod_revision)
        && within(create, request.min_create_revision, request.max_create_revision)
}

/// Keys that are equal in what they are sorted by stay in the order of their names.
fn sort(kvs: &mut [KeyValue], request: &RangeRequest) {
    let ascending = |a: &KeyValue, b: &KeyValue| match request.sort_by {
        SortBy::Key => a.key.cmp(&b.key),
        SortBy::Version => a.version.cmp(&b.version),
        SortBy::CreateRevision => a.create_revision.cmp(&b.create_revision),
        SortBy::ModRevision => a.mod_revision.cmp(&b.mod_revision),
        SortBy::Value => a.value.cmp(&b.value),
    };
    if request.descending {
        kvs.sort_by(|a, b| ascending(b, a));
    } else {
        kvs.sort_by(ascending);
    }
}

fn as_count(count: usize) -> i64 {
    i64::try_from(count).expect("fewer keys than i64 counts fit in memory")
}
