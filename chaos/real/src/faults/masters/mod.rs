//! Whole masters under real faults: set up as an operator would, asked through the API of Kubernetes, by the
//! workloads and the nodes of simulations.
//!
//! ```text
//! m1…   kmaster, on a machine of its own (../machine.rs), set up by `kctl cluster init` and `join`
//! c1…   chaos/src/kube/workload/*.rs over `master-client`, at the switch; n1… chaos/src/kube/node.rs
//! watch.rs: each kind on each master, and clients that resume on any    pulse.rs, loyal.rs: gaps    judge.rs: the checks
//! ```

mod gaps;
mod judge;
mod leads;
mod loyal;
mod objects;
mod papers;
mod pulse;
mod traffic;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use chaos::kube::{self as kube_sim, Door};
use http::Request;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use master_pki::join::{self, MasterStatus};
use serde_json::json;
use store_env::task::Crew;
use store_handle::MemberId;
use tokio_util::sync::CancellationToken;

use super::fault::Field;
use super::group;
use super::machine::Machine;
use super::record::SharedRecord;
use super::upstream::Upstream;
use loyal::Loyal;
use papers::Papers;
use traffic::Traffic;

pub(crate) use gaps::{Listed, acknowledged, gaps};
pub(crate) use judge::judge;

/// What clients do, of what they do in simulations.
const WORKLOADS: &[&str] = &[
    "config-maps",
    "config-maps",
    "config-maps",
    "deployments",
    "sets",
    "second-scheduler",
    "quota",
    "namespaces",
    "once",
    "versions",
    "versions",
];

/// How many nodes there are.
const NODES: u64 = 3;

/// Clients that watch, and go on on another master.
const WATCHERS: u32 = 3;

const ANSWER_WITHIN: Duration = Duration::from_secs(1);
const CHANGE_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The masters, as their clients see them.
pub(crate) struct Masters {
    /// They are Kubernetes' own programs on etcd.
    pub(crate) is_upstream: bool,
    /// Where each is.
    urls: Vec<String>,
    papers: Papers,
    /// A client of each.
    each: Vec<Client>,
    loyal: Loyal,
}

impl std::fmt::Debug for Masters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Masters").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// Sets all of them up, one after the other.
pub(crate) async fn found(machines: &mut [Machine]) -> anyhow::Result<Arc<Masters>> {
    let (first, others) = machines.split_first_mut().context("there are masters")?;
    first.set_up(&["cluster", "init"]).await?;
    for machine in others {
        join(first, machine).await?;
    }
    let papers = Papers::read(&machines[0].folder(), &machines[0].name())?;
    masters(machines, papers, false)
}

/// Starts all of those of Kubernetes itself.
pub(crate) fn found_upstream(
    upstream: &Upstream,
    machines: &mut [Machine],
) -> anyhow::Result<Arc<Masters>> {
    let (authority, administrator) = upstream.certify(machines)?;
    machines.iter_mut().try_for_each(Machine::start)?;
    masters(machines, Papers::new(authority, administrator), true)
}

fn masters(
    machines: &[Machine],
    papers: Papers,
    is_upstream: bool,
) -> anyhow::Result<Arc<Masters>> {
    let urls: Vec<_> = machines.iter().map(Machine::api).collect();
    let each = urls.iter().map(|url| papers.client(std::slice::from_ref(url), None, true));
    let each = each.collect::<anyhow::Result<_>>()?;
    Ok(Arc::new(Masters { is_upstream, urls, papers, each, loyal: Loyal::default() }))
}

async fn join(through: &Machine, machine: &mut Machine) -> anyhow::Result<()> {
    let token = through.kctl(&["cluster", "token", "--as", "master"]).await?;
    machine.set_up(&["cluster", "join", "--as", "master", "--token", &token]).await
}

/// Whoever watches and asks until the end, and whoever works until faults are over.
#[derive(Debug)]
pub(crate) struct Crews {
    clients: Crew,
    stop: CancellationToken,
    observers: Crew,
    stop_observers: CancellationToken,
    nodes: Crew,
    stop_nodes: CancellationToken,
}

impl Masters {
    /// Who leads, if all take writes, answer reads that need a quorum, and agree about it.
    pub(crate) async fn look(&self, machines: &[Machine]) -> anyhow::Result<usize> {
        if self.is_upstream {
            return self.look_upstream(machines).await;
        }
        let mut leader = None;
        for (machine, client) in machines.iter().zip(&self.each) {
            let name = machine.name();
            let status = async {
                ask(client).await?;
                status(client).await
            };
            let status = tokio::time::timeout(ANSWER_WITHIN, status).await;
            let status = status.with_context(|| format!("{name} does not answer"))?;
            let status = status.with_context(|| name.clone())?;
            let votes = |member: &join::MemberStatus| member.name == name && member.is_voter;
            ensure!(status.members.iter().any(votes), "{name} does not vote");
            ensure!(status.members.len() == machines.len(), "{name} knows others than there are");
            let says = status.leader.with_context(|| format!("{name} knows no leader"))?;
            ensure!(*leader.get_or_insert(says.clone()) == says, "they do not agree who leads");
        }
        let leader = machines.iter().position(|it| Some(it.name()) == leader);
        leader.context("nobody leads")
    }

