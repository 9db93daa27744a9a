//! Processes that end, and are started again when it is over: by `kill -9`, without a word; or told to stop.

use super::{Fault, Field};

#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    Leader,
    Follower,
    All,
}

#[derive(Debug)]
pub(super) struct Kill {
    who: Who,
    killed: Vec<usize>,
}

impl Kill {
    pub(super) fn of(who: Who) -> Self {
        Self { who, killed: Vec::new() }
    }
}

impl Fault for Kill {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        self.killed = match self.who {
            Who::Leader => vec![field.leader],
            Who::Follower => vec![field.follower()],
            Who::All => (0..field.machines.len()).collect(),
        };
        for &machine in &self.killed {
            field.machines[machine].kill()?;
        }
        Ok(format!("{} killed", field.names(&self.killed)))
    }

    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()> {
        self.killed.drain(..).try_for_each(|machine| match field.machines[machine].ended() {
            Some(machine) => machine.start(),
            None => Ok(()),
        })
    }
}

/// The leader is told to stop, as before an upgrade: it ends what is under way and hands over.
#[derive(Debug, Default)]
pub(super) struct Stop {
    machine: usize,
}

impl Fault for Stop {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        self.machine = field.leader;
        field.machines[self.machine].stop()?;
        Ok(format!("{} told to stop", field.name(self.machine)))
    }

    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()> {
        let machine = &mut field.machines[self.machine];
        machine.kill()?;
        machine.start()
    }
}
