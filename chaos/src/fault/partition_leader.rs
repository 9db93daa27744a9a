//! The leader is cut off from all others: it must stop leading by itself, and they go on without it.

use store_handle::MemberId;

use super::{Fault, Field};

/// See the file's header.
#[derive(Debug, Default)]
pub struct PartitionLeader(MemberId);

impl Fault for PartitionLeader {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        self.0 = field.leader();
        field.isolate(self.0);
        format!("partition of leader {}", self.0)
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        field.reconnect(self.0);
    }
}
