//! A majority that is lost for ever, and one survivor that founds the group anew with what it has, as `kstore
//! recover` does it. Members of before come back with their old data, must be told that it is over, and end; with
//! empty disks they are added again.
//!
//! # Invariants
//! - Nothing that the survivor's log holds is lost, and no revision comes a second time.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use store_handle::{MemberId, Revision};
use store_raft::rebuild::{self, Disks, Place, Plan};

use super::{Fault, Field};
use crate::lost;
use crate::member;
use crate::mutant::Mutation;
use crate::operator::Order;
use crate::world::{Machine, successor};

/// As many revisions as `kstore recover` leaves out.
const LEAP: Revision = 1_000_000;

/// A member that comes back with old data ends within this: an election, and what its tasks may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(8);

/// See the file's header.
#[derive(Debug, Default)]
pub(super) struct Recover {
    /// When the majority is lost; until then it may go on without those that will be left.
    lose_at: Option<Duration>,
    majority: Vec<MemberId>,
    left: Vec<MemberId>,
    is_cut: bool,
    recover_at: Option<Duration>,
    return_at: Option<Duration>,
    /// All members but the survivor.
    others: Vec<MemberId>,
    /// Those of them that run with their old data, and since when.
    returned: Vec<(MemberId, Duration)>,
}

impl Fault for Recover {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let mut members = field.shuffled();
        if field.has_orders() || members.len() < 3 {
            return "the group changes just now".into();
        }
        let majority = members.len() / 2 + 1;
        self.left = members.split_off(majority);
        self.majority = members;
        self.is_cut = field.rng.random_bool(0.4);
        let mut lose_at = field.sim.elapsed();
        if self.is_cut {
            field.cut(&self.left, &self.majority);
            lose_at += field.millis(100, 900);
        }
        self.lose_at = Some(lose_at);
        let how = if self.is_cut { ", after they have heard nothing for a while" } else { "" };
        format!("{:?} will be lost for ever, and {:?} are left{how}", self.majority, self.left)
    }

    fn least(&self) -> Duration {
        Duration::from_secs(13)
    }

    fn step(&mut self, field: &mut Field<'_, '_>) {
        let now = field.sim.elapsed();
        if self.lose_at.take_if(|at| *at <= now).is_some() {
            self.lose(field);
            self.recover_at = Some(now + field.millis(300, 1_800));
        }
        if self.recover_at.take_if(|at| *at <= now).is_some() {
            self.recover(field);
            self.return_at = Some(now + field.millis(200, 2_500));
        }
        if self.return_at.take_if(|at| *at <= now).is_some() {
            for member in std::mem::take(&mut self.others) {
                if field.rng.random_bool(0.7) {
                    field.world.lock().doomed.insert(member);
                    field.restart(member);
                    self.returned.push((member, now));
                } else {
                    join_anew(field, member);
                }
            }
        }
        let ended =
            |(member, _): &mut (MemberId, Duration)| field.world.lock().failed.contains_key(member);
        let ended: Vec<_> = self.returned.extract_if(.., ended).collect();
        for (member, _) in ended {
            see_end(field, member);
            join_anew(field, member);
        }
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        if self.lose_at.take().is_some() {
            self.lose(field);
            self.recover_at = Some(field.sim.elapsed());
        }
        if self.recover_at.take().is_some() {
            self.recover(field);
        }
        let now = field.sim.elapsed();
        for (member, since) in std::mem::take(&mut self.returned) {
            if now >= since + ENDS_WITHIN {
                let text = format!("member {member} goes on with data of before the recovery");
                field.world.lock().violations.push(text);
            }
            join_anew(field, member);
        }
        for member in std::mem::take(&mut self.others) {
            join_anew(field, member);
        }
    }
}

impl Recover {
    fn lose(&mut self, field: &mut Field<'_, '_>) {
        self.majority.iter().for_each(|member| field.crash(*member));
        if self.is_cut {
            field.mend(&self.left, &self.majority);
        }
    }

