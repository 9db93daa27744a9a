//! A machine loses its power: no connection of it is closed, and none refused.

use rand::Rng;
use store_handle::MemberId;

use super::{Fault, Field};
use crate::sim::MEMBERS;

/// See the file's header.
#[derive(Debug, Default)]
pub struct CrashMachine(MemberId);

impl Fault for CrashMachine {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        self.0 = field.rng.random_range(1..=MEMBERS);
        field.crash(self.0);
        format!("machine {} crashes", self.0)
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        field.restart(self.0);
    }
}
