//! One seed: members in turmoil, clients on them, faults over them, invariants at every step, checks in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use store_env::rng;
use store_handle::Handle;
use store_mvcc::codec;
use turmoil::Sim;

use crate::check;
use crate::check::raft::{self, Invariant, Look};
use crate::fault::{Fault, Field, Kind, LeftOut};
use crate::history::{Final, History, Lead, Outcome};
use crate::kube;
use crate::mutant::Mutation;
use crate::scenario::Scenario;
use crate::scribe::Scribe;
use crate::world::{SharedWorld, World};

/// How long members may take to agree once everything is healed.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// How long deployments may take to be as they are wanted, once everything is healed.
const CONVERGE_MAX: Duration = Duration::from_secs(60);

/// How often it is looked whether they are.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long they must hold the same, and nothing more come.
const SETTLED_FOR: Duration = Duration::from_secs(1);

/// More terms than an epoch has.
const EPOCH_TERMS: u64 = 1_000_000;

/// The longest message latency while nothing is wrong.
const LATENCY_MAX: Duration = Duration::from_millis(3);

/// What one seed did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub seed: u64,
    pub leader_changes: usize,
    pub acknowledged: usize,
    pub reads: usize,
    pub unknowns: usize,
    /// Faults by kind.
    pub faults: BTreeMap<String, usize>,
    /// Whatever else happened, by name.
    pub counts: BTreeMap<String, usize>,
    pub simulated: Duration,
    /// A fingerprint of the whole trace.
    pub trace_hash: u64,
    /// What was found wrong; empty is good.
    pub violations: Vec<String>,
}

/// A seed that was played, and all that happened.
#[derive(Clone, Debug, Default)]
pub struct Played {
    pub report: Report,
    pub trace: Vec<String>,
    pub history: History,
}

/// Runs one seed of a scenario, and then until all is quiet; with a bug, if one is given.
pub fn run(seed: u64, scenario: &Scenario, mutation: Option<Mutation>) -> Played {
    rng::seed_this_thread(seed);
    let end = Duration::from_secs(scenario.seconds);
    let sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(end + CONVERGE_MAX + SETTLE_MAX * 2)
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_micros(200))
        .max_message_latency(LATENCY_MAX)
        .tcp_capacity(4_096)
        .enable_random_order()
        .build();
    let world = SharedWorld::default();
    {
        let mut world = world.lock();
        world.epoch = 1;
        world.members = (1..=scenario.members).collect();
        world.workloads = scenario.workloads.clone();
        world.kube.nodes = scenario.nodes;
        world.kube.late_ms = scenario.late_ms;
        world.kube.busy = u32::try_from(scenario.clients.len()).unwrap_or(u32::MAX);
        world.snapshot_entries = scenario.snapshot_entries;
        world.mutation = mutation;
    }
    let mut stage = Stage {
        sim,
        world,
        rng: rng::named("faults", seed),
        watch: Watch::default(),
        scribe: Scribe::default(),
        invariants: raft::all(),
        epoch: 1,
        report: Report { seed, ..Report::default() },
        faults: 0,
        is_mutant: mutation.is_some(),
    };
    for member in 1..=scenario.members {
        stage.field().provide(member, true);
    }
    for node in 1..=scenario.nodes {
        stage.field().provide_node(node);
    }
    for (number, workload) in (1..).zip(&scenario.clients) {
        stage.field().provide_client(number, *workload);
    }
    let outcome = stage.play(scenario, end).and_then(|()| stage.settle());
    stage.finish(scenario, outcome)
}

/// What has been seen of leaders.
#[derive(Debug, Default)]
struct Watch {
    leads: BTreeSet<Lead>,
    last: Option<Lead>,
    changes: usize,
}

impl Watch {
    fn look(&mut self, world: &mut World, now: Duration) {
        let mut fresh = Vec::new();
        for (member, store) in world.current() {
            let leadership = *store.leadership().borrow();
            if leadership.leads {
                // Terms of another epoch are others.
                let term = (world.epoch - 1) * EPOCH_TERMS + leadership.term.0;
                fresh.push(Lead { term, member: *member });
            }
        }
        for lead in fresh {
            if self.leads.insert(lead) {
                world.history.leads.push(lead);
                world.note(now, format_args!("member {} leads term {}", lead.member, lead.term));
                if self.last.is_some_and(|last| last.member != lead.member) {
                    self.changes += 1;
                }
                self.last = Some(lead);
            }
        }
    }
}

/// A fault that lasts, and until when.
type Lasting = (Duration, Box<dyn Fault>);

/// Room for one fault at a time.
struct Slot {
    lasting: Option<Lasting>,
    next_at: Duration,
}

/// Where one seed is played.
struct Stage<'s> {
    sim: Sim<'s>,
    world: SharedWorld,
    rng: StdRng,
    watch: Watch,
    scribe: Scribe,
    invariants: Vec<(&'static str, Box<dyn Invariant>)>,
    /// The epoch that they are of.
    epoch: u64,
    report: Report,
    /// How many came, those that were left out among them.
    faults: usize,
    /// Then the first violation is enough.
    is_mutant: bool,
}

