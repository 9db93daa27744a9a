//! `kctl start`: a cluster on this machine, made or brought back.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use futures::future::try_join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use master_pki::{JoinToken, Part};
use store_env::clock::SystemClock;

use super::Home;
use super::layout::{self, Cluster, Layout};
use super::place::{self, MasterPlace, NodePlace};
use super::process::{self, Daemon};
use super::progress::Progress;
use super::{access, install, status};

/// How long a daemon may take to become ready before we say that it did not.
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Args, Debug)]
pub struct StartArgs {
    #[command(flatten)]
    home: Home,
    /// How many masters: 1, 3 or 5. [default: 3, or as many as the cluster has]
    #[arg(long)]
    masters: Option<usize>,
    /// How many nodes. [default: 1, or as many as the cluster has]
    #[arg(long)]
    nodes: Option<usize>,
    /// The first master's API port; the others count up from it.
    #[arg(long, default_value_t = 6443)]
    base_port: u16,
}

/// Makes what is missing, starts what is down, waits until all is ready.
pub(super) async fn run(args: StartArgs) -> anyhow::Result<()> {
    check(&args)?;
    let layout = Layout::of(&args.home)?;
    let progress = Progress::new(SystemClock::shared());
    let known = layout.load()?;
    let is_new = known.is_none();
    if is_new && is_one_of_several(&layout)? {
        return start_machine(&layout, &args, &progress).await;
    }
    let mut cluster =
        known.unwrap_or_else(|| Cluster::new(&layout, args.base_port, &layout::taken()));
    // A cluster that exists comes back as it was, and only ever grows.
    let (masters, nodes) =
        if is_new { (3, 1) } else { (cluster.masters.len(), cluster.nodes.len()) };
    let masters = args.masters.unwrap_or(masters).max(cluster.masters.len());
    let nodes = args.nodes.unwrap_or(nodes).max(cluster.nodes.len());
    cluster.masters = (1..=masters).map(|n| format!("master-{n}")).collect();
    cluster.nodes = (1..=nodes).map(|n| format!("node-{n}")).collect();
    layout.save(&cluster)?;

    let verb = if is_new { "Making" } else { "Starting" };
    progress.say(&format!("{verb} the cluster in {}", layout.shown()));
    network_up(&cluster).await?;
    progress.done(&format!("network {} ({})", cluster.bridge(), cluster.bridge_address()));
    let images = build_images(&layout);
    let masters = masters_up(&layout, &cluster, &progress);
    tokio::try_join!(images, masters)?;
    nodes_up(&layout, &cluster, &progress).await?;
    status::print_summary(&layout, &progress).await
}

/// Whether `kctl cluster` made what is here.
pub(super) fn is_one_of_several(layout: &Layout) -> anyhow::Result<bool> {
    let is_part = !place::masters(layout)?.is_empty() || !place::nodes(layout)?.is_empty();
    Ok(layout.load()?.is_none() && (is_part || access::is_administered(layout)))
}

/// Starts what this machine is to its cluster.
async fn start_machine(
    layout: &Layout,
    args: &StartArgs,
    progress: &Progress,
) -> anyhow::Result<()> {
    let (masters, nodes) = (place::masters(layout)?, place::nodes(layout)?);
    if args.masters.is_some() || args.nodes.is_some() || masters.is_empty() && nodes.is_empty() {
        bail!(
            "{} belongs to a cluster over several machines, to which `kctl cluster join` adds masters and nodes; \
             `kctl stop --wipe` forgets it",
            layout.shown()
        );
    }
    run_masters(layout, &masters).await?;
    run_nodes(layout, &nodes).await?;
    let names = masters.iter().map(|it| &it.name).chain(nodes.iter().map(|it| &it.name));
    progress.done(&format!("{} ready", names.cloned().collect::<Vec<_>>().join(", ")));
    Ok(())
}

