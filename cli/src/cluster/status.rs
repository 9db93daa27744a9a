//! `kctl status`: who leads, how far each master is, which nodes are ready; asked of each by itself.

#![expect(clippy::print_stdout, reason = "the report is what this command prints")]

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use master_pki::Part;
use master_pki::join::{self, MasterStatus, MemberStatus};
use serde::Serialize;
use serde_json::Value;

use super::Home;
use super::access;
use super::layout::Layout;
use super::place::{self, MasterPlace};
use super::progress::Progress;

/// A master that does not answer in this time is reported as down.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A node's lease says which master it talks to.
const MASTER_ANNOTATION: &str = "trireme.dev/master";
/// Where the nodes' leases are.
pub(super) const LEASES: &str = "kube-node-lease";
/// A newcomer is promoted by the leader once it has caught up.
const VOTE_WITHIN: Duration = Duration::from_secs(60);
/// The role of a master that answers and of which a node may know no more.
const READY: &str = "ready";

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
    /// `leader`, `follower`, `candidate`, `learner`, or `down`; a node sees only that it is `ready`.
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
    /// If its daemon runs on this machine.
    pid: Option<u32>,
    /// The master that the node talks to.
    master: Option<String>,
}

/// Mints a join token, through whichever master answers.
pub(super) async fn new_token(layout: &Layout, part: Part) -> anyhow::Result<String> {
    let word = match part {
        Part::Master => "master",
        Part::Node => "node",
    };
    let uri = format!("{}?part={word}", join::TOKEN_PATH);
    let request = http::Request::post(uri).body(Vec::new())?;
    let reply: Value = access::admin_client(layout)?.request(request).await?;
    let token = reply["token"].as_str().context("the master's reply holds no token")?;
    Ok(token.to_owned())
}

/// Takes a master out of the group.
pub(super) async fn remove_master(layout: &Layout, name: &str) -> anyhow::Result<()> {
    let uri = format!("{}?name={name}", join::REMOVE_PATH);
    let request = http::Request::post(uri).body(Vec::new())?;
    let _: Value = access::admin_client(layout)?.request(request).await?;
    Ok(())
}

/// The members as the cluster tells; the kubeconfig learns of them.
pub(super) async fn members(layout: &Layout) -> anyhow::Result<Vec<MemberStatus>> {
    let request = http::Request::get(join::STATUS_PATH).body(Vec::new())?;
    let mut status: MasterStatus = access::admin_client(layout)?.request(request).await?;
    status.members.sort_by(|a, b| a.name.cmp(&b.name));
    access::learn(layout, &status.members)?;
    Ok(status.members)
}

/// How one master is, by its own account.
async fn ask(layout: &Layout, url: &str) -> anyhow::Result<MasterStatus> {
    let client = access::client_of(layout, &[url.to_owned()])?;
    let answer = async {
        if access::is_administered(layout) {
            let request = http::Request::get(join::STATUS_PATH).body(Vec::new())?;
            return Ok(client.request(request).await?);
        }
        // A node may ask for no more than this.
        client.request_text(http::Request::get("/readyz").body(Vec::new())?).await?;
        Ok(MasterStatus { role: READY.into(), ..MasterStatus::default() })
    };
    tokio::time::timeout(ANSWER_WITHIN, answer).await?
}

