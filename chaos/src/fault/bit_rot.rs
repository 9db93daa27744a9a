//! A disk that returns other bytes than were written: the member must find it, name it, and not serve.

use store_handle::MemberId;
use store_raft::disk::Pair;

use super::{Fault, Field};
use crate::world::host;

/// What was there before.
#[derive(Debug)]
enum Kept {
    Entry(u64, Vec<u8>),
    Record(Pair),
}

/// See the file's header.
#[derive(Debug)]
pub(super) struct BitRot {
    is_of_log: bool,
    member: MemberId,
    kept: Option<Kept>,
}

impl BitRot {
    pub(super) fn of_log() -> Self {
        Self { is_of_log: true, member: 0, kept: None }
    }

    pub(super) fn of_state() -> Self {
        Self { is_of_log: false, member: 0, kept: None }
    }
}

impl Fault for BitRot {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let up = field.shuffled().into_iter().find(|member| field.is_up(*member));
        let Some(member) = up else { return "nobody is up whose disk could rot".into() };
        self.member = member;
        field.crash(member);
        let machine = field.world.lock().machines[&member].clone();
        self.kept = if self.is_of_log {
            machine.log.rot().map(|(index, record)| Kept::Entry(index, record))
        } else {
            machine.state.rot().map(Kept::Record)
        };
        if self.kept.is_some() {
            field.world.lock().doomed.insert(member);
        }
        field.restart(member);
        match &self.kept {
            Some(Kept::Entry(index, _)) => format!("entry {index} of {member} rots"),
            Some(Kept::Record((key, _))) => format!("record {key:02x?} of {member} rots"),
            None => format!("{member} restarts, and has nothing that could rot"),
        }
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        let Some(kept) = self.kept.take() else { return };
        let member = self.member;
        let reason = {
            let mut world = field.world.lock();
            world.doomed.remove(&member);
            world.failed.get(&member).cloned()
        };
        let named = match (&kept, &reason) {
            (Kept::Entry(index, _), Some(reason)) => {
                reason.contains("the log cannot be read") && reason.contains(&index.to_string())
            }
            (Kept::Record(_), Some(reason)) => reason.contains("the state cannot be read"),
            (_, None) => false,
        };
        if named {
            field.world.lock().count("rot found");
        } else if field.is_up(member) {
            let text = format!("member {member} did not find its rotten record: {reason:?}");
            field.world.lock().violations.push(text);
        }
        // As restored from elsewhere.
        field.sim.crash(host(member));
        let machine = field.world.lock().machines[&member].clone();
        match kept {
            Kept::Entry(index, record) => machine.log.mend(index, record),
            Kept::Record(pair) => machine.state.mend(pair),
        }
        field.crash(member);
        field.restart(member);
    }
}
