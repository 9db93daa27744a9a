//! A controller on each member: while its member leads, it writes, fenced to the term in which it does.

use std::time::Duration;

use rand::Rng;
use store_env::task::TaskResult;
use store_handle::{Command, Reply, Txn};
use tokio_util::sync::CancellationToken;

use super::{Seat, put};
use crate::history::FencedWrite;
use crate::world::now;

/// The key that controllers write.
pub(crate) const KEY: &str = "fenced";

pub(crate) async fn run(mut seat: Seat, stop: CancellationToken) -> TaskResult {
    let mut leadership = seat.handle.leadership();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            led = leadership.wait_for(|leadership| leadership.leads) => {
                if led.is_err() { return Ok(()) }
            }
        }
        let term = leadership.borrow().term;
        // Acts on what it knew a moment ago, as controllers do: only the fence tells whether it still may.
        let pause = Duration::from_millis(seat.rng.random_range(5..200));
        if !seat.pause(pause, &stop).await {
            return Ok(());
        }
        let (at, value) = {
            let mut world = seat.world.lock();
            let value = world.fresh_value();
            let write = FencedWrite { term: term.0, value, revision: None };
            world.history.fenced.push(write);
            (world.history.fenced.len() - 1, value)
        };
        let success = vec![put(KEY.into(), value.to_string())];
        let command = Command::Txn(Txn { success, ..Txn::default() });
        let answer = seat.handle.propose(command, Some(term)).await;
        let mut world = seat.world.lock();
        if let Ok(Reply::Txn(reply)) = &answer {
            world.history.fenced[at].revision = Some(reply.revision);
            world.count("fenced writes");
        }
        let revision = world.history.fenced[at].revision;
        let (member, term) = (seat.member, term.0);
        world.note(now(), format_args!("controller {member} term {term} {value} {revision:?}"));
    }
}
