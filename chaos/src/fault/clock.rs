//! Clocks that are set wrong, or run too fast or too slow.

use rand::Rng;
use store_handle::MemberId;

use super::{Fault, Field};

/// How wrong a clock runs at most: far more than real ones do.
const DRIFT_PPM_MAX: i64 = 50_000;

/// Somebody sets a member's calendar: by up to two hours, to either side.
#[derive(Debug, Default)]
pub(super) struct Jump(MemberId);

impl Fault for Jump {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        self.0 = if field.rng.random_bool(0.5) { field.leader() } else { field.follower() };
        let by_ms = field.rng.random_range(-7_200_000..7_200_000);
        field.world.lock().machines[&self.0].clock.set_wrong_by(by_ms);
        format!("the calendar of {} is wrong by {by_ms} ms", self.0)
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        if field.rng.random_bool(0.5) {
            field.world.lock().machines[&self.0].clock.set_wrong_by(0);
        }
    }
}

/// A member's clock gains or loses.
#[derive(Debug)]
pub(super) struct Drift;

impl Fault for Drift {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let member = if field.rng.random_bool(0.5) { field.leader() } else { field.follower() };
        let gain_ppm = field.rng.random_range(-DRIFT_PPM_MAX..DRIFT_PPM_MAX);
        let now_us = u64::try_from(field.sim.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut world = field.world.lock();
        world.machines[&member].clock.gain(gain_ppm, now_us);
        // Two clocks may have their part in one lease.
        world.history.drift_ppm = DRIFT_PPM_MAX.unsigned_abs();
        format!("the clock of {member} gains {gain_ppm} ppm")
    }

    fn heal(&mut self, _field: &mut Field<'_, '_>) {}
}
