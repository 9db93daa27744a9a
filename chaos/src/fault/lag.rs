//! A follower that falls so far behind that its log was purged elsewhere: it needs a snapshot.

use std::time::Duration;

use store_handle::MemberId;

use super::{Fault, Field};

/// Cut off for as long as it lasts.
#[derive(Debug, Default)]
pub(super) struct Lag(Vec<MemberId>, Vec<MemberId>);

impl Fault for Lag {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let member = field.follower();
        (self.0, self.1) = (vec![member], field.others(member));
        field.cut(&self.0, &self.1);
        format!("{member} falls behind")
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        field.mend(&self.0, &self.1);
    }
}

/// The same, and just as the snapshot comes, its machine loses power or its connections break.
#[derive(Debug, Default)]
pub(super) struct InterruptedSnapshot {
    member: MemberId,
    others: Vec<MemberId>,
    back_at: Option<Duration>,
    interrupt_at: Option<Duration>,
    is_down: bool,
}

impl Fault for InterruptedSnapshot {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        self.member = field.follower();
        self.others = field.others(self.member);
        field.cut(&[self.member], &self.others);
        self.back_at = Some(field.sim.elapsed() + field.millis(1_000, 2_500));
        format!("{} falls behind, and is interrupted as it catches up", self.member)
    }

    fn step(&mut self, field: &mut Field<'_, '_>) {
        let now = field.sim.elapsed();
        if self.back_at.is_some_and(|at| at <= now) {
            self.back_at = None;
            field.mend(&[self.member], &self.others);
            self.interrupt_at = Some(now + field.millis(1, 250));
        }
        if self.interrupt_at.is_some_and(|at| at <= now) {
            self.interrupt_at = None;
            field.crash(self.member);
            self.is_down = true;
        }
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        if self.back_at.is_some() {
            field.mend(&[self.member], &self.others);
        }
        if self.is_down {
            field.restart(self.member);
        }
    }
}
