//! A member that is started again as a later release, which reads a later version of entries; and one that goes back
//! to the release before while others are still of that one. No release writes such a version yet: it differs
//! from the first in its number.

use std::time::Duration;

use store_handle::{Handle, MemberId};
use store_mvcc::codec::{self, FormatVersion};

use super::{Fault, Field};
use crate::world::World;

/// What the later release reads.
const LATER: FormatVersion = codec::VERSION + 1;

/// See the file's header.
#[derive(Debug)]
pub(super) struct Upgrade {
    reads: FormatVersion,
}

impl Upgrade {
    pub(super) fn forward() -> Self {
        Self { reads: LATER }
    }

    pub(super) fn back() -> Self {
        Self { reads: codec::VERSION }
    }
}

impl Fault for Upgrade {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let members = field.shuffled();
        let reads = |member: &MemberId| field.world.lock().machines[member].reads_format;
        let chosen = members.iter().copied().find(|member| reads(member) != self.reads);
        let Some(member) = chosen.filter(|member| field.is_up(*member)) else {
            return format!("all members that are up read format {} already", self.reads);
        };
        if !is_known(&field.world.lock()) {
            return "the group does not know yet what each of its members reads".into();
        }
        if self.reads < LATER && members.iter().all(|member| reads(member) == LATER) {
            return "nobody is of the release before any more: there is no way back".into();
        }
        let down_for = field.millis(20, 1_200);
        field.kill(member, down_for);
        let mut world = field.world.lock();
        if let Some(machine) = world.machines.get_mut(&member) {
            machine.reads_format = self.reads;
        }
        world.count(if self.reads == LATER { "members upgraded" } else { "members rolled back" });
        format!("{member} is back after {down_for:?}, and reads format {}", self.reads)
    }

    fn least(&self) -> Duration {
        Duration::from_millis(1_500)
    }

    fn heal(&mut self, _field: &mut Field<'_, '_>) {}
}

/// Whether the group, as its leader has it, knows of each member what it reads: then an operator may go on.
fn is_known(world: &World) -> bool {
    let Some(leader) = world.leader().and_then(|leader| world.stores.get(&leader)) else {
        return false;
    };
    leader.members().iter().all(|member| {
        let said = member.labels.get("reads-format").and_then(|said| said.parse().ok());
        let reads = world.machines.get(&member.id).map(|machine| machine.reads_format);
        reads.is_some_and(|reads| said.unwrap_or(codec::VERSION) == reads)
    })
}
