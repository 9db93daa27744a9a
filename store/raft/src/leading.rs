//! Who leads, as the rest of the house sees it: stricter than Raft's own state.
//!
//! # Invariants
//! - `leads` is said only after the first entry of the term is applied here, and only while a quorum's
//!   last acknowledgement is younger than the lease: a leader cut off from the others says so by itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant, ServerState};
use store_env::task::TaskResult;
use store_handle::{Leadership, MemberId, Term};
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::replica::Progress;
use crate::types::Metrics;

/// Keeps `core.leadership` up to date, until told to stop; fails when Raft has failed.
pub(crate) async fn run(core: Arc<Core>, stop: CancellationToken) -> TaskResult {
    let mut metrics = core.raft.metrics();
    let mut progress = core.replica.progress();
    // Nothing changes when a quorum falls silent: time has to be looked at.
    let look = Duration::from_millis(core.config.heartbeat_ms);
    let lease = Duration::from_millis(core.config.election_max_ms);
    let mut known = None;
    loop {
        let now = metrics.borrow_watched().clone();
        let applied = *progress.borrow_and_update();
        if known.as_ref() != Some(&now.membership_config) {
            for (id, node) in now.membership_config.membership().nodes() {
                core.peers.learn(*id, node);
            }
            known = Some(now.membership_config.clone());
        }
        publish(&core, judge(core.id(), &now, applied, lease));
        if let Err(error) = now.running_state {
            publish(&core, Leadership::default());
            return Err(error.into());
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            changed = metrics.changed() => if changed.is_err() { break },
            changed = progress.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(look) => {}
        }
    }
    // Copied out first: publishing while the last value is borrowed would wait for itself.
    let last = *core.leadership.borrow();
    publish(&core, Leadership { leads: false, ..last });
    Ok(())
}

fn publish(core: &Core, now: Leadership) {
    core.leadership.send_if_modified(|last| {
        if *last == now {
            return false;
        }
        tracing::info!(term = now.term.0, leader = ?now.leader, leads = now.leads, "leadership");
        *last = now;
        true
    });
}

fn judge(me: MemberId, metrics: &Metrics, applied: Progress, lease: Duration) -> Leadership {
    let term = metrics.current_term;
    let voters: BTreeSet<MemberId> = metrics.membership_config.voter_ids().collect();
    let is_alone = voters.len() == 1 && voters.contains(&me);
    let acked = metrics.last_quorum_acked;
    let is_fresh = is_alone || acked.is_some_and(|at| at.elapsed() < lease);
    let leads = metrics.state == ServerState::Leader && applied.term == term && is_fresh;
    Leadership { term: Term(term), leader: metrics.current_leader, leads }
}
