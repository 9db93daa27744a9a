//! Quotas on a write's way: what it adds is charged in the very transaction that stores it.
//!
//! Writers of one namespace whose quotas are charged take turns on a master: in the log only the first of
//! those that judged from the same quota gets through, and the others would only try again.
//!
//! # Path
//! `rest/create.rs`, `rest/change.rs` → here → `storage::Storage::write`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use master_api::status::ApiError;
use master_auth::admission::{Request, resource_quota};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cacher::entry::encode;
use crate::cacher::{object_key, table_name};
use crate::server::Server;
use crate::storage::{Charged, store_key};

/// How long a writer waits until its own write shows in memory, before it lets the next one judge from it.
const SHOW_WITHIN: Duration = Duration::from_secs(1);

/// Whose turn it is, by namespace.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<BTreeMap<String, Arc<Semaphore>>>);

impl Turns {
    async fn take(&self, namespace: &str) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut all = self.0.lock();
            // Nobody has a turn or waits for one: forgotten.
            all.retain(|_, turns| Arc::strong_count(turns) > 1);
            let new = || Arc::new(Semaphore::new(1));
            all.entry(namespace.to_owned()).or_insert_with(new).clone()
        };
        turns.acquire_owned().await.ok()
    }
}

/// A write's turn; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Option<OwnedSemaphorePermit>);

impl Turn {
    /// Waits for it, if a quota is charged with what is written.
    pub(crate) async fn of(server: &Server, request: &Request<'_>, object: &Value) -> Self {
        if !resource_quota::is_charged(request, object) {
            return Self(None);
        }
        Self(server.quota_turns.take(request.namespace).await)
    }

    /// Ends it once the write shows in memory.
    pub(crate) async fn end(self, server: &Server, revision: i64) {
        if self.0.is_some() {
            server.cacher.wait_for(revision, SHOW_WITHIN).await;
        }
    }
}

/// What the quotas of the namespace are charged with, or their refusal.
pub(crate) fn charge(
    server: &Server,
    request: &Request<'_>,
    object: &Value,
) -> Result<Option<Charged>, ApiError> {
    if !resource_quota::may_charge(request) {
        return Ok(None);
    }
    // Read first: what is judged from is this old at most.
    let seen = server.cacher.revision();
    let table = table_name("", "resourcequotas");
    let charges = resource_quota::charges(request, object)?;
    let put = |charge: resource_quota::Charge| {
        let key = object_key(request.namespace, &charge.name);
        (store_key(&table, &key), encode(&charge.quota))
    };
    let puts = charges.into_iter().map(put).collect();
    Ok(Some(Charged { prefix: store_key(&table, &format!("{}/", request.namespace)), seen, puts }))
}
