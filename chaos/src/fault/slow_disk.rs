//! A disk that takes long: slow is not dead. A leader hands over, and nobody stops.

use rand::Rng;
use store_handle::MemberId;

use super::{Fault, Field};

/// See the file's header.
#[derive(Debug, Default)]
pub(super) struct SlowDisk(MemberId);

impl Fault for SlowDisk {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        self.0 = if field.rng.random_bool(0.7) { field.leader() } else { field.follower() };
        let from_us = field.rng.random_range(20_000..450_000);
        let span = (from_us, from_us * 3 / 2);
        field.world.lock().machines[&self.0].log.be_slow(Some(span));
        format!("syncs of {} take {} ms and more", self.0, from_us / 1_000)
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        field.world.lock().machines[&self.0].log.be_slow(None);
    }
}
