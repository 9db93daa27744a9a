//! A minority is cut off: it must answer nothing, and must not disturb the others when it is back.

use store_handle::MemberId;

use super::{Fault, Field};

/// See the file's header.
#[derive(Debug, Default)]
pub struct PartitionFollower(MemberId);

impl Fault for PartitionFollower {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        self.0 = field.follower();
        field.isolate(self.0);
        format!("partition of follower {}", self.0)
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        field.reconnect(self.0);
    }
}