fn check(args: &StartArgs) -> anyhow::Result<()> {
    if let Some(masters) = args.masters.filter(|masters| ![1, 3, 5].contains(masters)) {
        bail!(
            "--masters {masters}: must be 1, 3 or 5 (an even number tolerates no more failures than the odd one below it)"
        );
    }
    if let Some(nodes) = args.nodes.filter(|nodes| *nodes > 200) {
        bail!("--nodes {nodes}: at most 200 fit on one machine's bridge");
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("kctl start makes network namespaces and containers: run it as root");
    }
    Ok(())
}

/// `knode network up`: the bridge, and a namespace for each node but the first.
async fn network_up(cluster: &Cluster) -> anyhow::Result<()> {
    process::run_program("knode", &network_args(cluster, "up")).await
}

/// The flags that `knode network up` and `down` share.
pub(super) fn network_args(cluster: &Cluster, verb: &str) -> Vec<String> {
    let mut args: Vec<String> = ["network", verb, "--bridge"].map(str::to_owned).to_vec();
    args.push(cluster.bridge());
    args.extend(["--address".into(), format!("{}/24", cluster.bridge_address())]);
    for index in 0..cluster.nodes.len() {
        if let Some(netns) = cluster.node_netns(index) {
            args.extend(["--node".into(), format!("{netns}={}", cluster.node_address(index))]);
        }
    }
    args
}

/// Builds the images that every cluster has at hand, once.
async fn build_images(layout: &Layout) -> anyhow::Result<()> {
    if layout.images().join("pause.tar").exists() {
        return Ok(());
    }
    let out = layout.images().display().to_string();
    process::run_program("knode", &["image".into(), "build-demo".into(), "--out".into(), out]).await
}

fn master_place(layout: &Layout, cluster: &Cluster, index: usize) -> MasterPlace {
    let name = cluster.masters[index].clone();
    let bridge = IpAddr::from(cluster.bridge_address());
    let port = cluster.api_port(index);
    MasterPlace {
        data_dir: layout.of_part(&name),
        name,
        api_listen: vec![super::loopback(port), SocketAddr::new(bridge, port)],
        api_advertise: SocketAddr::new(bridge, port),
        peer: super::loopback(cluster.peer_port(index)),
    }
}

fn node_place(layout: &Layout, cluster: &Cluster, index: usize) -> NodePlace {
    let name = cluster.nodes[index].clone();
    NodePlace {
        data_dir: layout.of_part(&name),
        name,
        address: cluster.node_address(index).into(),
        netns: cluster.node_netns(index),
        local_id: cluster.id.clone(),
    }
}

async fn masters_up(layout: &Layout, cluster: &Cluster, progress: &Progress) -> anyhow::Result<()> {
    let places: Vec<MasterPlace> =
        (0..cluster.masters.len()).map(|index| master_place(layout, cluster, index)).collect();
    let first = &places[0];
    if !first.exists() {
        let (services, pods) = (cluster.service_cidr(), cluster.pod_cidr());
        install::make_cluster(layout, first, &services, &pods, cluster.cluster_dns().into())?;
    }
    let urls: Vec<String> = places.iter().map(MasterPlace::url).collect();
    access::write_kubeconfig(layout, &urls)?;
    for place in places.iter().filter(|place| place.exists()) {
        ensure_running(&place.daemon(layout))?;
    }
    until_ready(layout, first).await?;
    let newcomers: Vec<_> = places.iter().filter(|place| !place.exists()).collect();
    if !newcomers.is_empty() {
        progress.done(&format!("{} leads", first.name));
        let token = status::new_token(layout, Part::Master).await?;
        let token = JoinToken::decode(&token).map_err(anyhow::Error::msg)?;
        for place in newcomers {
            install::join_as_master(layout, &token, place).await?;
            ensure_running(&place.daemon(layout))?;
        }
    }
    run_masters(layout, &places).await?;
    progress.done(&format!("{} of {} masters ready", places.len(), places.len()));
    Ok(())
}