impl<'s> Stage<'s> {
    fn field(&mut self) -> Field<'_, 's> {
        Field { sim: &mut self.sim, world: &self.world, rng: &mut self.rng }
    }

    fn step(&mut self) -> Result<(), String> {
        self.sim.step().map_err(|error| format!("a member failed: {error}"))?;
        let now = self.sim.elapsed();
        let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let mut guard = self.world.lock();
        let world = &mut *guard;
        if self.epoch != world.epoch {
            // A new group, whose log and terms are its own.
            self.epoch = world.epoch;
            self.invariants = raft::all();
            self.scribe.begin_anew();
        }
        self.watch.look(world, now);
        let mut history = std::mem::take(&mut world.history);
        let look = Look::at(world);
        let mut found = Vec::new();
        if let Err(reason) = self.scribe.look(&look, &mut history, now_us) {
            found.push(format!("equal logs, equal states: {reason}"));
        }
        for (name, invariant) in &mut self.invariants {
            if let Err(reason) = invariant.look(&look) {
                found.push(format!("{name}: {reason}"));
            }
        }
        world.history = history;
        world.violations.extend(found);
        match world.violations.as_slice() {
            [] => Ok(()),
            // One thing that is wrong shows again at every step.
            found => Err(found.join("; ")),
        }
    }

    /// Lets things happen until `end`.
    fn play(&mut self, scenario: &Scenario, end: Duration) -> Result<(), String> {
        let mut slots: Vec<Slot> = Vec::new();
        for _ in 0..scenario.at_once {
            let next_at = Duration::from_secs(2) + self.field().millis(0, 1_000);
            slots.push(Slot { lasting: None, next_at });
        }
        let mut script = scenario.script.clone();
        let mut scripted: Vec<Lasting> = Vec::new();
        while self.sim.elapsed() < end {
            self.step()?;
            let now = self.sim.elapsed();
            for (it, kind) in
                script.extract_if(.., |(it, _)| Duration::from_millis(it.at_ms) <= now)
            {
                scripted
                    .push((now + Duration::from_millis(it.for_ms), self.inject(scenario, kind)));
            }
            for (_, mut fault) in scripted.extract_if(.., |(until, _)| *until <= now) {
                self.heal(&mut *fault);
            }
            for slot in &mut slots {
                if let Some((_, mut fault)) = slot.lasting.take_if(|(until, _)| *until <= now) {
                    self.heal(&mut *fault);
                    slot.next_at = now + self.field().millis(300, 2_000);
                } else if slot.lasting.is_none() && slot.next_at <= now {
                    slot.lasting = self.draw(scenario, now);
                }
            }
            let lasting = slots.iter_mut().filter_map(|slot| slot.lasting.as_mut());
            for (_, fault) in scripted.iter_mut().chain(lasting) {
                let field =
                    &mut Field { sim: &mut self.sim, world: &self.world, rng: &mut self.rng };
                fault.step(field);
            }
        }
        for (_, mut fault) in slots.into_iter().filter_map(|slot| slot.lasting).chain(scripted) {
            self.heal(&mut *fault);
        }
        self.report.leader_changes = self.watch.changes;
        Ok(())
    }

    fn draw(&mut self, scenario: &Scenario, now: Duration) -> Option<Lasting> {
        let is_first = self.faults == 0 && !scenario.first.is_empty();
        let choice = if is_first { &scenario.first } else { &scenario.then };
        if choice.is_empty() {
            return None;
        }
        let kind = choice[self.rng.random_range(0..choice.len())];
        let fault = self.inject(scenario, kind);
        // The first has to outlast a lease and an election, so that another member leads.
        let least = fault.least().max(Duration::from_secs(if is_first { 3 } else { 0 }));
        Some((now + least + self.field().millis(0, 1_500), fault))
    }

    fn inject(&mut self, scenario: &Scenario, kind: &'static Kind) -> Box<dyn Fault> {
        let mut fault = (kind.make)();
        self.faults += 1;
        if scenario.only.as_ref().is_some_and(|only| !only.contains(&self.faults)) {
            return Box::new(LeftOut { least: fault.least() });
        }
        let done = fault.inject(&mut self.field());
        *self.report.faults.entry(kind.name.to_owned()).or_default() += 1;
        let now = self.sim.elapsed();
        self.world.lock().note(now, format_args!("{}: {done}", kind.name));
        fault
    }

    fn heal(&mut self, fault: &mut dyn Fault) {
        fault.heal(&mut self.field());
        let now = self.sim.elapsed();
        self.world.lock().note(now, format_args!("healed: {fault:?}"));
    }

