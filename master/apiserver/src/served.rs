//! What this master serves at the moment: the built-in kinds, and those that users have defined.
//!
//! Follows the definitions in this master's own copy of all objects: whoever has seen a definition there
//! finds its kind here, without waiting and without anybody polling.
//!
//! # Invariants
//! - A catalog is never older than the definitions that its reader has seen.
//! - A kind whose definition did not change is the same value in every catalog: streams go on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use master_registry::Resource;
use master_registry::custom::{self, Kind, version};
use master_registry::openapi::OpenApi;
use parking_lot::Mutex;
use serde_json::Value;

use crate::cacher::entry::Entry;
use crate::cacher::table::Scope;
use crate::cacher::{Cacher, DEFINITIONS, table_name};
use crate::catalog::Catalog;
use crate::discovery::Documents;

/// A catalog with its documents.
#[derive(Debug)]
pub struct Current {
    /// How many changes of definitions it reflects.
    changes: u64,
    pub catalog: Catalog,
    pub documents: Documents,
}

/// The catalog, made anew when a definition has changed and somebody asks.
#[derive(Debug)]
pub struct Served {
    cacher: Arc<Cacher>,
    advertise: SocketAddr,
    builtin: Vec<Arc<Resource>>,
    current: ArcSwapOption<Current>,
    compiled: Mutex<BTreeMap<String, Compiled>>,
}

/// What came of one version of a definition.
#[derive(Debug)]
struct Compiled {
    revision: i64,
    definition: Arc<Value>,
    kinds: Vec<Arc<Kind>>,
    resources: Vec<Arc<Resource>>,
}

impl Served {
    /// Nothing is made yet.
    pub fn new(cacher: Arc<Cacher>, advertise: SocketAddr) -> Self {
        Self {
            cacher,
            advertise,
            builtin: master_registry::builtin(),
            current: ArcSwapOption::empty(),
            compiled: Mutex::default(),
        }
    }

    /// The catalog as of now.
    pub fn current(&self) -> Arc<Current> {
        let changes = self.cacher.definition_changes_seen();
        match &*self.current.load() {
            Some(current) if current.changes >= changes => current.clone(),
            _ => self.rebuild(),
        }
    }

    fn rebuild(&self) -> Arc<Current> {
        let mut compiled = self.compiled.lock();
        // Read first: what changes meanwhile is in the next catalog for certain.
        let changes = self.cacher.definition_changes_seen();
        let before = self.current.load_full();
        if let Some(current) = before.as_ref().filter(|current| current.changes >= changes) {
            return current.clone();
        }
        let definitions = self.cacher.snapshot(DEFINITIONS, &Scope::all(), None, None, 0).entries;
        self.forget_removed(&mut compiled, &definitions);
        let mut own: Vec<Arc<Resource>> = Vec::new();
        for entry in &definitions {
            let made = match compiled.remove(entry.name()) {
                Some(made) if made.revision == entry.revision => made,
                made => Compiled::of(entry, made),
            };
            own.extend(made.resources.iter().cloned());
            compiled.insert(entry.name().to_owned(), made);
        }
        let is_builtin = |resource: &Resource| {
            self.builtin
                .iter()
                .any(|known| known.group == resource.group && known.version == resource.version)
        };
        own.retain(|resource| !is_builtin(resource));
        own.sort_by(|left, right| {
            left.group
                .cmp(&right.group)
                .then_with(|| version::compare(&left.version, &right.version))
                .then_with(|| left.plural.cmp(&right.plural))
        });
        let before = before.as_ref().map(|current| current.documents.openapi());
        let openapi = OpenApi::with_custom(&self.builtin, &own, before);
        let current = Arc::new(Current {
            changes,
            catalog: Catalog::new(self.builtin.iter().cloned().chain(own).collect()),
            documents: Documents::new(openapi, self.advertise),
        });
        self.current.store(Some(current.clone()));
        current
    }

    /// Kinds that are gone leave no history behind.
    fn forget_removed(&self, compiled: &mut BTreeMap<String, Compiled>, there: &[Arc<Entry>]) {
        compiled.retain(|name, made| {
            let stays = there.iter().any(|entry| entry.name() == name);
            if !stays && let Some(kind) = made.kinds.first() {
                self.cacher.forget_history(&table_name(&kind.group, &kind.plural));
            }
            stays
        });
    }
}

impl Compiled {
    fn of(entry: &Entry, before: Option<Self>) -> Self {
        let definition = entry.value().clone();
        let kinds = match before {
            _ if !custom::is_established(&definition) => Vec::new(),
            Some(before)
                if !before.kinds.is_empty()
                    && custom::is_unchanged(&before.definition, &definition) =>
            {
                before.kinds
            }
            _ => custom::compile(&definition, entry.revision),
        };
        let resource = |kind| Arc::new(custom::resource(kind, &definition, entry.revision));
        let resources = kinds.iter().map(resource).collect();
        Self { revision: entry.revision, definition, kinds, resources }
    }
}
