//! A calendar that is wrong by hours, forwards or backwards, and right again all at once.

use rand::Rng as _;

use super::{Fault, Field};

const MINUTE_MS: i64 = 60_000;
const MINUTES_MAX: i64 = 36 * 60;

#[derive(Debug, Default)]
pub(super) struct Jump {
    machine: usize,
}

impl Fault for Jump {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        self.machine = if field.rng.random_bool(0.5) { field.leader } else { field.follower() };
        let minutes = field.rng.random_range(-MINUTES_MAX..=MINUTES_MAX);
        field.machines[self.machine].set_clock(minutes * MINUTE_MS)?;
        Ok(format!("calendar of {} wrong by {minutes} minutes", field.name(self.machine)))
    }

    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()> {
        field.machines[self.machine].set_clock(0)
    }

    fn lacks(&self, field: &Field) -> Option<&'static str> {
        let is_there = field.machines.iter().all(|machine| machine.has_clock());
        (!is_there).then_some("a C compiler, and a program that asks the C library for the time")
    }
}
