//! `kill -9`: processes end without a word, and are started again when it is over.

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