    /// Waits until no client asks any more, nothing is left to do, and all members hold the same.
    fn settle(&mut self) -> Result<(), String> {
        self.world.lock().is_over = true;
        self.converge()?;
        let give_up = self.sim.elapsed() + SETTLE_MAX;
        let mut same_since: Option<(Duration, u64)> = None;
        while self.sim.elapsed() < give_up {
            self.step()?;
            let now = self.sim.elapsed();
            match (agreement(&self.world.lock()), same_since) {
                (None, _) => same_since = None,
                (Some(held), Some((since, last))) if held == last => {
                    if now - since >= SETTLED_FOR {
                        return Ok(());
                    }
                }
                (Some(held), _) => same_since = Some((now, held)),
            }
        }
        let world = self.world.lock();
        let status: Vec<_> = world.stores.values().map(|store| store.status()).collect();
        let leases = world.stores.values().next().map(|store| store.leases());
        let orders = &world.orders;
        Err(format!(
            "members do not agree in the end: {status:?}; leases {leases:?}; orders {orders:?}"
        ))
    }

    /// Waits until all that clients of Kubernetes wanted has come to be, without anybody asking for anything.
    fn converge(&mut self) -> Result<(), String> {
        if self.world.lock().kube.nodes == 0 {
            return Ok(());
        }
        let healed = self.sim.elapsed();
        let give_up = healed + CONVERGE_MAX;
        loop {
            let missing = kube::converged::missing(&self.world.lock());
            let now = self.sim.elapsed();
            let mut world = self.world.lock();
            match missing {
                None => {
                    world.note(now, format_args!("all is as wanted after {:?}", now - healed));
                    world.kube.is_quiet = true;
                    return Ok(());
                }
                Some(missing) if now >= give_up => {
                    return Err(format!("convergence: {missing}, {CONVERGE_MAX:?} after healing"));
                }
                Some(_) => {}
            }
            drop(world);
            let next = now + LOOK_EVERY;
            while self.sim.elapsed() < next {
                self.step()?;
            }
        }
    }

    fn finish(self, scenario: &Scenario, outcome: Result<(), String>) -> Played {
        let mut report = self.report;
        report.simulated = self.sim.elapsed();
        let mut guard = self.world.lock();
        let World { stores, members, history, trace, counts, machines, .. } = &mut *guard;
        for (id, store) in stores.iter().filter(|(id, _)| members.contains(id)) {
            let revision = store.revision();
            let mut hasher = DefaultHasher::new();
            match store.contents().export() {
                Ok(records) => records.hash(&mut hasher),
                Err(error) => report.violations.push(format!("state cannot be read: {error}")),
            }
            let hash = hasher.finish();
            history.finals.insert(*id, Final { revision, hash });
            trace.push(format!("member {id} ends at {revision} {hash:016x}"));
        }
        for machine in machines.values() {
            let (begun, installed) = machine.state.snapshots();
            *counts.entry("snapshots begun").or_default() += begun;
            *counts.entry("snapshots installed").or_default() += installed;
            for (version, entries) in machine.log.formats() {
                let what =
                    if version == codec::VERSION { "entries" } else { "entries of a later format" };
                *counts.entry(what).or_default() += entries;
            }
        }
        let is_found = outcome.is_err();
        report.violations.extend(outcome.err());
        // What is in order only in the end is not, if it was broken off.
        if !is_found || self.is_mutant {
            let wanted = |name: &str| {
                scenario.checks.is_empty() || scenario.checks.iter().any(|check| name == check)
            };
            let found = check::violations(history);
            let name = |violation: &str| violation.split(':').next().unwrap_or_default().to_owned();
            report.violations.extend(found.into_iter().filter(|it| wanted(&name(it))));
        }
        if history.finals.is_empty() {
            report.violations.push("no member is left".into());
        }
        let counted = |what: &str| counts.get(what).copied().unwrap_or(0);
        report.acknowledged = history.count(|outcome| matches!(outcome, Outcome::Wrote { .. }))
            + history.fenced.iter().filter(|write| write.revision.is_some()).count()
            + counted("transfers")
            + counted("api writes");
        report.reads = history.count(|outcome| matches!(outcome, Outcome::Read { .. }))
            + history.snapshots.len()
            + counted("api reads");
        report.unknowns = history.count(|outcome| *outcome == Outcome::Unknown);
        let counted = std::mem::take(counts).into_iter();
        report.counts = counted.map(|(what, count)| (what.to_owned(), count)).collect();
        let (trace, history) = (std::mem::take(trace), std::mem::take(history));
        let mut hasher = DefaultHasher::new();
        trace.hash(&mut hasher);
        report.trace_hash = hasher.finish();
        drop(guard);
        Played { report, trace, history }
    }
}

/// What all members hold, if they hold the same and nothing is left to be done.
fn agreement(world: &World) -> Option<u64> {
    if !world.orders.is_empty() || world.order_under_way.is_some() {
        return None;
    }
    let mut held = None;
    for member in &world.members {
        let store = world.stores.get(member)?;
        let index = store.progress().index;
        // Kubernetes' own leases are on events, which live for an hour.
        let has_leases = world.kube.nodes == 0 && !store.leases().is_empty();
        if *held.get_or_insert(index) != index || has_leases {
            return None;
        }
    }
    held
}

#[cfg(test)]
mod tests;