    /// The same, if their members of etcd agree.
    async fn look_upstream(&self, machines: &[Machine]) -> anyhow::Result<usize> {
        for (machine, client) in machines.iter().zip(&self.each) {
            let name = machine.name();
            let asked = tokio::time::timeout(ANSWER_WITHIN, ask(client)).await;
            asked.with_context(|| format!("{name} does not answer"))?.context(name)?;
        }
        group::leader(machines).await
    }

    /// Waits until controllers have made what every pod needs.
    pub(crate) async fn has_accounts(&self, within: Duration) -> anyhow::Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.each[0].clone(), "default");
        let there = async {
            while !matches!(accounts.get_opt("default").await, Ok(Some(_))) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let there = tokio::time::timeout(within, there).await;
        there.with_context(|| format!("no controller made an account within {within:?}"))
    }

    /// What an operator does about a master whose disk is spoiled: it is removed, and joins with an empty one.
    pub(crate) async fn replace(&self, field: &mut Field, spoiled: usize) -> anyhow::Result<()> {
        field.machines[spoiled].wipe()?;
        let name = field.machines[spoiled].name();
        let until = tokio::time::Instant::now() + CHANGE_WITHIN;
        for turn in 1.. {
            let through = &field.machines[(spoiled + turn) % field.machines.len()];
            if through.number == spoiled {
                continue;
            }
            match through.kctl(&["cluster", "remove", &name]).await {
                Ok(_) => break,
                // An earlier try was done.
                Err(error) if error.to_string().contains("not found") => break,
                Err(error) if tokio::time::Instant::now() > until => return Err(error),
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
        let through = (spoiled + 1) % field.machines.len();
        let token = field.machines[through].kctl(&["cluster", "token", "--as", "master"]).await?;
        let join = ["cluster", "join", "--as", "master", "--token", &token];
        field.machines[spoiled].set_up(&join).await
    }

    /// Lets these machines join as nodes, and starts an app on them.
    pub(crate) async fn start_traffic(
        &self,
        master: &Machine,
        machines: &mut [Machine],
    ) -> anyhow::Result<Traffic> {
        traffic::start(&self.each[0], master, machines).await
    }

    /// Seats all who ask, watch and run pods.
    pub(crate) async fn seat(
        self: &Arc<Self>,
        seed: u64,
        record: &SharedRecord,
    ) -> anyhow::Result<Crews> {
        let masters: Vec<MemberId> = (1..).zip(&self.urls).map(|(id, _)| id).collect();
        let door = self.clone();
        let connect = move |name: &str, masters: &[MemberId]| door.connect(name, masters);
        {
            let mut world = record.world.lock();
            world.kube.door = Some(Door(Arc::new(connect)));
            world.kube.nodes = NODES;
            world.kube.busy = u32::try_from(WORKLOADS.len())?;
        }
        let (stop, stop_observers, stop_nodes) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let (mut clients, mut observers, mut nodes) = (Crew::new(), Crew::new(), Crew::new());
        for (number, client) in (1..).zip(&self.each) {
            if !self.is_upstream {
                leads::seat(&mut observers, client, record, &stop_observers);
            }
            watch::seat_observers(&mut observers, number, client, record, &stop_observers);
        }
        for number in 1..=NODES {
            let (masters, world, stop) =
                (masters.clone(), record.world.clone(), stop_nodes.clone());
            nodes.spawn(async move {
                let ended = kube_sim::node::run(number, &masters, world.clone(), &stop).await;
                world.lock().violations.extend(ended.err().map(|it| format!("a node: {it:#}")));
            });
        }
        for (number, name) in (1..).zip(WORKLOADS) {
            let workload = kube_sim::workload::find(name).with_context(|| format!("no {name}"))?;
            let (masters, world) = (masters.clone(), record.world.clone());
            clients.spawn(async move {
                let ended = kube_sim::client::run(number, workload, &masters, world.clone()).await;
                world.lock().violations.extend(ended.err().map(|it| format!("a client: {it:#}")));
            });
        }
        for number in 0..WATCHERS {
            watch::seat_client(&mut clients, number, seed, &self.each, record, &stop);
        }
        pulse::seat(&mut clients, &self.each, record, &stop).await?;
        loyal::seat(&mut clients, self, record, &stop).await?;
        Ok(Crews { clients, stop, observers, stop_observers, nodes, stop_nodes })
    }

    fn connect(&self, name: &str, masters: &[MemberId]) -> anyhow::Result<Client> {
        let url = |id: &MemberId| self.urls.get(usize::try_from(*id).ok()?.checked_sub(1)?);
        let urls: Vec<_> = masters.iter().filter_map(url).cloned().collect();
        self.papers.client(&urls, Some(name).filter(|name| name.starts_with('n')), true)
    }
}

/// A write, and a read.
async fn ask(client: &Client) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let patch = Patch::Merge(json!({"data": {"looked": chaos::world::unix_ms().to_string()}}));
    match maps.patch("whole", &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let map = serde_json::from_value(json!({"metadata": {"name": "whole"}}))?;
            maps.create(&PostParams::default(), &map).await?;
        }
        outcome => drop(outcome?),
    }
    if maps.get_opt("whole").await?.is_none() {
        bail!("what was written is not there");
    }
    Ok(())
}

/// How a master is, by its own account.
async fn status(client: &Client) -> anyhow::Result<MasterStatus> {
    Ok(client.request(Request::get(join::STATUS_PATH).body(Vec::new())?).await?)
}
