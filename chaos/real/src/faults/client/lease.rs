//! Holds a lease with one key: renews it for a while, and then lets it go, or revokes it.

use chaos::history::{Lease, Outcome};
use etcd_client::{Client, Error, PutOptions};
use rand::Rng as _;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, Seat, outcome};

pub(super) async fn run(mut seat: Seat, stop: CancellationToken) {
    while seat.pause(10..400, &stop).await {
        if hold(&mut seat, &stop).await.is_none() {
            seat.move_on();
        }
    }
}

/// One lease, from its grant to its last renewal.
async fn hold(seat: &mut Seat, stop: &CancellationToken) -> Option<()> {
    let mut client = seat.connection().await?;
    let wanted_s = seat.rng.random_range(2..=4);
    let renewed_us = seat.record.now_us();
    let granted = tokio::time::timeout(PATIENCE, client.lease_grant(wanted_s, None)).await;
    let granted = granted.ok()?.ok()?;
    let (id, ttl_ms) = (granted.id(), granted.ttl().unsigned_abs() * 1_000);
    let key = format!("lease/{id}");
    seat.record.count("leases");
    let lease =
        Lease { id, key: key.clone(), ttl_ms, renewed_us, is_revoked: false, is_put: false };
    let at = seat.record.lease(lease);
    let put = outcome(put_held(&mut client, &key, id), PATIENCE).await;
    let is_put = matches!(put, Outcome::Wrote { .. });
    seat.record.on_lease(at, |lease| lease.is_put = is_put);
    for _ in 0..seat.rng.random_range(0..5) {
        if !seat.pause(ttl_ms / 4..ttl_ms / 3, stop).await {
            return Some(());
        }
        let renewed_us = seat.record.now_us();
        let kept = tokio::time::timeout(PATIENCE, keep_alive(&mut client, id)).await;
        if kept.ok()?.ok()? > 0 {
            seat.record.on_lease(at, |lease| lease.renewed_us = renewed_us);
            seat.record.count("leases renewed");
        }
    }
    if seat.rng.random_bool(0.2) {
        seat.record.on_lease(at, |lease| lease.is_revoked = true);
        tokio::time::timeout(PATIENCE, client.lease_revoke(id)).await.ok()?.ok()?;
    }
    Some(())
}

async fn put_held(client: &mut Client, key: &str, id: i64) -> Result<Outcome, Error> {
    let reply = client.put(key, "held", Some(PutOptions::new().with_lease(id))).await?;
    Ok(Outcome::Wrote { revision: reply.header().map_or(0, |header| header.revision()) })
}

/// The time that it lives on; 0 if it has ended.
async fn keep_alive(client: &mut Client, id: i64) -> Result<i64, Error> {
    let (mut keeper, mut answers) = client.lease_keep_alive(id).await?;
    keeper.keep_alive().await?;
    Ok(answers.message().await?.map_or(0, |answer| answer.ttl()))
}