async fn nodes_up(layout: &Layout, cluster: &Cluster, progress: &Progress) -> anyhow::Result<()> {
    if cluster.nodes.is_empty() {
        return Ok(());
    }
    let places: Vec<NodePlace> =
        (0..cluster.nodes.len()).map(|index| node_place(layout, cluster, index)).collect();
    if places.iter().any(|place| !place.exists()) {
        let token = status::new_token(layout, Part::Node).await?;
        let token = JoinToken::decode(&token).map_err(anyhow::Error::msg)?;
        for place in places.iter().filter(|place| !place.exists()) {
            install::join_as_node(&token, place).await?;
        }
    }
    run_nodes(layout, &places).await?;
    progress.done(&format!("{} of {} nodes Ready", places.len(), places.len()));
    Ok(())
}

/// Starts masters that were set up, as far as they are down; waits until all serve and vote.
pub(super) async fn run_masters(layout: &Layout, places: &[MasterPlace]) -> anyhow::Result<()> {
    if places.is_empty() {
        return Ok(());
    }
    for place in places {
        ensure_running(&place.daemon(layout))?;
    }
    try_join_all(places.iter().map(|place| until_ready(layout, place))).await?;
    status::until_all_vote(layout, places).await
}

/// Starts nodes that were set up, as far as they are down; waits until all are Ready.
pub(super) async fn run_nodes(layout: &Layout, places: &[NodePlace]) -> anyhow::Result<()> {
    if places.is_empty() {
        return Ok(());
    }
    build_images(layout).await?;
    let daemons =
        places.iter().map(|place| place.daemon(layout)).collect::<anyhow::Result<Vec<_>>>()?;
    let now_ms = SystemClock::shared().unix_ms();
    let mut started = Vec::new();
    for daemon in &daemons {
        // Of one that was down the cluster may still believe that it is Ready.
        let seen_since_ms = if daemon.pid().is_none() { now_ms } else { 0 };
        ensure_running(daemon)?;
        started.push(until_node_ready(layout, daemon, seen_since_ms));
    }
    try_join_all(started).await?;
    Ok(())
}

fn ensure_running(daemon: &Daemon) -> anyhow::Result<()> {
    if daemon.pid().is_none() {
        daemon.start()?;
    }
    Ok(())
}

/// Waits until a master answers `/readyz`; tells the end of its log if it died instead.
async fn until_ready(layout: &Layout, place: &MasterPlace) -> anyhow::Result<()> {
    let daemon = place.daemon(layout);
    let client = access::client_of(layout, &[place.url()])?;
    let ready = async {
        loop {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            if client.request_text(request).await.is_ok() {
                return Ok(());
            }
            alive(&daemon)?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(READY_WITHIN, ready).await.unwrap_or_else(|_| not_ready(&daemon))
}

async fn until_node_ready(
    layout: &Layout,
    daemon: &Daemon,
    seen_since_ms: u64,
) -> anyhow::Result<()> {
    let client = access::client(layout)?;
    let leases: Api<Lease> = Api::namespaced(client.clone(), status::LEASES);
    let nodes: Api<Node> = Api::all(client);
    let ready = async {
        loop {
            if let Ok(lease) = leases.get(&daemon.name).await
                && status::renewed_ms(&lease) >= seen_since_ms
                && let Ok(node) = nodes.get(&daemon.name).await
                && status::is_ready(&node)
            {
                return Ok(());
            }
            alive(daemon)?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(READY_WITHIN, ready).await.unwrap_or_else(|_| not_ready(daemon))
}

fn alive(daemon: &Daemon) -> anyhow::Result<()> {
    if daemon.pid().is_some() {
        return Ok(());
    }
    let log = daemon.log_file().display();
    bail!("{} ended while starting; the end of {log}:\n{}", daemon.name, daemon.log_tail())
}

fn not_ready(daemon: &Daemon) -> anyhow::Result<()> {
    let log = daemon.log_file().display();
    bail!(
        "{} is not ready after {READY_WITHIN:?}; the end of {log}:\n{}",
        daemon.name,
        daemon.log_tail()
    )
}
