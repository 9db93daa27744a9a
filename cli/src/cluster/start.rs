//! `kctl start`: a cluster on this machine, made or brought back.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use master_client::kubeconfig::{self, Admin, Kubeconfig};
use master_pki::{JoinToken, Part};
use store_env::clock::SystemClock;

use super::Home;
use super::install::{self, MasterPlace, NodePlace};
use super::layout::{Cluster, Layout};
use super::process::{self, Daemon};
use super::progress::Progress;
use super::status;

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
    let mut cluster = known.unwrap_or_else(|| Cluster::new(&layout, args.base_port));
    // A cluster that exists comes back as it was, and only ever grows.
    let (masters, nodes) =
        if is_new { (3, 1) } else { (cluster.masters.len(), cluster.nodes.len()) };
    let masters = args.masters.unwrap_or(masters).max(cluster.masters.len());
    let nodes = args.nodes.unwrap_or(nodes).max(cluster.nodes.len());
    cluster.masters = (1..=masters).map(|n| format!("master-{n}")).collect();
    cluster.nodes = (1..=nodes).map(|n| format!("node-{n}")).collect();
    layout.save(&cluster)?;

    let verb = if is_new { "Making" } else { "Starting" };
    progress.say(&format!("{verb} the cluster in {}", install::shown(&layout.dir)));
    network_up(&cluster).await?;
    progress.done(&format!("network {} ({})", cluster.bridge(), cluster.bridge_address()));
    let images = build_images(&layout);
    let masters = masters_up(&layout, &cluster, &progress);
    tokio::try_join!(images, masters)?;
    nodes_up(&layout, &cluster, &progress).await?;
    status::print_summary(&layout, &cluster, &progress).await
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
pub(super) async fn build_images(layout: &Layout) -> anyhow::Result<()> {
    if layout.images().join("pause.tar").exists() {
        return Ok(());
    }
    let out = layout.images().display().to_string();
    process::run_program("knode", &["image".into(), "build-demo".into(), "--out".into(), out]).await
}

pub(super) fn master_place(layout: &Layout, cluster: &Cluster, index: usize) -> MasterPlace {
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

pub(super) fn node_place(layout: &Layout, cluster: &Cluster, index: usize) -> NodePlace {
    let name = cluster.nodes[index].clone();
    NodePlace {
        data_dir: layout.of_part(&name),
        name,
        address: cluster.node_address(index).into(),
        netns: cluster.node_netns(index),
        cluster_id: cluster.id.clone(),
        cgroup_root: cluster.cgroup_root(),
        images: layout.images(),
    }
}

/// Where this machine reaches the masters: on loopback, as the kubeconfig says.
pub(super) fn api_addresses(cluster: &Cluster) -> Vec<SocketAddr> {
    (0..cluster.masters.len()).map(|index| super::loopback(cluster.api_port(index))).collect()
}

async fn masters_up(layout: &Layout, cluster: &Cluster, progress: &Progress) -> anyhow::Result<()> {
    let places: Vec<MasterPlace> =
        (0..cluster.masters.len()).map(|index| master_place(layout, cluster, index)).collect();
    let first = &places[0];
    if !first.exists() {
        let (services, pods) = (cluster.service_cidr(), cluster.pod_cidr());
        install::make_cluster(layout, first, &services, &pods, cluster.cluster_dns().into())?;
    }
    write_kubeconfig(layout, &api_addresses(cluster))?;
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
            install::join_as_master(&token, place).await?;
            ensure_running(&place.daemon(layout))?;
        }
    }
    try_join_all(places.iter().map(|place| until_ready(layout, place))).await?;
    status::until_all_vote(layout, cluster.masters.len(), READY_WITHIN).await?;
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
    let daemons =
        places.iter().map(|place| place.daemon(layout)).collect::<anyhow::Result<Vec<_>>>()?;
    for daemon in &daemons {
        ensure_running(daemon)?;
    }
    progress.done("nodes started");
    try_join_all(daemons.iter().map(|daemon| until_node_ready(layout, daemon))).await?;
    progress.done(&format!("{} of {} nodes Ready", daemons.len(), daemons.len()));
    Ok(())
}

pub(super) fn ensure_running(daemon: &Daemon) -> anyhow::Result<()> {
    if daemon.pid().is_none() {
        daemon.start()?;
    }
    Ok(())
}

/// Waits until a master answers `/readyz`; tells the end of its log if it died instead.
pub(super) async fn until_ready(layout: &Layout, place: &MasterPlace) -> anyhow::Result<()> {
    let daemon = place.daemon(layout);
    let client = status::client_of(layout, &[place.api_listen[0]])?;
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

async fn until_node_ready(layout: &Layout, daemon: &Daemon) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(status::client(layout)?);
    let ready = async {
        loop {
            if let Ok(node) = nodes.get(&daemon.name).await
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
    let log = install::shown(daemon.log_file());
    bail!("{} ended while starting; the end of {log}:\n{}", daemon.name, daemon.log_tail())
}

fn not_ready(daemon: &Daemon) -> anyhow::Result<()> {
    let log = install::shown(daemon.log_file());
    bail!(
        "{} is not ready after {READY_WITHIN:?}; the end of {log}:\n{}",
        daemon.name,
        daemon.log_tail()
    )
}

/// Writes `DIR/admin.kubeconfig`, and merges it into the person's own as context `trireme`.
pub(super) fn write_kubeconfig(layout: &Layout, masters: &[SocketAddr]) -> anyhow::Result<()> {
    let name = context_name(layout);
    let admin = master_pki::files::read_credential(&layout.dir.join("pki"), "admin")?;
    let authority = master_pki::files::read(&layout.authority())?;
    let servers: Vec<String> = masters.iter().map(|address| format!("https://{address}")).collect();
    let config = Kubeconfig::admin(&Admin {
        name: &name,
        servers: &servers,
        ca_pem: authority.as_bytes(),
        cert_pem: admin.certificate_pem.as_bytes(),
        key_pem: admin.key_pem.as_bytes(),
    });
    kubeconfig::save(&config, &layout.admin_kubeconfig())
        .context("cannot write the administrator's kubeconfig")?;
    if let Some(own) = own_kubeconfig() {
        kubeconfig::merge_into(&own, &config)
            .with_context(|| format!("cannot merge into {}", own.display()))?;
    }
    Ok(())
}

/// The person's own kubeconfig.
pub(super) fn own_kubeconfig() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"))
}

/// What the cluster is called in the person's kubeconfig.
pub(super) fn context_name(layout: &Layout) -> String {
    if layout.is_default() { "trireme".to_owned() } else { format!("trireme-{}", layout.id()) }
}
