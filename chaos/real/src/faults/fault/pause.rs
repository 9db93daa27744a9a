//! `SIGSTOP`: a process stands still with its connections open, and goes on as if nothing had been.

use super::{Fault, Field};

#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    Leader,
    Follower,
}

#[derive(Debug)]
pub(super) struct Pause {
    who: Who,
    paused: Option<usize>,
}

impl Pause {
    pub(super) fn of(who: Who) -> Self {
        Self { who, paused: None }
    }
}

impl Fault for Pause {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        let machine = match self.who {
            Who::Leader => field.leader,
            Who::Follower => field.follower(),
        };
        if !field.machines[machine].is_running() {
            return Ok(format!("{} is down, and not paused", field.name(machine)));
        }
        field.machines[machine].pause()?;
        self.paused = Some(machine);
        Ok(format!("{} paused", field.name(machine)))
    }

    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()> {
        // Another fault may have ended it meanwhile.
        let paused = self.paused.take().filter(|machine| field.machines[*machine].is_running());
        paused.map_or(Ok(()), |machine| field.machines[machine].resume())
    }
}
