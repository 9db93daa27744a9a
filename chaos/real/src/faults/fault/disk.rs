//! Disks that are full to the last block, short of room, slow, or stand still.

use std::time::Duration;

use rand::Rng as _;

use super::{Fault, Field};

/// No room at all on one machine.
#[derive(Debug, Default)]
pub(super) struct Full {
    machine: usize,
}

impl Fault for Full {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        self.machine = field.any();
        field.machines[self.machine].disk.fill()?;
        Ok(format!("disk of {} full", field.name(self.machine)))
    }

    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()> {
        // If it ended for want of room, it is started again.
        field.machines[self.machine].disk.free()
    }
}

/// What is left of a disk that is short of room: less than the reserve, and more than is written meanwhile.
const LEFT_BYTES: u64 = 100 << 20;

/// So little room on most machines that nothing may grow; nobody ends for want of room.
#[derive(Debug, Default)]
pub(super) struct Low {
    machines: Vec<usize>,
}

impl Fault for Low {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        let most = field.machines.len() / 2 + 1;
        self.machines = field.followers();
        self.machines.push(field.leader);
        self.machines.rotate_right(1);
        self.machines.truncate(most);
        for &machine in &self.machines {
            field.machines[machine].disk.leave(LEFT_BYTES)?;
        }
        Ok(format!("disks of {} short of room", field.names(&self.machines)))
    }

    fn is_alone(&self) -> bool {
        true
    }

    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()> {
        for machine in std::mem::take(&mut self.machines) {
            let machine = &mut field.machines[machine];
            anyhow::ensure!(
                machine.is_running(),
                "{} has ended, though it had room",
                machine.name()
            );
            machine.disk.free()?;
        }
        Ok(())
    }
}

/// So few bytes a second are written on one machine.
#[derive(Debug)]
pub(super) struct Slow {
    bytes_per_second: u64,
    machine: usize,
}

impl Slow {
    pub(super) fn to(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, machine: 0 }
    }
}

impl Fault for Slow {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        self.machine = if field.rng.random_bool(0.5) { field.leader } else { field.follower() };
        field.machines[self.machine].disk.limit(self.bytes_per_second)?;
        let name = field.name(self.machine);
        Ok(format!("disk of {name} writes {} bytes a second", self.bytes_per_second))
    }

    fn lasts(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()> {
        field.machines[self.machine].disk.limit(0)
    }

    fn lacks(&self, field: &Field) -> Option<&'static str> {
        let is_there = field.machines.iter().all(|machine| machine.disk.group_file().is_some());
        (!is_there).then_some("loop devices and the blkio control group, version 1")
    }
}
