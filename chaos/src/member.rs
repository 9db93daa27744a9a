//! A member's process: the production store over a simulated machine, and the clients that sit on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use store_env::rng;
use store_env::task::Group;
use store_handle::{Handle, Member, MemberId};
use store_raft::{Config, Deps, RaftStore, Start};
use tokio_util::sync::CancellationToken;

use crate::kube;
use crate::mutant::{MutantHandle, Mutation};
use crate::net::SimNetwork;
use crate::operator;
use crate::workload::Seat;
use crate::world::{self, SharedWorld, host, place};

/// What the group is told of a member.
pub fn about(id: MemberId) -> Member {
    Member {
        id,
        name: host(id),
        peer_address: format!("{}:9000", host(id)),
        labels: BTreeMap::new(),
        is_voter: true,
    }
}

/// Waits if it is meant to be down, then runs the store and its clients until they fail; then is there no more.
pub(crate) async fn serve(machine: u64, world: SharedWorld) -> turmoil::Result {
    let members: Vec<MemberId> = world.lock().machines.keys().copied().collect();
    let id = members.into_iter().find(|id| place(*id) == machine).ok_or("nobody is there")?;
    let down_until = world.lock().down_until.get(&id).copied();
    if let Some(until) = down_until {
        tokio::time::sleep(until.saturating_sub(world::now())).await;
    }
    let ended = live(id, &world).await;
    let reason = ended.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
    {
        let mut world = world.lock();
        world.note(world::now(), format_args!("member {id} stops: {reason}"));
        world.stores.remove(&id);
        world.failed.insert(id, reason.clone());
        world.count("members stopped");
        if !world.doomed.contains(&id) {
            world.violations.push(format!("member {id} stopped: {reason}"));
        }
    }
    // Its machine is up, and refuses connections.
    std::future::pending().await
}

async fn live(id: MemberId, world: &SharedWorld) -> turmoil::Result {
    let (machine, life, founders, links, mutation) = {
        let mut world = world.lock();
        let life = world.starts.entry(id).or_default();
        *life += 1;
        let life = *life;
        let founders = world.machines.iter().filter(|(_, machine)| machine.is_founder);
        let founders: Vec<Member> = founders.map(|(id, _)| about(*id)).collect();
        (world.machines[&id].clone(), life, founders, world.links.clone(), world.mutation)
    };
    let start = if machine.is_founder { Start::Found(founders) } else { Start::Join };
    let mut config = Config::new(7, about(id), start);
    (config.heartbeat_ms, config.election_min_ms, config.election_max_ms) = (50, 500, 1_000);
    (config.snapshot_entries, config.keep_entries) = world.lock().snapshot_entries;
    config.threads = false;
    config.reads_format = machine.reads_format;
    (config.epoch, config.former_epochs) = (machine.epoch, machine.former_epochs.clone());
    if mutation == Some(Mutation::KeepsEpoch) {
        (config.epoch, config.former_epochs) = (1, Vec::new());
    }
    // What a member keeps in memory is its own affair: nobody may notice.
    config.cache_bytes = [None, Some(0), Some(256)][usize::try_from(id % 3).unwrap_or(0)];
    let network = SimNetwork { name: host(id), links };
    let deps = Deps {
        network: Arc::new(network.clone()),
        clock: Arc::new(machine.clock.clone()),
        log: Arc::new(machine.log.clone()),
        state: Arc::new(machine.state.clone()),
    };
    let mut group = Group::under(&CancellationToken::new());
    let store = RaftStore::start(config, deps, &mut group).await?;
    let workloads = {
        let mut world = world.lock();
        world.note(world::now(), format_args!("member {id} starts, time {life}"));
        world.stores.insert(id, store.clone());
        // Clients have been told of an epoch that is over.
        if world.is_current(id) { world.workloads.clone() } else { Vec::new() }
    };
    let handle: Arc<dyn Handle> = match mutation {
        Some(mutation) => MutantHandle::shared(store, mutation),
        None => store,
    };
    if world.lock().kube.nodes > 0 {
        let (handle, clock) = (handle.clone(), Arc::new(machine.clock.clone()));
        kube::master::start(id, handle, clock, &network, world, &mut group).await?;
    }
    let mut number = 0;
    let mut seat = |name: &str| {
        number += 1;
        let client = u32::try_from(id).unwrap_or(0) * 100_000 + life * 100 + number;
        let (handle, world) = (handle.clone(), world.clone());
        Seat { client, member: id, handle, world, rng: rng::named(name, u64::from(client)) }
    };
    for workload in workloads {
        for _ in 0..workload.clients {
            let seat = seat(workload.name);
            let name = format!("{} {}", workload.name, seat.client);
            group.spawn(name, |stop| (workload.run)(seat, stop));
        }
    }
    let operator = seat("operator");
    group.spawn("operator", |stop| operator::run(operator, life, stop));
    group.run(Duration::from_secs(5)).await?;
    Ok(())
}
