//! The leader still sends, or still hears, but not both.

use rand::Rng;
use store_handle::MemberId;

use super::{Fault, Field};
use crate::sim::host;

/// See the file's header.
#[derive(Debug, Default)]
pub struct OneWay(MemberId);

impl Fault for OneWay {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        self.0 = field.leader();
        let is_deaf = field.rng.random_bool(0.5);
        for other in Field::others(self.0) {
            let (from, to) = if is_deaf { (other, self.0) } else { (self.0, other) };
            field.sim.partition_oneway(host(from), host(to));
        }
        format!("leader {} is {}", self.0, if is_deaf { "deaf" } else { "mute" })
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        field.reconnect(self.0);
    }
}
