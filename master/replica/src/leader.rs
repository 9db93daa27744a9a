//! Runs leader-only work exactly as long as this member leads the store's Raft group.
//!
//! There is no lease to win: leading *is* holding the Raft term.
//!
//! # Invariants
//! - All work of one term has ended here before work of the next begins.
//! - Every write of that work carries its term, and the state machine refuses any other: work that
//!   outlives its term can do no harm.

use std::time::Duration;

use store_env::task::{Group, GroupError};
use store_handle::{Leadership, Term};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Starts the group each time a term is won, and ends it each time one is lost.
///
/// Returns once stopped, or with the error of a task that gave up while its term lasted.
pub(crate) async fn run_while_leading(
    mut leadership: watch::Receiver<Leadership>,
    stop: &CancellationToken,
    grace: Duration,
    mut start: impl FnMut(Term, &CancellationToken) -> Group,
) -> Result<(), GroupError> {
    while let Some(Some(term)) = stop.run_until_cancelled(won(&mut leadership)).await {
        tracing::info!(term = term.0, "leading");
        let in_term = stop.child_token();
        let work = start(term, &in_term).run(grace);
        tokio::pin!(work);
        tokio::select! {
            biased;
            ended = &mut work => match ended {
                Ok(()) => return Ok(()),
                // A write refused because the term is over reaches a task before we hear of the loss.
                Err(error) if !still_leads(&leadership, term) => {
                    tracing::info!(term = term.0, %error, "work ended with its term");
                    continue;
                }
                Err(error) => return Err(error),
            },
            () = lost(&mut leadership, term) => in_term.cancel(),
        }
        tracing::info!(term = term.0, "no longer leading");
        if let Err(error) = work.await {
            tracing::warn!(term = term.0, %error, "work outlived its term; the fence holds");
        }
    }
    Ok(())
}

/// Waits until this member leads; `None` once the store is gone.
async fn won(leadership: &mut watch::Receiver<Leadership>) -> Option<Term> {
    leadership.wait_for(|now| now.leads).await.ok().map(|now| now.term)
}

/// Waits until this member no longer leads `term`.
async fn lost(leadership: &mut watch::Receiver<Leadership>, term: Term) {
    // An error means that the store is gone, and with it the term.
    let _ = leadership.wait_for(|now| !now.leads || now.term != term).await;
}

fn still_leads(leadership: &watch::Receiver<Leadership>, term: Term) -> bool {
    let now = *leadership.borrow();
    now.leads && now.term == term
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn leads(term: u64, leads: bool) -> Leadership {
        Leadership { term: Term(term), leader: None, leads }
    }

    type Log = Arc<Mutex<Vec<String>>>;

    fn logging(log: &Log) -> impl FnMut(Term, &CancellationToken) -> Group + use<> {
        let log = log.clone();
        move |Term(term), in_term| {
            let mut group = Group::under(in_term);
            let log = log.clone();
            group.spawn("work", move |stop| async move {
                log.lock().unwrap().push(format!("begin {term}"));
                stop.cancelled().await;
                // Slow to stop: the next term must wait for it.
                tokio::time::sleep(Duration::from_millis(300)).await;
                log.lock().unwrap().push(format!("end {term}"));
                Ok(())
            });
            group
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_of_a_lost_term_ends_before_the_next_begins() {
        let (sender, receiver) = watch::channel(leads(1, false));
        let (stop, log) = (CancellationToken::new(), Log::default());
        let run = run_while_leading(receiver, &stop, Duration::from_secs(1), logging(&log));
        let story = async {
            for state in [leads(1, true), leads(2, false), leads(3, true), leads(4, true)] {
                sender.send_replace(state);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            stop.cancel();
        };
        let (result, ()) = tokio::join!(run, story);
        result.unwrap();
        let expected = ["begin 1", "end 1", "begin 3", "end 3", "begin 4", "end 4"];
        assert_eq!(*log.lock().unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn failure_while_leading_is_reported() {
        let (_sender, receiver) = watch::channel(leads(7, true));
        let stop = CancellationToken::new();
        let start = |_, in_term: &CancellationToken| {
            let mut group = Group::under(in_term);
            group.spawn("work", |_| async { Err("broken".into()) });
            group
        };
        let error = run_while_leading(receiver, &stop, Duration::from_secs(1), start).await;
        assert_eq!(error.unwrap_err().to_string(), "task `work` failed: broken");
    }
}
