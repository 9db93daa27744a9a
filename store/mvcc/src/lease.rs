//! Leases: keys that go when their holder stops renewing.
//!
//! Time is what the log says it is. A lease that is due lives on until a command of the log ends it,
//! so that all members see the same.
//!
//! # Invariants
//! - `due` holds exactly one entry for every lease.
//! - A lease's `keys` are those whose latest version carries its id.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::record::LeaseRecord;
use crate::types::{Error, LeaseId, LeaseInfo};

/// The longest time to live, as in etcd.
pub const TTL_S_MAX: i64 = 9_000_000_000;
/// Shorter ones are lengthened to this.
pub const TTL_S_MIN: i64 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Lease {
    ttl_s: i64,
    due_ms: u64,
    keys: BTreeSet<Bytes>,
}

/// All leases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lessor {
    leases: BTreeMap<LeaseId, Lease>,
    due: BTreeSet<(u64, LeaseId)>,
    /// The last id chosen here.
    pub(crate) last_id: LeaseId,
}

impl Lessor {
    pub(crate) fn exists(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// Starts a lease; `id` 0 lets the next free one be taken.
    pub(crate) fn grant(
        &mut self,
        id: LeaseId,
        ttl_s: i64,
        now_ms: u64,
    ) -> Result<(LeaseId, LeaseRecord), Error> {
        if ttl_s > TTL_S_MAX {
            return Err(Error::LeaseTtlOutOfBounds { ttl_s });
        }
        if self.exists(id) {
            return Err(Error::LeaseExists { id });
        }
        let id = if id == 0 { self.choose() } else { id };
        let ttl_s = ttl_s.max(TTL_S_MIN);
        let record = LeaseRecord { ttl_s, due_ms: due_ms(now_ms, ttl_s) };
        self.restore(id, &record);
        Ok((id, record))
    }

    /// Starts the lease's time again.
    pub(crate) fn renew(&mut self, id: LeaseId, now_ms: u64) -> Option<LeaseRecord> {
        let lease = self.leases.get_mut(&id)?;
        self.due.remove(&(lease.due_ms, id));
        lease.due_ms = due_ms(now_ms, lease.ttl_s);
        self.due.insert((lease.due_ms, id));
        Some(LeaseRecord { ttl_s: lease.ttl_s, due_ms: lease.due_ms })
    }

    /// Ends the lease; its keys are the caller's to delete.
    pub(crate) fn remove(&mut self, id: LeaseId) -> Option<BTreeSet<Bytes>> {
        let lease = self.leases.remove(&id)?;
        self.due.remove(&(lease.due_ms, id));
        Some(lease.keys)
    }

    /// Moves `key` from the lease it had to the one it has now; 0 and ended leases are none.
    pub(crate) fn attach(&mut self, key: &[u8], from: LeaseId, to: LeaseId) {
        if from == to {
            return;
        }
        if let Some(lease) = self.leases.get_mut(&from) {
            lease.keys.remove(key);
        }
        if let Some(lease) = self.leases.get_mut(&to) {
            // A copy: the key may be a slice of something larger, which must not stay for its sake.
            lease.keys.insert(Bytes::copy_from_slice(key));
        }
    }

    pub(crate) fn is_due(&self, id: LeaseId, now_ms: u64) -> bool {
        self.leases.get(&id).is_some_and(|lease| lease.due_ms <= now_ms)
    }

    /// Leases due at `now_ms`, the longest due first.
    pub(crate) fn due(&self, now_ms: u64) -> impl Iterator<Item = LeaseId> {
        self.due.iter().take_while(move |(due_ms, _)| *due_ms <= now_ms).map(|(_, id)| *id)
    }

    /// When the next lease is due.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = LeaseId> {
        self.leases.keys().copied()
    }

    pub(crate) fn info(&self, id: LeaseId, now_ms: u64) -> LeaseInfo {
        let Some(lease) = self.leases.get(&id) else {
            return LeaseInfo { id, remaining_ttl_s: -1, ..LeaseInfo::default() };
        };
        let remaining_s = lease.due_ms.saturating_sub(now_ms) / 1000;
        LeaseInfo {
            id,
            granted_ttl_s: lease.ttl_s,
            due_ms: lease.due_ms,
            remaining_ttl_s: i64::try_from(remaining_s).unwrap_or(i64::MAX),
            keys: lease.keys.iter().cloned().collect(),
        }
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = (LeaseId, LeaseRecord)> {
        self.leases
            .iter()
            .map(|(id, lease)| (*id, LeaseRecord { ttl_s: lease.ttl_s, due_ms: lease.due_ms }))
    }

    /// Takes back a lease that was stored, without keys.
    pub(crate) fn restore(&mut self, id: LeaseId, record: &LeaseRecord) {
        let &LeaseRecord { ttl_s, due_ms } = record;
        let replaced = self.leases.insert(id, Lease { ttl_s, due_ms, keys: BTreeSet::new() });
        assert!(replaced.is_none(), "a lease is granted once");
        self.due.insert((due_ms, id));
    }

    fn choose(&mut self) -> LeaseId {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.exists(self.last_id) {
                return self.last_id;
            }
        }
    }
}

fn due_ms(now_ms: u64, ttl_s: i64) -> u64 {
    let ttl_ms = u64::try_from(ttl_s).expect("at least TTL_S_MIN").saturating_mul(1000);
    now_ms.saturating_add(ttl_ms)
}