/// Waits until all of these masters vote.
pub(super) async fn until_all_vote(layout: &Layout, places: &[MasterPlace]) -> anyhow::Result<()> {
    let votes = |place: &MasterPlace, members: &[MemberStatus]| {
        members.iter().any(|member| member.name == place.name && member.is_voter)
    };
    let all = async {
        loop {
            if let Ok(members) = members(layout).await
                && places.iter().all(|place| votes(place, &members))
            {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let names: Vec<_> = places.iter().map(|place| place.name.as_str()).collect();
    match tokio::time::timeout(VOTE_WITHIN, all).await {
        Ok(()) => Ok(()),
        Err(_) => {
            bail!("{} cannot vote after {VOTE_WITHIN:?}: see `kctl status`", names.join(", "))
        }
    }
}

/// Whether a node's Ready condition is True.
pub(super) fn is_ready(node: &Node) -> bool {
    node.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// When a node last said that it lives, in Unix milliseconds.
pub(super) fn renewed_ms(lease: &Lease) -> u64 {
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    renewed.map_or(0, |at| u64::try_from(at.0.as_millisecond()).unwrap_or(0))
}

async fn report(layout: &Layout) -> anyhow::Result<Report> {
    let own = place::masters(layout)?;
    let known = known_masters(layout, &own).await?;
    let answers = join_all(known.iter().map(|(_, url)| ask(layout, url))).await;
    let mut report = Report::default();
    for ((name, address), answer) in known.into_iter().zip(answers) {
        let status = answer.ok();
        if let Some(status) = status.as_ref().filter(|status| status.term >= report.term) {
            report.term = status.term;
            report.leader.clone_from(&status.leader);
        }
        let told = status.unwrap_or_else(|| MasterStatus { role: "down".into(), ..<_>::default() });
        let place = own.iter().find(|place| place.name == name);
        report.masters.push(MasterReport {
            pid: place.and_then(|place| place.daemon(layout).pid()),
            address,
            name,
            role: told.role,
            applied: told.applied,
            lag: told.lag,
            sync_p99_ms: told.sync_p99_ms,
            certificate_expires: told.certificate_expires,
        });
    }
    report.nodes = nodes(layout).await.unwrap_or_default();
    Ok(report)
}

/// Name and URL of every master: those on this machine, and those that the cluster or this machine knows of.
async fn known_masters(
    layout: &Layout,
    own: &[MasterPlace],
) -> anyhow::Result<Vec<(String, String)>> {
    let mut known: Vec<_> = own.iter().map(|place| (place.name.clone(), place.url())).collect();
    match tokio::time::timeout(ANSWER_WITHIN, members(layout)).await {
        Ok(Ok(members)) => {
            let others = members.into_iter().filter(|it| own.iter().all(|own| own.name != it.name));
            known.extend(others.map(|member| (member.name, member.api)));
        }
        _ => {
            let others = access::servers(layout)?.into_iter();
            let others = others.filter(|url| own.iter().all(|own| own.url() != *url));
            known.extend(others.map(|url| ("-".to_owned(), url)));
        }
    }
    known.sort();
    Ok(known)
}

async fn nodes(layout: &Layout) -> anyhow::Result<Vec<NodeReport>> {
    let own = place::nodes(layout)?;
    let client = access::client(layout)?;
    let api: Api<Node> = Api::all(client.clone());
    let list = tokio::time::timeout(ANSWER_WITHIN, api.list(&ListParams::default())).await??;
    let leases: Api<Lease> = Api::namespaced(client, LEASES);
    let leases = tokio::time::timeout(ANSWER_WITHIN, leases.list(&ListParams::default())).await?;
    // A node may not read them all: it sees who is ready, no more.
    let leases = leases.map(|list| list.items).unwrap_or_default();
    let lease = |name: &str| leases.iter().find(|lease| lease.name_any() == name);
    let pid = |name: &str| own.iter().find(|place| place.name == name)?.daemon(layout).ok()?.pid();
    let row = |node: &Node| NodeReport {
        name: node.name_any(),
        ready: is_ready(node),
        pid: pid(&node.name_any()),
        master: lease(&node.name_any())
            .and_then(|lease| lease.annotations().get(MASTER_ANNOTATION).cloned()),
    };
    Ok(list.items.iter().map(row).collect())
}

/// `kctl status`.
pub(super) async fn run(args: StatusArgs) -> anyhow::Result<()> {
    let layout = Layout::of(&args.home)?;
    let report = report(&layout).await?;
    if args.output == Some(Output::Json) {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    print_report(&report);
    if report.leader.is_none() && report.masters.iter().all(|master| master.role != READY) {
        bail!("no master leads: start what is down with `kctl start`");
    }
    Ok(())
}

fn print_report(report: &Report) {
    match &report.leader {
        Some(leader) => println!("leader {leader}, term {}\n", report.term),
        None => println!("leader <unknown>\n"),
    }
    println!(
        "{:<12} {:<10} {:<26} {:>8} {:>9} {:>5} {:>12}  CERTIFICATE EXPIRES",
        "MASTER", "ROLE", "ADDRESS", "PID", "APPLIED", "LAG", "SYNC P99 MS"
    );
    for master in &report.masters {
        let pid = shown_pid(master.pid);
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
    println!("\n{:<12} {:<10} {:>8}  MASTER", "NODE", "READY", "PID");
    for node in &report.nodes {
        let master = node.master.as_deref().unwrap_or("-");
        println!("{:<12} {:<10} {:>8}  {master}", node.name, node.ready, shown_pid(node.pid));
    }
}

/// `-`: its daemon does not run on this machine.
fn shown_pid(pid: Option<u32>) -> String {
    pid.map_or_else(|| "-".into(), |pid| pid.to_string())
}

/// `kctl cluster members`.
pub(super) async fn print_members(args: MembersArgs) -> anyhow::Result<()> {
    let layout = Layout::of(&args.home)?;
    println!("{:<20} {:<12} {:<10} API", "ID", "NAME", "VOTER");
    for member in members(&layout).await? {
        println!("{:<20} {:<12} {:<10} {}", member.id, member.name, member.is_voter, member.api);
    }
    Ok(())
}

/// What a person wants to know once the cluster is up.
pub(super) async fn print_summary(layout: &Layout, progress: &Progress) -> anyhow::Result<()> {
    let report = report(layout).await?;
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
        layout.admin_kubeconfig().display(),
        access::context_name(layout),
        layout.dir.join("logs").display(),
    ));
    Ok(())
}
