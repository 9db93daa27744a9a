//! One seed: three members in turmoil, clients on them, faults over them, checks after them.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use store_env::clock::TokioClock;
use store_env::rng;
use store_env::task::Group;
use store_handle::{Handle, KeyRange, Member, MemberId};
use store_raft::{Config, Deps, RaftStore, Start};
use tokio_util::sync::CancellationToken;
use turmoil::Sim;

use crate::check;
use crate::fault::{Fault, Field};
use crate::history::{Final, Lead, Outcome};
use crate::net::SimNetwork;
use crate::scenario::Scenario;
use crate::workload::Seat;
use crate::world::{self, SharedWorld, World};

/// Members of a simulated group.
pub const MEMBERS: MemberId = 3;

const EPOCH_MS: u64 = 1_795_000_000_000;

/// How long members may take to agree once everything is healed.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// How long they must hold the same, and nothing more come.
const SETTLED_FOR: Duration = Duration::from_secs(1);

/// What one seed did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub seed: u64,
    pub leader_changes: usize,
    pub acked_writes: usize,
    pub reads: usize,
    pub unknowns: usize,
    pub fenced_acked: usize,
    pub faults: Vec<String>,
    pub trace: Vec<String>,
    /// What the checks found; empty is good.
    pub violations: Vec<String>,
}

impl Report {
    /// A fingerprint of the whole trace.
    pub fn trace_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.trace.hash(&mut hasher);
        hasher.finish()
    }
}

/// The host of a member.
pub fn host(member: MemberId) -> String {
    format!("m{member}")
}

/// Runs one seed for so long (simulated), and then until all is quiet.
pub fn run(seed: u64, seconds: u64, scenario: &Scenario) -> Report {
    rng::seed_this_thread(seed);
    let mut rng = rng::named("faults", seed);
    let world = SharedWorld::default();
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(seconds) + SETTLE_MAX * 2)
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_micros(200))
        .max_message_latency(Duration::from_millis(3))
        .tcp_capacity(4_096)
        .enable_random_order()
        .build();
    for member in 1..=MEMBERS {
        world.lock().disks.insert(member, world::Disks::default());
        let (world, workloads) = (world.clone(), scenario.workloads);
        sim.host(host(member), move || serve(member, world.clone(), workloads));
    }
    let mut report = Report { seed, ..Report::default() };
    let mut watch = Watch::default();
    let end = Duration::from_secs(seconds);
    let outcome = play(&mut sim, &world, &mut rng, scenario, end, &mut watch, &mut report)
        .and_then(|()| settle(&mut sim, &world, &mut watch));
    finish(&world, &mut report);
    report.violations.extend(outcome.err());
    report
}

/// A member's process: waits if it is meant to be down, then runs the store and its clients.
async fn serve(
    id: MemberId,
    world: SharedWorld,
    workloads: &'static [crate::workload::Workload],
) -> turmoil::Result {
    let down_until = world.lock().down_until.get(&id).copied();
    if let Some(until) = down_until {
        tokio::time::sleep(until.saturating_sub(world::now())).await;
    }
    let (disks, start) = {
        let mut world = world.lock();
        let start = world.starts.entry(id).or_default();
        *start += 1;
        let start = *start;
        (world.disks[&id].clone(), start)
    };
    let now_ms = u64::try_from(world::now().as_millis()).unwrap_or(0);
    let deps = Deps {
        network: Arc::new(SimNetwork { name: host(id) }),
        clock: TokioClock::shared(EPOCH_MS + now_ms),
        log: Arc::new(disks.log),
        state: Arc::new(disks.state),
    };
    let mut group = Group::under(&CancellationToken::new());
    let store = RaftStore::start(config(id), deps, &mut group).await?;
    {
        let mut world = world.lock();
        world.note(world::now(), format_args!("member {id} starts, time {start}"));
        world.stores.insert(id, store.clone());
    }
    let mut number = 0;
    for workload in workloads {
        for _ in 0..workload.clients {
            number += 1;
            let client = u32::try_from(id).unwrap_or(0) * 100_000 + start * 100 + number;
            let seat = Seat {
                client,
                member: id,
                handle: store.clone(),
                world: world.clone(),
                rng: rng::named(workload.name, u64::from(client)),
            };
            group.spawn(format!("{} {client}", workload.name), |stop| (workload.run)(seat, stop));
        }
    }
    group.run(Duration::from_secs(5)).await?;
    Ok(())
}

fn config(id: MemberId) -> Config {
    let member = |id: MemberId| Member {
        id,
        name: host(id),
        peer_address: format!("{}:9000", host(id)),
        labels: std::collections::BTreeMap::new(),
        is_voter: true,
    };
    let mut config = Config::new(7, member(id), Start::Found((1..=MEMBERS).map(member).collect()));
    (config.heartbeat_ms, config.election_min_ms, config.election_max_ms) = (50, 500, 1_000);
    // Small, so that logs are purged and snapshots travel.
    (config.snapshot_entries, config.keep_entries) = (200, 50);
    config.threads = false;
    // What a member keeps in memory is its own affair: nobody may notice.
    config.cache_bytes = [None, Some(0), Some(256)][usize::try_from(id % 3).unwrap_or(0)];
    config
}

/// What has been seen of leaders.
#[derive(Debug, Default)]
struct Watch {
    leads: BTreeSet<Lead>,
    last: Option<Lead>,
    changes: usize,
}

