//! This master's copy of every current object, fed in process by the store's own apply.
//!
//! Reads, watches, controllers and authorizers share it. It holds bytes as they are served; how far it
//! has come is a revision that readers can wait for.
//!
//! # Path
//! `store::Handle::watch` → here → `rest/get.rs`, `rest/list.rs`, `rest/watch.rs`
//!
//! # Invariants
//! - When [`Cacher::revision`] shows R, every change up to R is in its table and in its watchers' queues.

pub mod entry;
mod feed;
pub mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use master_api::access::Reader;
use parking_lot::RwLock;
use serde_json::Value;
use store_handle::{Handle, Revision};
use tokio::sync::watch;

use entry::Entry;
use table::{BeforeWindow, Matcher, Scope, Start, Subscription, Table};

/// Where objects are in the store.
pub const ROOT: &str = "/registry/";

/// The table of definitions of kinds.
pub const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// A table that readers share.
type SharedTable = Arc<RwLock<Table>>;

/// The copy, and how far it has come.
pub struct Cacher {
    handle: Arc<dyn Handle>,
    tables: RwLock<BTreeMap<String, SharedTable>>,
    revision: watch::Sender<Revision>,
    /// The revision the copy was filled at.
    filled_at: RwLock<Revision>,
    /// Moves with every change of roles and bindings.
    rbac_changes: Arc<AtomicU64>,
    /// Moves with every change of definitions of kinds.
    definition_changes: watch::Sender<u64>,
}

impl std::fmt::Debug for Cacher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cacher").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

/// Objects as of one revision.
#[derive(Debug)]
pub struct Snapshot {
    pub revision: Revision,
    /// When the resource last changed: the snapshot is that of every revision from here on.
    pub changed_at: Revision,
    pub entries: Vec<Arc<Entry>>,
    /// Whether the limit cut some off.
    pub more: bool,
    /// How many were left, when that is known.
    pub remaining: usize,
}

/// The table of a resource: `core/pods`, `apps/deployments`.
pub fn table_name(group: &str, resource: &str) -> String {
    format!("{}/{resource}", if group.is_empty() { "core" } else { group })
}

/// An object's key within its table.
pub fn object_key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

impl Cacher {
    /// An empty copy; [`Cacher::feed`] fills it.
    pub fn new(handle: Arc<dyn Handle>) -> Self {
        Self {
            handle,
            tables: RwLock::default(),
            revision: watch::Sender::new(0),
            filled_at: RwLock::new(0),
            rbac_changes: Arc::default(),
            definition_changes: watch::Sender::new(0),
        }
    }

    /// How far the copy has come; 0 until it has been filled.
    pub fn revision(&self) -> Revision {
        *self.revision.borrow()
    }

    /// Waits until the copy is at `revision`; false if it did not get there in time.
    pub async fn wait_for(&self, revision: Revision, time_max: Duration) -> bool {
        if self.revision() >= revision && self.revision() > 0 {
            return true;
        }
        let mut seen = self.revision.subscribe();
        let reached = seen.wait_for(|at| *at >= revision.max(1));
        tokio::time::timeout(time_max, reached).await.is_ok_and(|reached| reached.is_ok())
    }

    /// One object as of now.
    pub fn entry(&self, table: &str, key: &str) -> Option<Arc<Entry>> {
        self.table(table)?.read().get(key).cloned()
    }

    /// The objects in `scope` that match, as of now.
    pub fn snapshot(
        &self,
        table: &str,
        scope: &Scope,
        matcher: Option<&dyn Matcher>,
        after: Option<&str>,
        limit: usize,
    ) -> Snapshot {
        // Read first: the table may be ahead of it, never behind.
        let published = self.revision();
        let Some(table) = self.table(table) else {
            let (revision, changed_at) = (published, 0);
            return Snapshot {
                revision,
                changed_at,
                entries: Vec::new(),
                more: false,
                remaining: 0,
            };
        };
        let all = if limit == 0 { usize::MAX } else { limit };
        let Some(matcher) = matcher else {
            let table = table.read();
            let mut scan = table.scan(scope, after);
            let entries: Vec<_> = scan.by_ref().take(all).cloned().collect();
            let remaining = scan.count();
            let changed_at = table.applied();
            let revision = published.max(changed_at);
            return Snapshot { revision, changed_at, entries, more: remaining > 0, remaining };
        };
        // Matching may decode objects: not under the lock.
        let (changed_at, candidates) = {
            let table = table.read();
            (table.applied(), table.scan(scope, after).cloned().collect::<Vec<_>>())
        };
        let revision = published.max(changed_at);
        let mut matching = candidates.into_iter().filter(|entry| matcher.matches(entry));
        let entries: Vec<_> = matching.by_ref().take(all).collect();
        let more = limit > 0 && matching.next().is_some();
        Snapshot { revision, changed_at, entries, more, remaining: 0 }
    }

    /// Starts a watch of one table.
    pub fn subscribe(
        &self,
        table: &str,
        scope: Scope,
        matcher: Option<Arc<dyn Matcher>>,
        start: Start,
    ) -> Result<Subscription, BeforeWindow> {
        let published = self.revision();
        let mut subscription = self.table_or_new(table).write().subscribe(scope, matcher, start)?;
        subscription.revision = subscription.revision.max(published);
        Ok(subscription)
    }

    /// Objects and watchers of each table, for metrics.
    pub fn counts(&self) -> Vec<(String, usize, usize)> {
        let tables = self.tables.read();
        let count = |(name, table): (&String, &SharedTable)| {
            let table = table.read();
            (name.clone(), table.objects(), table.watchers())
        };
        tables.iter().map(count).collect()
    }

    /// A number that moves with every change of roles and bindings.
    pub fn rbac_changes(&self) -> Arc<AtomicU64> {
        self.rbac_changes.clone()
    }

    /// Tells of every change of definitions of kinds.
    pub fn definition_changes(&self) -> watch::Receiver<u64> {
        self.definition_changes.subscribe()
    }

    /// How many changes of definitions this copy has seen.
    pub fn definition_changes_seen(&self) -> u64 {
        *self.definition_changes.borrow()
    }

    /// Forgets a table's past: nobody can watch from there any more.
    pub fn forget_history(&self, table: &str) {
        if let Some(table) = self.table(table) {
            table.write().forget_history();
        }
    }

    fn note_change(&self, table: &str) {
        if table == DEFINITIONS {
            self.definition_changes.send_modify(|count| *count += 1);
        }
        if table.starts_with("rbac.authorization.k8s.io/") {
            self.rbac_changes.fetch_add(1, Ordering::Release);
        }
    }

    fn table(&self, name: &str) -> Option<SharedTable> {
        self.tables.read().get(name).cloned()
    }

    fn table_or_new(&self, name: &str) -> SharedTable {
        if let Some(table) = self.table(name) {
            return table;
        }
        let low = *self.filled_at.read();
        let mut tables = self.tables.write();
        let new = || Arc::new(RwLock::new(Table::starting(low)));
        tables.entry(name.to_owned()).or_insert_with(new).clone()
    }
}

impl Reader for Cacher {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let entry = self.entry(&table_name(group, resource), &object_key(namespace, name))?;
        Some(entry.value().clone())
    }

    fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let scope = namespace.map_or_else(Scope::all, Scope::namespace);
        let snapshot = self.snapshot(&table_name(group, resource), &scope, None, None, 0);
        snapshot.entries.iter().map(|entry| entry.value().clone()).collect()
    }
}
