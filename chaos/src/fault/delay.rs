//! A network that is slow, or drops connections.

use std::time::Duration;

use rand::Rng;
use store_handle::MemberId;

use super::{Fault, Field};
use crate::world::host;

/// What a message takes at most on a good day.
const LATENCY_MAX: Duration = Duration::from_millis(3);

/// Messages of one member, or of all, take up to so much longer, each on its own: those of different
/// connections overtake each other.
#[derive(Debug, Default)]
pub(super) struct Delay(Vec<(MemberId, MemberId)>);

impl Fault for Delay {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let members = field.shuffled();
        let one = field.rng.random_bool(0.6).then(|| members[0]);
        for (at, from) in members.iter().enumerate() {
            for to in &members[at + 1..] {
                if one.is_none_or(|one| one == *from || one == *to) {
                    self.0.push((*from, *to));
                }
            }
        }
        let latency = field.millis(20, 400);
        for (from, to) in &self.0 {
            field.sim.set_link_max_message_latency(host(*from), host(*to), latency);
        }
        format!("messages of {one:?} take up to {latency:?}")
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        for (from, to) in &self.0 {
            field.sim.set_link_max_message_latency(host(*from), host(*to), LATENCY_MAX);
        }
    }
}

/// Connections break, again and again, and can be made anew at once.
#[derive(Debug, Default)]
pub(super) struct BrokenConnections {
    next: Duration,
}

impl Fault for BrokenConnections {
    fn inject(&mut self, _field: &mut Field<'_, '_>) -> String {
        "connections break".into()
    }

    fn step(&mut self, field: &mut Field<'_, '_>) {
        let now = field.sim.elapsed();
        if now < self.next {
            return;
        }
        self.next = now + field.millis(20, 500);
        let members = field.shuffled();
        let links = field.world.lock().links.clone();
        links.break_all(&host(members[0]), &host(members[1]));
    }

    fn heal(&mut self, _field: &mut Field<'_, '_>) {}
}
