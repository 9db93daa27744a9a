//! All machines lose their power at once: what was acknowledged must be there afterwards.

use super::{Fault, Field};
use crate::sim::MEMBERS;

/// See the file's header.
#[derive(Debug, Default)]
pub struct CrashAll;

impl Fault for CrashAll {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        (1..=MEMBERS).for_each(|member| field.crash(member));
        "all machines crash".into()
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        (1..=MEMBERS).for_each(|member| field.restart(member));
    }
}