    /// Founds the group anew with the survivor whose log ends last, as an operator is told to.
    fn recover(&mut self, field: &mut Field<'_, '_>) {
        let members = field.members();
        let left: Vec<MemberId> =
            members.iter().copied().filter(|member| field.is_up(*member)).collect();
        left.iter().for_each(|member| field.crash(*member));
        // Whoever was removed, or not yet added, is not heard of again.
        for other in field.others(0).into_iter().filter(|it| !members.contains(it)) {
            field.crash(other);
        }
        let ends = |member: &MemberId| {
            let machine = &field.world.lock().machines[member];
            rebuild::survey(&disks(machine)).map_or(Place::default(), |survey| survey.last)
        };
        let Some(survivor) = left.into_iter().max_by_key(ends) else { return };
        self.others = members.into_iter().filter(|member| *member != survivor).collect();
        if let Err(error) = found_anew(field, survivor) {
            let text = format!("member {survivor} could not be recovered: {error}");
            field.world.lock().violations.push(text);
        }
    }
}

fn disks(machine: &Machine) -> Disks {
    let (log, state) = (Arc::new(machine.log.clone()), Arc::new(machine.state.clone()));
    Disks { log, state, clock: Arc::new(machine.clock.clone()) }
}

fn found_anew(field: &mut Field<'_, '_>, survivor: MemberId) -> std::io::Result<()> {
    let mut machine = field.world.lock().machines[&survivor].clone();
    let mutation = field.world.lock().mutation;
    let disks = disks(&machine);
    let survey = rebuild::survey(&disks)?;
    let me = successor(survivor);
    let leap = (mutation != Some(Mutation::ReusesRevisions)).then_some(LEAP);
    let plan = Plan { members: vec![member::about(me)], me, base: survey.after(), leap };
    let now = field.sim.elapsed();
    let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    let told = lost::told_by(&machine, &plan, disks.clock.clone(), now_us)?;
    if field.rng.random_bool(0.5) {
        // It is interrupted, and done again.
        machine.log.fail(Some(ErrorKind::Other));
        let interrupted = rebuild::rebuild(&disks, &plan);
        machine.log.fail(None);
        lose_power(&machine);
        if interrupted.is_ok() {
            return Err(std::io::Error::other("it was done on a disk that fails"));
        }
        field.world.lock().count("recoveries interrupted");
    }
    let revision = rebuild::rebuild(&disks, &plan)?;
    lose_power(&machine);
    // What is on its disk is of another log.
    machine.log.take_written();
    machine.is_founder = false;
    machine.former_epochs.push(machine.epoch);
    machine.epoch += 1;
    field.leave(survivor);
    let mut world = field.world.lock();
    let last = told.last_key_value().map_or(0, |(last, _)| *last);
    let lost = lost::forget(&mut world.history, &told);
    world.note(now, format_args!("{survivor} is {me} now, and goes on after {revision}; {lost} revisions after {last} are lost"));
    world.epoch = machine.epoch;
    world.machines.insert(me, machine);
    let before = std::mem::replace(&mut world.members, [me].into());
    world.removed.extend(before);
    world.count("groups recovered");
    *world.counts.entry("revisions lost with a majority").or_default() += lost;
    drop(world);
    field.sim.bounce(crate::world::host(me));
    Ok(())
}

/// Whatever was not durable is gone.
fn lose_power(machine: &Machine) {
    machine.state.crash();
    machine.log.crash();
}

/// It must say why it has ended.
fn see_end(field: &Field<'_, '_>, member: MemberId) {
    let mut world = field.world.lock();
    let reason = world.failed.get(&member).cloned().unwrap_or_default();
    if reason.contains("was recovered without you") {
        world.count("members of before told that it is over");
    } else {
        let text = format!("member {member} of before the recovery ended otherwise: {reason}");
        world.violations.push(text);
    }
}

/// Its machine is emptied, and added as a new member.
fn join_anew(field: &mut Field<'_, '_>, member: MemberId) {
    let next = field.wipe(member);
    field.order(Order::Add(next));
}
