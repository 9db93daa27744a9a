//! Clients that hold a lease with one key: renew it for a while, and then let it go, or revoke it.

use std::time::Duration;

use rand::Rng;
use store_env::task::TaskResult;
use store_handle::{Command, Op, PutRequest, Reply, Txn};
use tokio_util::sync::CancellationToken;

use super::{Seat, write};
use crate::history::{Lease, Outcome};
use crate::world::{now, now_us};

pub(crate) async fn run(mut seat: Seat, stop: CancellationToken) -> TaskResult {
    loop {
        let think = Duration::from_millis(seat.rng.random_range(10..400));
        if !seat.pause(think, &stop).await || !hold(&mut seat, &stop).await {
            return Ok(());
        }
    }
}

/// One lease, from its grant to its last renewal; returns whether to go on.
async fn hold(seat: &mut Seat, stop: &CancellationToken) -> bool {
    let ttl_s = seat.rng.random_range(1..=3);
    let id = i64::try_from(seat.world.lock().fresh_value()).unwrap_or(i64::MAX);
    let renewed_us = now_us();
    let granted = seat.handle.propose(Command::LeaseGrant { id, ttl_s }, None).await;
    if !matches!(granted, Ok(Reply::LeaseGranted { .. })) {
        return true;
    }
    let (key, ttl_ms) = (format!("lease/{id}"), ttl_s.unsigned_abs() * 1_000);
    let at = {
        let mut world = seat.world.lock();
        world.note(now(), format_args!("lease {id} of {ttl_s} s"));
        world.count("leases");
        let (key, is_revoked, is_put) = (key.clone(), false, false);
        world.history.leases.push(Lease { id, key, ttl_ms, renewed_us, is_revoked, is_put });
        world.history.leases.len() - 1
    };
    let put = PutRequest { key: key.into(), value: "held".into(), lease: id, ..Default::default() };
    let success = vec![Op::Put(put)];
    let put = write(&*seat.handle, Txn { success, ..Txn::default() }).await;
    seat.world.lock().history.leases[at].is_put = matches!(put, Outcome::Wrote { .. });
    for _ in 0..seat.rng.random_range(0..6) {
        if !seat.pause(Duration::from_millis(ttl_ms / 3), stop).await {
            return false;
        }
        let renewed_us = now_us();
        let answer = seat.handle.propose(Command::LeaseKeepAlive { id }, None).await;
        let mut world = seat.world.lock();
        world.note(now(), format_args!("lease {id} renewed: {answer:?}"));
        if let Ok(Reply::LeaseKeptAlive { ttl_s: 1.., .. }) = answer {
            world.history.leases[at].renewed_us = renewed_us;
            world.count("leases renewed");
        }
    }
    if seat.rng.random_bool(0.2) {
        seat.world.lock().history.leases[at].is_revoked = true;
        let revoked = seat.handle.propose(Command::LeaseRevoke { id }, None).await;
        seat.world.lock().note(now(), format_args!("lease {id} revoked: {revoked:?}"));
    }
    true
}
