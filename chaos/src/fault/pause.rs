//! A member that stands still, and goes on as if nothing had been: nothing of it is sent or heard meanwhile,
//! and all of that arrives at once afterwards.
//!
//! Its timers run on, which a stopped process's would do too, all at once. Not to be mixed with partitions:
//! turmoil does not combine them.

use rand::Rng;
use store_handle::MemberId;

use super::{Fault, Field};
use crate::world::host;

/// See the file's header.
#[derive(Debug, Default)]
pub(super) struct Pause(MemberId, Vec<MemberId>);

impl Fault for Pause {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        self.0 = if field.rng.random_bool(0.7) { field.leader() } else { field.follower() };
        self.1 = field.others(self.0);
        self.1.iter().for_each(|other| field.sim.hold(host(self.0), host(*other)));
        format!("{} stands still", self.0)
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        self.1.iter().for_each(|other| field.sim.release(host(self.0), host(*other)));
    }
}
