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
///
/// Raft's figures change several times an entry. They are looked at when the part of them changes that
/// matters, and each time only while a new leader has not yet settled.
pub(crate) async fn run(core: Arc<Core>, stop: CancellationToken) -> TaskResult {
    let mut metrics = core.raft.metrics();
    let mut server = core.raft.server_metrics();
    let mut progress = core.replica.progress();
    // Nothing changes when a quorum falls silent: time has to be looked at.
    let look = Duration::from_millis(core.config.heartbeat_ms);
    let lease = Duration::from_millis(core.config.election_max_ms);
    let mut known = None;
    // All figures are published a moment after the part of them that says who leads.
    let mut is_news = true;
    // Raft that fails closes this one first, and says why in its figures.
    let mut is_running = true;
    loop {
        let now = metrics.borrow_and_update().clone();
        let applied = *progress.borrow_and_update();
        if known.as_ref() != Some(&now.membership_config) {
            for (id, node) in now.membership_config.membership().nodes() {
                core.peers.learn(*id, node);
            }
            known = Some(now.membership_config.clone());
        }
        let leadership = judge(core.id(), &now, applied, lease);
        publish(&core, leadership);
        if let Err(error) = now.running_state {
            publish(&core, Leadership::default());
            return Err(error.into());
        }
        let is_settled = leadership.leads || now.state != ServerState::Leader;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            changed = server.changed(), if is_running => {
                is_running = changed.is_ok();
                is_news = true;
            }
            changed = metrics.changed(), if is_news || !is_settled || !is_running => {
                if changed.is_err() { break }
                is_news = false;
            }
            changed = progress.changed(), if !is_settled => if changed.is_err() { break },
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
