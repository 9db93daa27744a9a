//! Whoever leads forgets history, so soon that watchers lose what they were about to read.

use std::time::Duration;

use rand::Rng;
use store_env::task::TaskResult;
use store_handle::Command;
use tokio_util::sync::CancellationToken;

use super::Seat;
use crate::world::now;

pub(crate) async fn run(mut seat: Seat, stop: CancellationToken) -> TaskResult {
    loop {
        let pause = Duration::from_millis(seat.rng.random_range(100..600));
        if !seat.pause(pause, &stop).await {
            return Ok(());
        }
        let leadership = *seat.handle.leadership().borrow();
        let revision = seat.handle.revision() - seat.rng.random_range(40..200);
        if !leadership.leads || revision <= seat.handle.compacted() {
            continue;
        }
        let command = Command::Compact { revision };
        let answer = seat.handle.propose(command, Some(leadership.term)).await;
        let mut world = seat.world.lock();
        if answer.is_ok() {
            world.count("compactions");
        }
        world.note(now(), format_args!("compaction at {revision}: {}", answer.is_ok()));
    }
}