impl Watch {
    fn look(&mut self, world: &SharedWorld, now: Duration) {
        let mut world = world.lock();
        let mut fresh = Vec::new();
        for (member, store) in &world.stores {
            let leadership = *store.leadership().borrow();
            if leadership.leads {
                fresh.push(Lead { term: leadership.term.0, member: *member });
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

fn step(sim: &mut Sim<'_>, world: &SharedWorld, watch: &mut Watch) -> Result<(), String> {
    sim.step().map_err(|error| format!("a member failed: {error}"))?;
    watch.look(world, sim.elapsed());
    Ok(())
}

/// Lets things happen until `end`.
fn play(
    sim: &mut Sim<'_>,
    world: &SharedWorld,
    rng: &mut StdRng,
    scenario: &Scenario,
    end: Duration,
    watch: &mut Watch,
    report: &mut Report,
) -> Result<(), String> {
    let millis =
        |rng: &mut StdRng, from: u64, to: u64| Duration::from_millis(rng.random_range(from..to));
    let mut next_at = Duration::from_secs(2) + millis(rng, 0, 1_000);
    let mut active: Option<(Duration, Box<dyn Fault>)> = None;
    while sim.elapsed() < end {
        step(sim, world, watch)?;
        let now = sim.elapsed();
        if let Some((_, mut fault)) = active.take_if(|(until, _)| *until <= now) {
            fault.heal(&mut Field { sim, world, rng });
            world.lock().note(now, "healed");
            next_at = now + millis(rng, 500, 2_500);
        } else if active.is_none() && next_at <= now {
            let choice = if report.faults.is_empty() { scenario.first } else { scenario.then };
            let mut fault = choice[rng.random_range(0..choice.len())]();
            let done = fault.inject(&mut Field { sim, world, rng });
            world.lock().note(now, &done);
            // The first has to outlast a lease and an election, so that another member leads.
            let least_ms = if report.faults.is_empty() { 3_000 } else { 500 };
            report.faults.push(done);
            active = Some((now + millis(rng, least_ms, 4_500), fault));
        }
    }
    if let Some((_, mut fault)) = active {
        fault.heal(&mut Field { sim, world, rng });
    }
    report.leader_changes = watch.changes;
    Ok(())
}

/// Waits until no client asks any more and all members hold the same.
fn settle(sim: &mut Sim<'_>, world: &SharedWorld, watch: &mut Watch) -> Result<(), String> {
    world.lock().is_over = true;
    let give_up = sim.elapsed() + SETTLE_MAX;
    let mut same_since: Option<(Duration, Vec<u64>)> = None;
    while sim.elapsed() < give_up {
        step(sim, world, watch)?;
        let now = sim.elapsed();
        let held: Vec<u64> =
            world.lock().stores.values().map(|store| store.progress().index).collect();
        let is_same = held.len() == usize::try_from(MEMBERS).unwrap_or(0)
            && held.iter().all(|index| *index == held[0]);
        match &same_since {
            _ if !is_same => same_since = None,
            Some((since, last)) if *last == held => {
                if now - *since >= SETTLED_FOR {
                    return Ok(());
                }
            }
            _ => same_since = Some((now, held)),
        }
    }
    let world = world.lock();
    let status: Vec<_> = world.stores.values().map(|store| store.status()).collect();
    Err(format!("members do not agree in the end: {status:?}"))
}

fn finish(world: &SharedWorld, report: &mut Report) {
    let mut guard = world.lock();
    let World { stores, history, trace, .. } = &mut *guard;
    for (id, store) in &*stores {
        let mut hasher = DefaultHasher::new();
        match store.contents().export() {
            Ok(records) => records.hash(&mut hasher),
            Err(error) => report.violations.push(format!("contents cannot be read: {error}")),
        }
        let revision = store.revision();
        history.finals.insert(*id, Final { revision, hash: hasher.finish() });
        match store.contents().changes(&KeyRange::prefix(""), 1) {
            Ok(changes) => history.changes = changes,
            Err(error) => report.violations.push(format!("history cannot be read: {error}")),
        }
    }
    report.violations.extend(check::violations(history));
    report.acked_writes = history.count(|outcome| matches!(outcome, Outcome::Wrote { .. }));
    report.reads = history.count(|outcome| matches!(outcome, Outcome::Read { .. }));
    report.unknowns = history.count(|outcome| *outcome == Outcome::Unknown);
    report.fenced_acked = history.fenced.iter().filter(|write| write.revision.is_some()).count();
    for (id, held) in &history.finals {
        trace.push(format!("member {id} ends at {} {:016x}", held.revision, held.hash));
    }
    report.trace = std::mem::take(trace);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    #[test]
    fn same_seed_gives_the_same_trace_byte_for_byte() {
        let scenario = scenario::find("mixed").unwrap();
        let (first, second) = (run(11, 6, scenario), run(11, 6, scenario));
        assert_eq!(first.violations, Vec::<String>::new());
        let differs = first.trace.iter().zip(&second.trace).find(|(one, other)| one != other);
        assert_eq!(differs, None);
        assert_eq!(first.trace.len(), second.trace.len());
        assert_ne!(first.trace_hash(), run(12, 6, scenario).trace_hash());
    }

    #[test]
    fn every_scenario_changes_leaders_and_loses_nothing() {
        for name in ["mixed", "partitions", "crashes"] {
            for seed in 1..=3 {
                let report = run(seed, 10, scenario::find(name).unwrap());
                assert_eq!(report.violations, Vec::<String>::new(), "{name} {seed}");
                assert!(report.leader_changes > 0, "{name} {seed}");
                assert!(report.acked_writes > 200, "{name} {seed}: {}", report.acked_writes);
            }
        }
    }

    #[test]
    fn reads_without_a_read_index_are_found() {
        let scenario = scenario::find("mutant-stale-reads").unwrap();
        let found = (1..=10).any(|seed| {
            let report = run(seed, 10, scenario);
            report.violations.iter().any(|violation| violation.starts_with("linearizable"))
        });
        assert!(found, "ten seeds, and no stale read was found");
    }
}
