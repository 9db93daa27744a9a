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

use super::fault::{Field, Kind};
use super::lab::{Switch, clock};
use super::machine::{Machine, Program};
use super::plan::Plan;
use super::record::{Record, SharedRecord};
use super::{Args, client, group, judge, masters};

const START_WITHIN: Duration = Duration::from_secs(60);
/// Twelve programs, on however few cores.
const UPSTREAM_STARTS_WITHIN: Duration = Duration::from_secs(300);
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
/// Between two faults.
const SETTLE: Duration = Duration::from_millis(800);
const CLIENTS_END_WITHIN: Duration = Duration::from_secs(10);

/// What came of one fault, or of several at a time.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) kinds: String,
    /// The longest time without an acknowledged write, from the fault until all was whole again.
    pub(super) gap_ms: u64,
    /// The same of one client of whole masters, that was at the leader.
    pub(super) loyal_gap_ms: Option<u64>,
    /// Within how long that client must have found another.
    pub(super) moves_within: Option<Duration>,
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
    let is_go = is_etcd(&program) || matches!(program, Program::Upstream(_));
    let library = if is_go { None } else { clock::library(lab).ok() };
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
            judge::leave(&args.out, seed, &record, &field.machines)?;
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
    let (masters, within) = match args.program()? {
        Program::Upstream(upstream) => {
            (masters::found_upstream(&upstream, &mut field.machines)?, UPSTREAM_STARTS_WITHIN)
        }
        _ => (
            masters::found(&mut field.machines).await.context("no cluster came to be")?,
            START_WITHIN,
        ),
    };
    field.masters = Some(masters.clone());
    field.leader = group::whole(field, within).await.context("the masters did not start")?;
    masters.has_accounts(within).await?;
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
    let mut plan = Plan::new(args, field)?;
    while plan.is_script() || Instant::now() < until {
        let Some(kinds) = plan.next(&mut field.rng) else { break };
        field.masters.as_ref().map_or(Ok(()), |masters| masters.sit_at(field.leader))?;
        tokio::time::sleep(SETTLE).await;
        let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
        let names = names.join("+");
        rounds.push(round(field, &kinds, &names, record).await.context(names)?);
    }
    tokio::time::sleep(SETTLE).await;
    Ok(rounds)
}

fn is_etcd(program: &Program) -> bool {
    let Program::Store(program) = program else { return false };
    program.file_name().is_some_and(|name| name == "etcd")
}

/// Faults that come one after the other, and go in any order.
async fn round(
    field: &mut Field,
    kinds: &[Kind],
    names: &str,
    record: &SharedRecord,
) -> anyhow::Result<Round> {
    let mut lasting: Vec<_> = kinds.iter().map(|kind| (kind.make)()).collect();
    let injected_ms = record.now_ms();
    let mut done = Vec::new();
    for fault in &mut lasting {
        if !done.is_empty() {
            tokio::time::sleep(Duration::from_millis(field.rng.random_range(0..1_500))).await;
        }
        done.push(fault.inject(field)?);
    }
    let what = done.join("; ");
    let lasts = lasting.iter().map(|fault| fault.lasts()).max().unwrap_or_default();
    let extra = Duration::from_millis(field.rng.random_range(0..500));
    tokio::time::sleep(lasts + extra).await;
    lasting.shuffle(&mut field.rng);
    for fault in &mut lasting {
        fault.heal(field)?;
        if kinds.len() > 1 {
            tokio::time::sleep(Duration::from_millis(field.rng.random_range(0..500))).await;
        }
    }
    let healed_ms = record.now_ms();
    for spoiled in std::mem::take(&mut field.spoiled) {
        group::replace(field, spoiled).await?;
    }
    field.leader = group::whole(field, WHOLE_WITHIN).await?;
    let whole_ms = record.now_ms();
    let gap_ms = crate::load::longest_gap_ms(&record.acknowledged_ms(), injected_ms, whole_ms);
    let masters = field.masters.as_ref();
    let loyal_gap_ms = masters.map(|masters| masters.loyal_gap_ms(injected_ms, whole_ms));
    // Others that come with it may leave nobody to go to.
    let moves_within = lasting.iter().find_map(|fault| fault.clients_move_within());
    let moves_within = moves_within.filter(|_| kinds.len() == 1);
    let whole_ms = whole_ms - healed_ms;
    let round = Round { kinds: names.to_owned(), gap_ms, loyal_gap_ms, moves_within, whole_ms };
    let loyal =
        loyal_gap_ms.map_or(String::new(), |gap_ms| format!(", of a client there {gap_ms} ms"));
    println!(
        "{names:<20} {what}: longest gap {gap_ms} ms{loyal}; whole {whole_ms} ms after it was over"
    );
    Ok(round)
}

/// Rounds by kind.
pub(super) fn by_kind(rounds: &[Round]) -> BTreeMap<&str, Vec<&Round>> {
    let mut all: BTreeMap<&str, Vec<&Round>> = BTreeMap::new();
    for round in rounds {
        all.entry(round.kinds.as_str()).or_default().push(round);
    }
    all
}
