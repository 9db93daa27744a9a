//! Leases for objects that expire: one for all objects that expire in the same minute.
//!
//! A lease per event would double the store's work. The lease's number says its minute, so every master
//! uses the same one without asking the others.

use std::sync::atomic::{AtomicI64, Ordering};

use store_env::clock::SharedClock;
use store_handle::{Command, Error, Handle, LeaseId, ProposeError};

/// Leases of this module have this in their upper half: "evt".
const FAMILY: i64 = 0x0065_7674 << 32;

/// The leases of this master's recent past.
#[derive(Debug)]
pub(super) struct Leases {
    clock: SharedClock,
    /// The last lease that is known to exist.
    known: AtomicI64,
}

impl Leases {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, known: AtomicI64::new(0) }
    }

    /// A lease that ends between `ttl_s` and a minute later. `renew`: the known one was refused.
    pub(super) async fn lease(
        &self,
        handle: &dyn Handle,
        ttl_s: i64,
        renew: bool,
    ) -> Result<LeaseId, ProposeError> {
        let (id, granted_ttl_s) = bucket(self.clock.unix_ms(), ttl_s);
        if !renew && self.known.load(Ordering::Relaxed) == id {
            return Ok(id);
        }
        let grant = Command::LeaseGrant { id, ttl_s: granted_ttl_s };
        match handle.propose(grant, None).await {
            Ok(_) | Err(ProposeError::Refused(Error::LeaseExists { .. })) => {}
            Err(error) => return Err(error),
        }
        self.known.store(id, Ordering::Relaxed);
        Ok(id)
    }
}

/// The lease for what is to live `ttl_s` from now, and its own time to live.
fn bucket(now_ms: u64, ttl_s: i64) -> (LeaseId, i64) {
    let now_s = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX / 2);
    let minute = (now_s + ttl_s).div_euclid(60) + 1;
    (FAMILY | (minute & 0xffff_ffff), minute * 60 - now_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_minute_share_a_lease_that_outlives_each() {
        let (first, ttl) = bucket(6_000_000, 3600);
        assert_eq!(ttl, 3660);
        let (second, ttl) = bucket(6_059_000, 3600);
        assert_eq!((second, ttl), (first, 3601));
        let (third, _) = bucket(6_060_000, 3600);
        assert_eq!(third, first + 1);
    }
}
