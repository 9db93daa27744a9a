//! The leader's process is killed: its machine refuses connections at once, and a follower takes over.

use std::time::Duration;

use rand::Rng;

use super::{Fault, Field};

/// See the file's header.
#[derive(Debug, Default)]
pub struct KillLeader;

impl Fault for KillLeader {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let leader = field.leader();
        // It may be back before anybody has noticed.
        let down_for = Duration::from_millis(field.rng.random_range(1..2_000));
        field.kill(leader, down_for);
        format!("leader {leader} is killed, and back after {down_for:?}")
    }

    fn heal(&mut self, _field: &mut Field<'_, '_>) {}
}
