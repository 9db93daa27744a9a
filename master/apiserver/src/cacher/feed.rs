//! What fills the copy and keeps it up to date: one range, then the store's changes in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use store_env::task::TaskResult;
use store_handle::{
    Event, EventKind, KeyRange, RangeRequest, ReadError, Revision, WatchItem, WatchRequest, Watcher,
};
use tokio_util::sync::CancellationToken;

use super::entry::Entry;
use super::table::Table;
use super::{Cacher, DEFINITIONS, ROOT};

impl Cacher {
    /// Feeds the copy until `stop`; begins anew whenever the store's history does not reach back.
    pub async fn feed(self: Arc<Self>, stop: CancellationToken) -> TaskResult {
        loop {
            let filled = self.fill()?;
            let request =
                WatchRequest { range: KeyRange::prefix(ROOT.as_bytes()), start: filled + 1 };
            let watcher = match self.handle.watch(request) {
                Ok(watcher) => watcher,
                Err(ReadError::Refused(error)) => {
                    tracing::warn!(%error, "cache begins anew");
                    continue;
                }
                Err(error @ (ReadError::NoQuorum { .. } | ReadError::Unreadable { .. })) => {
                    return Err(error.into());
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.follow(watcher) => {}
            }
            if stop.is_cancelled() {
                return Ok(());
            }
            tracing::info!("the store ended the cache's watch: it begins anew");
            // Whoever waits for the store to come back must not starve the others meanwhile.
            tokio::task::yield_now().await;
        }
    }

    /// Reads everything at one revision. All watchers end: they list and watch again.
    fn fill(&self) -> Result<Revision, ReadError> {
        let range = KeyRange::prefix(ROOT.as_bytes());
        let reply = self.handle.range(&RangeRequest { range, ..RangeRequest::default() })?;
        let revision = reply.revision;
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        for kv in &reply.kvs {
            let Some((name, key)) = split(&kv.key) else { continue };
            if !tables.contains_key(name) {
                tables.insert(name.to_owned(), Table::starting(revision));
            }
            let table = tables.get_mut(name).expect("it was put there");
            table.fill(Arc::new(Entry::new(key.into(), kv)));
        }
        let tables = tables.into_iter().map(|(name, table)| (name, Arc::new(RwLock::new(table))));
        {
            let mut current = self.tables.write();
            *self.filled_at.write() = revision;
            *current = tables.collect();
        }
        self.note_change("rbac.authorization.k8s.io/");
        self.note_change(DEFINITIONS);
        self.revision.send_replace(revision);
        tracing::info!(revision, objects = reply.kvs.len(), "cache filled");
        Ok(revision)
    }

    async fn follow(&self, mut watcher: Watcher) {
        while let Some(item) = watcher.next().await {
            let revision = match item {
                WatchItem::Events { revision, events } => {
                    self.apply(revision, &events);
                    revision
                }
                WatchItem::Progress { revision } => revision,
                WatchItem::Compacted { oldest } => {
                    tracing::warn!(oldest, "cache fell behind the store's history");
                    return;
                }
            };
            self.revision.send_if_modified(|at| {
                let moved = revision > *at;
                *at = revision.max(*at);
                moved
            });
        }
    }

    /// All changes of one revision; those of one table appear together.
    fn apply(&self, revision: Revision, events: &[Event]) {
        let mut rest = events;
        while let Some(first) = rest.first() {
            let Some((name, _)) = split(&first.kv.key) else {
                rest = &rest[1..];
                continue;
            };
            let same =
                |event: &&Event| split(&event.kv.key).is_some_and(|(other, _)| other == name);
            let count = rest.iter().take_while(same).count();
            let table = self.table_or_new(name);
            let mut table = table.write();
            for event in &rest[..count] {
                let (_, key) = split(&event.kv.key).expect("checked above");
                let new = match event.kind {
                    EventKind::Put => Some(Arc::new(Entry::new(key.into(), &event.kv))),
                    EventKind::Delete => None,
                };
                table.apply(revision, key, new);
            }
            drop(table);
            self.note_change(name);
            rest = &rest[count..];
        }
    }
}

/// `/registry/core/pods/default/web` → (`core/pods`, `default/web`).
fn split(key: &[u8]) -> Option<(&str, &str)> {
    let path = std::str::from_utf8(key).ok()?.strip_prefix(ROOT)?;
    let group_end = path.find('/')?;
    let table_end = group_end + 1 + path[group_end + 1..].find('/')?;
    let key = &path[table_end + 1..];
    // Addresses and ports that services have claimed are no objects.
    (!key.is_empty() && !path.starts_with("ranges/")).then_some((&path[..table_end], key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_split_into_table_and_key() {
        let check = |key: &str, expected| assert_eq!(split(key.as_bytes()), expected, "{key}");
        check("/registry/core/pods/default/web", Some(("core/pods", "default/web")));
        check("/registry/apps/deployments/a/b", Some(("apps/deployments", "a/b")));
        check("/registry/core/nodes/n", Some(("core/nodes", "n")));
        check("/registry/core/nodes/", None);
        check("/registry/core", None);
        check("/claims/x/y/z", None);
        check("/registry/ranges/serviceips/10.96.0.1", None);
    }
}
