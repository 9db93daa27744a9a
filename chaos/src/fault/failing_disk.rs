//! A disk that refuses to sync: the member must stop at once, and never try again what it cannot know.

use std::io::ErrorKind;
use std::time::Duration;

use store_handle::MemberId;

use super::{Fault, Field};

/// See the file's header.
#[derive(Debug)]
pub(super) struct FailingDisk {
    kind: ErrorKind,
    member: MemberId,
    since: Duration,
}

impl FailingDisk {
    pub(super) fn full() -> Self {
        Self { kind: ErrorKind::StorageFull, member: 0, since: Duration::ZERO }
    }

    pub(super) fn broken() -> Self {
        Self { kind: ErrorKind::Other, member: 0, since: Duration::ZERO }
    }
}

impl Fault for FailingDisk {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let up = field.shuffled().into_iter().find(|member| field.is_up(*member));
        let Some(member) = up else { return "nobody is up whose disk could fail".into() };
        (self.member, self.since) = (member, field.sim.elapsed());
        let mut world = field.world.lock();
        world.doomed.insert(member);
        world.machines[&member].log.fail(Some(self.kind));
        format!("the disk of {member} fails: {}", self.kind)
    }

    /// Its tasks may take a while to end, although it answers nothing any more.
    fn least(&self) -> Duration {
        Duration::from_millis(5_500)
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        let member = self.member;
        if member == 0 {
            return;
        }
        let (failed, reason) = {
            let mut world = field.world.lock();
            let failed = world.machines[&member].log.fail(None);
            world.doomed.remove(&member);
            (failed, world.failed.get(&member).cloned())
        };
        let mut world = field.world.lock();
        match (failed, reason) {
            (0, _) => {}
            // The run has ended before it could show anything.
            (1, None) if field.sim.elapsed() < self.since + self.least() => {}
            (1, Some(_)) => world.count("failing disks stopped their member"),
            (failed, reason) => {
                let text = format!(
                    "member {member} went on with a disk that had failed: {failed} commits, {reason:?}"
                );
                if world.down.get(&member).is_none_or(|faults| *faults == 0) {
                    world.violations.push(text);
                }
            }
        }
        drop(world);
        field.crash(member);
        field.restart(member);
    }
}
