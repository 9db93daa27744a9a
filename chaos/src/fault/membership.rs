//! Changes of the group, under load and under whatever else goes wrong.

use std::time::Duration;

use rand::Rng;
use store_handle::MemberId;

use super::{Fault, Field};
use crate::operator::Order;

/// The operator asks the leader to hand over.
#[derive(Debug)]
pub(super) struct HandOver;

impl Fault for HandOver {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        field.order(Order::HandOver);
        "the leader is asked to hand over".into()
    }

    fn heal(&mut self, _field: &mut Field<'_, '_>) {}
}

/// A machine is lost for good: its member is removed, and another takes its place.
#[derive(Debug, Default)]
pub(super) struct Replace(MemberId);

impl Fault for Replace {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        self.0 = if field.rng.random_bool(0.3) { field.leader() } else { field.follower() };
        if field.has_orders() || field.members().len() < 3 {
            self.0 = 0;
            return "no member can be spared now".into();
        }
        // Never to come back: this crash is not healed.
        field.crash(self.0);
        let newcomer = field.newcomer();
        field.order(Order::Remove(self.0));
        field.order(Order::Add(newcomer));
        format!("{} is lost, and {newcomer} takes its place", self.0)
    }

    fn heal(&mut self, _field: &mut Field<'_, '_>) {}
}

/// A member is removed while it runs, perhaps without hearing of it, and tries to come back.
#[derive(Debug, Default)]
pub(super) struct Remove {
    member: MemberId,
    others: Vec<MemberId>,
    is_cut: bool,
    return_at: Option<Duration>,
}

impl Fault for Remove {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        if field.has_orders() || field.members().len() < 3 {
            return "no member can be spared now".into();
        }
        self.member = field.follower();
        self.others = field.others(self.member);
        self.is_cut = field.rng.random_bool(0.5);
        if self.is_cut {
            field.cut(&[self.member], &self.others);
        }
        field.order(Order::Remove(self.member));
        self.return_at = Some(field.sim.elapsed() + field.millis(400, 1_500));
        let how = if self.is_cut { "without hearing of it" } else { "while it runs" };
        format!("{} is removed {how}", self.member)
    }

    fn step(&mut self, field: &mut Field<'_, '_>) {
        if self.return_at.is_none_or(|at| field.sim.elapsed() < at) {
            return;
        }
        self.return_at = None;
        if field.rng.random_bool(0.5) {
            // As one whose machine was switched off and on: it still believes that it belongs to the group.
            field.kill(self.member, Duration::from_millis(50));
        }
        if self.is_cut {
            field.mend(&[self.member], &self.others);
            self.is_cut = false;
        }
        field.order(Order::Return(self.member));
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        if self.member == 0 {
            return;
        }
        if self.is_cut {
            field.mend(&[self.member], &self.others);
        }
        let newcomer = field.newcomer();
        field.order(Order::Add(newcomer));
    }
}

/// Somebody tries to add a member again that was removed, perhaps long ago.
#[derive(Debug)]
pub(super) struct ReturnRemoved;

impl Fault for ReturnRemoved {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let removed: Vec<MemberId> = field.world.lock().removed.iter().copied().collect();
        if removed.is_empty() {
            return "nobody was removed yet".into();
        }
        let member = removed[field.rng.random_range(0..removed.len())];
        field.order(Order::Return(member));
        format!("{member} shall come back")
    }

    fn heal(&mut self, _field: &mut Field<'_, '_>) {}
}

/// One member more, up to five; then one less.
#[derive(Debug)]
pub(super) struct Grow;

impl Fault for Grow {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        if field.members().len() < 5 {
            let newcomer = field.newcomer();
            field.order(Order::Add(newcomer));
            return format!("{newcomer} is added");
        }
        let member = if field.rng.random_bool(0.5) { field.leader() } else { field.follower() };
        field.order(Order::Remove(member));
        format!("{member} is removed")
    }

    fn heal(&mut self, _field: &mut Field<'_, '_>) {}
}
