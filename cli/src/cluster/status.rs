//! `kctl status`: who leads, how far each master is, which nodes are ready; asked of each by itself.

#![expect(clippy::print_stdout, reason = "the report is what this command prints")]

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use master_client::kubeconfig;
use master_client::masters::{self, ClientIdentity, MastersConfig};
use master_pki::join::{self, MasterStatus};
use master_pki::{Part, files};
use serde::Serialize;
use serde_json::Value;

use super::Home;
use super::install;
use super::layout::{Cluster, Layout};
use super::progress::Progress;
use super::start;

/// A master that does not answer in this time is reported as down.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The node's lease says which master it talks to.
const MASTER_ANNOTATION: &str = "trireme.dev/master";

#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    home: Home,
    /// `json` for programs.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
}

#[derive(Args, Debug)]
pub struct MembersArgs {
    #[command(flatten)]
    home: Home,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Json,
}

/// What `kctl status -o json` prints.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    leader: Option<String>,
    term: u64,
    masters: Vec<MasterReport>,
    nodes: Vec<NodeReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MasterReport {
    name: String,
    /// `leader`, `follower`, `candidate`, `learner`, or `down`.
    role: String,
    address: String,
    pid: Option<u32>,
    applied: u64,
    lag: u64,
    sync_p99_ms: f64,
    certificate_expires: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeReport {
    name: String,
    ready: bool,
    /// The master that the node talks to.
    master: Option<String>,
}

/// A client of the whole cluster, for its administrator.
pub(super) fn client(layout: &Layout) -> anyhow::Result<Client> {
    match layout.load()? {
        Some(cluster) => client_of(layout, &start::api_addresses(&cluster)),
        None => {
            let path = layout.admin_kubeconfig();
            let config = kubeconfig::load_file(&path).with_context(|| {
                format!("no cluster in {}: `kctl start` makes one", install::shown(&layout.dir))
            })?;
            let servers = config.clusters.iter().flat_map(|entry| entry.cluster.servers());
            let addresses = servers
                .map(|server| server.trim_start_matches("https://").parse())
                .collect::<Result<Vec<SocketAddr>, _>>()?;
            client_of(layout, &addresses)
        }
    }
}

/// A client of just these masters.
pub(super) fn client_of(layout: &Layout, masters: &[SocketAddr]) -> anyhow::Result<Client> {
    let admin = files::read_credential(&layout.dir.join("pki"), "admin")?;
    let servers = masters
        .iter()
        .map(|address| format!("https://{address}").parse())
        .collect::<Result<Vec<http::Uri>, _>>()?;
    let mut config = MastersConfig::new(servers);
    config.ca_pem = Some(files::read(&layout.authority())?.into_bytes());
    config.identity = Some(ClientIdentity {
        cert_pem: admin.certificate_pem.into_bytes(),
        key_pem: admin.key_pem.into_bytes(),
    });
    // Exactly these masters are meant: what one of them says of the others is not wanted here.
    config.refresh = false;
    Ok(masters::connect(config)?)
}

/// Mints a join token, through whichever master answers.
pub(super) async fn new_token(layout: &Layout, part: Part) -> anyhow::Result<String> {
    let word = match part {
        Part::Master => "master",
        Part::Node => "node",
    };
    let uri = format!("{}?part={word}", join::TOKEN_PATH);
    let request = http::Request::post(uri).body(Vec::new())?;
    let reply: Value = client(layout)?.request(request).await?;
    let token = reply["token"].as_str().context("the master's reply holds no token")?;
    Ok(token.to_owned())
}

/// Takes a master out of the group.
pub(super) async fn remove_master(layout: &Layout, name: &str) -> anyhow::Result<()> {
    let uri = format!("{}?name={name}", join::REMOVE_PATH);
    let request = http::Request::post(uri).body(Vec::new())?;
    let _: Value = client(layout)?.request(request).await?;
    Ok(())
}

async fn ask(layout: &Layout, address: SocketAddr) -> anyhow::Result<MasterStatus> {
    let client = client_of(layout, &[address])?;
    let request = http::Request::get(join::STATUS_PATH).body(Vec::new())?;
    Ok(tokio::time::timeout(ANSWER_WITHIN, client.request(request)).await??)
}

/// Waits until `masters` members vote.
pub(super) async fn until_all_vote(
    layout: &Layout,
    masters: usize,
    within: Duration,
) -> anyhow::Result<()> {
    let client = client(layout)?;
    let all = async {
        loop {
            let request = http::Request::get(join::STATUS_PATH).body(Vec::new())?;
            if let Ok(status) = client.request::<MasterStatus>(request).await
                && status.members.iter().filter(|member| member.is_voter).count() >= masters
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    match tokio::time::timeout(within, all).await {
        Ok(done) => done,
        Err(_) => bail!("not all {masters} masters vote after {within:?}: see `kctl status`"),
    }
}

/// Whether a node's Ready condition is True.
pub(super) fn is_ready(node: &Node) -> bool {
    node.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn report(layout: &Layout, cluster: &Cluster) -> Report {
    let indices = 0..cluster.masters.len();
    let answers = join_all(
        indices.clone().map(|index| ask(layout, super::loopback(cluster.api_port(index)))),
    )
    .await;
    let mut report = Report::default();
    for (index, answer) in indices.zip(answers) {
        let place = start::master_place(layout, cluster, index);
        let status = answer.ok();
        if let Some(status) = status.as_ref().filter(|status| status.term >= report.term) {
            report.term = status.term;
            report.leader.clone_from(&status.leader);
        }
        let told = status.unwrap_or_else(|| MasterStatus { role: "down".into(), ..<_>::default() });
        report.masters.push(MasterReport {
            pid: place.daemon(layout).pid(),
            address: format!("https://{}", place.api_listen[0]),
            name: place.name,
            role: told.role,
            applied: told.applied,
            lag: told.lag,
            sync_p99_ms: told.sync_p99_ms,
            certificate_expires: told.certificate_expires,
        });
    }
    report.nodes = nodes(layout).await.unwrap_or_default();
    report
}

async fn nodes(layout: &Layout) -> anyhow::Result<Vec<NodeReport>> {
    let api: Api<Node> = Api::all(client(layout)?);
    let list = tokio::time::timeout(ANSWER_WITHIN, api.list(&ListParams::default())).await??;
    let row = |node: &Node| NodeReport {
        name: node.name_any(),
        ready: is_ready(node),
        master: node.annotations().get(MASTER_ANNOTATION).cloned(),
    };
    Ok(list.items.iter().map(row).collect())
}

fn local(layout: &Layout) -> anyhow::Result<Cluster> {
    layout.load()?.with_context(|| {
        format!("no cluster in {}: `kctl start` makes one", install::shown(&layout.dir))
    })
}

/// `kctl status`.
pub(super) async fn run(args: StatusArgs) -> anyhow::Result<()> {
    let layout = Layout::of(&args.home)?;
    let report = report(&layout, &local(&layout)?).await;
    if args.output == Some(Output::Json) {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    print_report(&report);
    if report.leader.is_none() {
        bail!("no master leads: start what is down with `kctl start`");
    }
    Ok(())
}

fn print_report(report: &Report) {
    let leader = report.leader.as_deref().unwrap_or("<none>");
    println!("leader {leader}, term {}\n", report.term);
    println!(
        "{:<12} {:<10} {:<26} {:>8} {:>9} {:>5} {:>12}  CERTIFICATE EXPIRES",
        "MASTER", "ROLE", "ADDRESS", "PID", "APPLIED", "LAG", "SYNC P99 MS"
    );
    for master in &report.masters {
        let pid = master.pid.map_or_else(|| "-".into(), |pid| pid.to_string());
        println!(
            "{:<12} {:<10} {:<26} {pid:>8} {:>9} {:>5} {:>12.2}  {}",
            master.name,
            master.role,
            master.address,
            master.applied,
            master.lag,
            master.sync_p99_ms,
            master.certificate_expires
        );
    }
    println!("\n{:<12} {:<10} MASTER", "NODE", "READY");
    for node in &report.nodes {
        println!("{:<12} {:<10} {}", node.name, node.ready, node.master.as_deref().unwrap_or("-"));
    }
}

/// `kctl cluster members`.
pub(super) async fn members(args: MembersArgs) -> anyhow::Result<()> {
    let layout = Layout::of(&args.home)?;
    let request = http::Request::get(join::STATUS_PATH).body(Vec::new())?;
    let status: MasterStatus = client(&layout)?.request(request).await?;
    println!("{:<20} {:<12} {:<10} API", "ID", "NAME", "VOTER");
    for member in &status.members {
        println!("{:<20} {:<12} {:<10} {}", member.id, member.name, member.is_voter, member.api);
    }
    Ok(())
}

/// What a person wants to know once the cluster is up.
pub(super) async fn print_summary(
    layout: &Layout,
    cluster: &Cluster,
    progress: &Progress,
) -> anyhow::Result<()> {
    let report = report(layout, cluster).await;
    let leader = report.leader.as_deref().unwrap_or("nobody");
    let addresses: Vec<_> =
        report.masters.iter().map(|master| format!("{} {}", master.name, master.address)).collect();
    let ready = report.nodes.iter().filter(|node| node.ready).count();
    progress.say(&format!(
        "\nReady in {:.1} s: {leader} leads, {ready} of {} nodes Ready.\n\
         \n  masters     {}\n  kubeconfig  {} (context {})\n  logs        {}\n\
         \nNext: kctl get nodes -o wide\n      kctl run hello-node --image=hello-node:v1 --port=8080",
        progress.elapsed_s(),
        report.nodes.len(),
        addresses.join(", "),
        install::shown(&layout.admin_kubeconfig()),
        start::context_name(layout),
        install::shown(&layout.dir.join("logs")),
    ));
    Ok(())
}
