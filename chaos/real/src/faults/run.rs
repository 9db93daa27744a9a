//! One run: members are started, clients are seated, fault after fault comes and goes; then all is judged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use store_env::clock::SystemClock;
use store_env::task::Crew;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fault::{Field, KINDS, Kind};
use super::lab::{Switch, clock};
use super::machine::{Machine, Program};
use super::record::{Record, SharedRecord};
use super::{Args, client, group, judge, masters};

const START_WITHIN: Duration = Duration::from_secs(60);
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
/// Between two faults.
const SETTLE: Duration = Duration::from_millis(800);
const CLIENTS_END_WITHIN: Duration = Duration::from_secs(10);

/// What came of one fault.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) kind: &'static str,
    /// The longest time without an acknowledged write, from the fault until all was whole again.
    pub(super) gap_ms: u64,
    /// From the end of the fault until all members answered.
    pub(super) whole_ms: u64,
}

pub(super) async fn run(args: &Args, lab: &Path) -> anyhow::Result<()> {
    let seed = args.seed.unwrap_or_else(|| SystemClock::shared().unix_ms());
    let members = usize::from(args.members);
    let mut field = Field {
        switch: Switch::with_machines(members + usize::from(args.nodes))?,
        machines: Vec::new(),
        masters: None,
        nodes: Vec::new(),
        rng: SmallRng::seed_from_u64(seed),
        leader: 0,
        spoiled: Vec::new(),
    };
    let program = args.program()?;
    // Go asks the kernel itself.
    let library = if is_etcd(&program) { None } else { clock::library(lab).ok() };
    for number in 0..members {
        let library = library.as_deref();
        field.machines.push(Machine::new(number, members, &program, lab, library)?);
    }
    if let Program::Master { kctl, .. } = &program {
        let node = Program::Node { kctl: kctl.clone() };
        for number in members..members + usize::from(args.nodes) {
            field.nodes.push(Machine::new(number, members, &node, lab, None)?);
        }
    } else if args.nodes > 0 {
        bail!("--nodes are nodes of masters: give --masters, too");
    }
    let record = Arc::new(Record::new());
    let what = if args.masters { "masters" } else { "members of the store" };
    println!("seed {seed}: {members} {what}: {}", program.path().display());
    let played = match args.masters {
        true => play_masters(args, &mut field, &record, seed).await,
        false => play(args, &mut field, &record, seed).await,
    };
    // What stands still does not end either.
    for machine in field.machines.iter_mut().chain(&mut field.nodes) {
        machine.kill()?;
    }
    field.machines.append(&mut field.nodes);
    match played {
        Ok(()) if !args.keep => Ok(()),
        played => {
            judge::leave(&args.out, seed, &record.history(), &field.machines)?;
            played
        }
    }
}

async fn play(
    args: &Args,
    field: &mut Field,
    record: &SharedRecord,
    seed: u64,
) -> anyhow::Result<()> {
    for machine in &mut field.machines {
        machine.start()?;
    }
    field.leader = group::whole(field, START_WITHIN).await.context("the members did not start")?;
    let endpoints: Vec<_> = field.machines.iter().map(Machine::endpoint).collect();
    let (stop, stop_observers) = (CancellationToken::new(), CancellationToken::new());
    let (mut clients, mut observers) = (Crew::new(), Crew::new());
    client::seat_observers(&mut observers, &endpoints, record, &stop_observers);
    client::seat(&mut clients, client::Counts::default(), seed, &endpoints, record, &stop);
    let rounds = break_things(args, field, record).await?;
    stop.cancel();
    clients.finish(CLIENTS_END_WITHIN).await;
    judge::settle(field).await?;
    stop_observers.cancel();
    observers.finish(CLIENTS_END_WITHIN).await;
    judge::judge(field, record, &rounds, is_etcd(&args.program()?)).await
}

async fn play_masters(
    args: &Args,
    field: &mut Field,
    record: &SharedRecord,
    seed: u64,
) -> anyhow::Result<()> {
    let masters = masters::found(&mut field.machines).await.context("no cluster came to be")?;
    field.masters = Some(masters.clone());
    field.leader = group::whole(field, START_WITHIN).await.context("the masters did not start")?;
    let mut traffic = None;
    if args.nodes > 0 {
        let started = masters.start_traffic(&field.machines[0], &mut field.nodes).await;
        traffic = Some(started.context("the nodes did not start")?);
    }
    let crews = masters.seat(seed, record).await?;
    let rounds = break_things(args, field, record).await?;
    masters::judge(&masters, crews, traffic, record, &rounds).await
}

/// Fault after fault, as long as is given.
async fn break_things(
    args: &Args,
    field: &mut Field,
    record: &SharedRecord,
) -> anyhow::Result<Vec<Round>> {
    let until = Instant::now() + Duration::from_secs(args.for_seconds);
    let mut rounds = Vec::new();
    let mut plan = Plan::new(&args.faults, field);
    while Instant::now() < until {
        tokio::time::sleep(SETTLE).await;
        let kind = plan.next(&mut field.rng).context("no fault is possible here")?;
        rounds.push(round(field, kind, record).await.with_context(|| kind.name)?);
    }
    tokio::time::sleep(SETTLE).await;
    Ok(rounds)
}

/// In which order kinds come: each once, in any order, and then again.
#[derive(Debug)]
struct Plan {
    kinds: Vec<Kind>,
    left: Vec<Kind>,
}

impl Plan {
    fn new(given: &[Kind], field: &Field) -> Self {
        let all = if given.is_empty() { KINDS } else { given };
        let able = |kind: &Kind| match (kind.make)().lacks(field) {
            None => true,
            Some(what) => {
                println!("{:<20} left out, since it needs {what}", kind.name);
                false
            }
        };
        Self { left: Vec::new(), kinds: all.iter().copied().filter(able).collect() }
    }

    fn next(&mut self, rng: &mut SmallRng) -> Option<Kind> {
        if self.left.is_empty() {
            self.left = self.kinds.clone();
            self.left.shuffle(rng);
        }
        self.left.pop()
    }
}

fn is_etcd(program: &Program) -> bool {
    let Program::Store(program) = program else { return false };
    program.file_name().is_some_and(|name| name == "etcd")
}

async fn round(field: &mut Field, kind: Kind, record: &SharedRecord) -> anyhow::Result<Round> {
    let mut fault = (kind.make)();
    let injected_ms = record.now_ms();
    let what = fault.inject(field)?;
    let extra = Duration::from_millis(field.rng.random_range(0..500));
    tokio::time::sleep(fault.lasts() + extra).await;
    fault.heal(field)?;
    let healed_ms = record.now_ms();
    for spoiled in std::mem::take(&mut field.spoiled) {
        group::replace(field, spoiled).await?;
    }
    field.leader = group::whole(field, WHOLE_WITHIN).await?;
    let whole_ms = record.now_ms();
    let gap_ms = crate::load::longest_gap_ms(&record.acknowledged_ms(), injected_ms, whole_ms);
    let round = Round { kind: kind.name, gap_ms, whole_ms: whole_ms - healed_ms };
    println!(
        "{:<20} {what}: longest gap {gap_ms} ms; whole {} ms after it was over",
        round.kind, round.whole_ms
    );
    Ok(round)
}

/// Rounds by kind.
pub(super) fn by_kind(rounds: &[Round]) -> BTreeMap<&'static str, Vec<&Round>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for round in rounds {
        all.entry(round.kind).or_default().push(round);
    }
    all
}
