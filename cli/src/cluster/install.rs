//! Makes a machine a master or a node: keys, configuration, daemon. One code for one machine or many.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use master_pki::join::{ClusterFacts, JoinReply, JoinRequest};
use master_pki::{Authority, Credential, JoinToken, Part, Profile, Usage, files};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use store_env::clock::SystemClock;

use super::layout::Layout;
use super::place::{self, MasterPlace, NodePlace};
use super::progress::Progress;
use super::{InitArgs, JoinArgs, PartArg, RemoveArgs, TokenArgs, access, pinned, start, status};

/// Certificates of masters and nodes live a year.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(365 * 86_400);

/// The first service address is the API's own, as everywhere in Kubernetes.
const API_SERVICE_NAMES: [&str; 4] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];

/// Sets up the first master of a new cluster: authority, keys, configuration, administrator.
pub(super) fn make_cluster(
    layout: &Layout,
    place: &MasterPlace,
    service_cidr: &str,
    pod_cidr: &str,
    cluster_dns: IpAddr,
) -> anyhow::Result<()> {
    let now_ms = SystemClock::shared().unix_ms();
    let authority = Authority::generate("trireme", now_ms)?;
    let (service_account_key, _) = master_pki::ca::generate_key_pair()?;
    let facts = ClusterFacts {
        cluster_id: random_id(),
        service_cidr: service_cidr.to_owned(),
        pod_cidr: pod_cidr.to_owned(),
        cluster_dns,
        cluster_domain: "cluster.local".into(),
        masters: vec![format!("https://{}", place.api_advertise)],
    };
    write_master(place, &facts, &authority, &service_account_key, random_id(), "init")?;
    write_administrator(layout, &authority, place)
}

/// Gives the administrator a way in from this machine.
fn write_administrator(
    layout: &Layout,
    authority: &Authority,
    place: &MasterPlace,
) -> anyhow::Result<()> {
    files::write_public(&layout.authority(), authority.certificate_pem().as_bytes())?;
    let admin = Profile {
        common_name: "kubernetes-admin".into(),
        organization: Some("system:masters".into()),
        alt_names: Vec::new(),
        usage: Usage::Client,
        lifetime: CERTIFICATE_LIFETIME,
    };
    let credential = authority.issue(&admin, SystemClock::shared().unix_ms())?;
    files::write_credential(&layout.dir.join("pki"), "admin", &credential)?;
    access::write_kubeconfig(layout, &[place.url()])
}

/// Writes a master's keys, certificates and configuration.
fn write_master(
    place: &MasterPlace,
    facts: &ClusterFacts,
    authority: &Authority,
    service_account_key: &str,
    member_id: u64,
    origin: &str,
) -> anyhow::Result<()> {
    let pki = place.data_dir.join("pki");
    files::write_credential(&pki, "ca", authority.credential())?;
    files::write_secret(&pki.join("sa.key"), service_account_key.as_bytes())?;
    let now_ms = SystemClock::shared().unix_ms();
    for (stem, profile) in master_profiles(place, facts)? {
        files::write_credential(&pki, stem, &authority.issue(&profile, now_ms)?)?;
    }
    let config = json!({
        "name": place.name,
        "clusterId": facts.cluster_id,
        "memberId": member_id,
        "origin": origin,
        "apiListen": place.api_listen,
        "apiAdvertise": place.api_advertise,
        "peerListen": place.peer,
        "peerAdvertise": place.peer,
        "serviceCidr": facts.service_cidr,
        "podCidr": facts.pod_cidr,
        "clusterDns": facts.cluster_dns,
        "clusterDomain": facts.cluster_domain,
    });
    // Written last: a master whose configuration is there is complete.
    let text = serde_json::to_vec_pretty(&config)?;
    files::write_public(&place.config_file(), &text)?;
    Ok(())
}

fn master_profiles(
    place: &MasterPlace,
    facts: &ClusterFacts,
) -> anyhow::Result<[(&'static str, Profile); 3]> {
    let mut names: Vec<String> = API_SERVICE_NAMES.map(str::to_owned).to_vec();
    names.push(format!("kubernetes.default.svc.{}", facts.cluster_domain));
    names.push(place.name.clone());
    names.push(first_address(&facts.service_cidr)?);
    names.push("127.0.0.1".into());
    let addresses = place.api_listen.iter().chain([&place.api_advertise, &place.peer]);
    names.extend(addresses.map(|address| address.ip().to_string()));
    names.sort();
    names.dedup();
    let profile = |common_name: &str, organization: Option<&str>, usage| Profile {
        common_name: common_name.to_owned(),
        organization: organization.map(str::to_owned),
        alt_names: if usage == Usage::Client { Vec::new() } else { names.clone() },
        usage,
        lifetime: CERTIFICATE_LIFETIME,
    };
    Ok([
        ("apiserver", profile("kube-apiserver", None, Usage::Server)),
        ("peer", profile(&place.name, Some("trireme:peers"), Usage::Peer)),
        (
            "kubelet-client",
            profile("kube-apiserver-kubelet-client", Some("system:masters"), Usage::Client),
        ),
    ])
}

/// `10.96.0.0/16` → `10.96.0.1`.
fn first_address(cidr: &str) -> anyhow::Result<String> {
    let (network, _) = cidr.split_once('/').context("a CIDR has the form 10.96.0.0/16")?;
    let network: std::net::Ipv4Addr = network.parse().context("not an IPv4 network")?;
    Ok(std::net::Ipv4Addr::from(u32::from(network) + 1).to_string())
}

fn nth_address(cidr: &str, n: u32) -> anyhow::Result<IpAddr> {
    let (network, _) = cidr.split_once('/').context("a CIDR has the form 10.96.0.0/16")?;
    let network: std::net::Ipv4Addr = network.parse().context("not an IPv4 network")?;
    Ok(std::net::Ipv4Addr::from(u32::from(network) + n).into())
}

fn random_id() -> u64 {
    // Never 0, and small enough for every JSON reader.
    (rand::random::<u64>() >> 11) | 1
}

/// Joins as a master: asks to be added, writes what it was given. Its daemon does the rest.
pub(super) async fn join_as_master(
    layout: &Layout,
    token: &JoinToken,
    place: &MasterPlace,
) -> anyhow::Result<()> {
    let request = JoinRequest::Master {
        name: place.name.clone(),
        peer: place.peer,
        api: place.api_advertise,
    };
    let JoinReply::Master { facts, member_id, authority, service_account_key_pem } =
        pinned::join(token, &request).await?
    else {
        bail!("the masters answered as if a node had asked: use a token made with `--as master`")
    };
    let authority = Authority::load(authority)?;
    write_master(place, &facts, &authority, &service_account_key_pem, member_id, "join")?;
    // A master holds the authority, so its administrator can act from there too.
    if access::is_administered(layout) {
        Ok(())
    } else {
        write_administrator(layout, &authority, place)
    }
}

/// Joins as a node: gets its two certificates, writes what it was given.
pub(super) async fn join_as_node(token: &JoinToken, place: &NodePlace) -> anyhow::Result<()> {
    let user = format!("system:node:{}", place.name);
    let (client_csr, client_key) = master_pki::ca::request(&user, Some("system:nodes"))?;
    let (serving_csr, serving_key) = master_pki::ca::request(&user, Some("system:nodes"))?;
    let request = JoinRequest::Node {
        name: place.name.clone(),
        addresses: vec![place.address],
        client_csr,
        serving_csr,
    };
    let JoinReply::Node { facts, authority_pem, client_certificate_pem, serving_certificate_pem } =
        pinned::join(token, &request).await?
    else {
        bail!("the masters answered as if a master had asked: use a token made with `--as node`")
    };
    let pki = place.data_dir.join("pki");
    files::write_public(&pki.join("ca.crt"), authority_pem.as_bytes())?;
    let client = Credential { certificate_pem: client_certificate_pem, key_pem: client_key };
    files::write_credential(&pki, "client", &client)?;
    let serving = Credential { certificate_pem: serving_certificate_pem, key_pem: serving_key };
    files::write_credential(&pki, "serving", &serving)?;
    std::fs::create_dir_all(place.data_dir.join("manifests"))?;
    place.complete(&facts)
}

/// `kctl cluster init`.
pub(super) async fn init(args: InitArgs) -> anyhow::Result<()> {
    let layout = Layout::of(&args.home)?;
    refuse_mixture(&layout, None)?;
    let place = master_place(&layout, &args.name, args.address, args.api_port, args.peer_port);
    let progress = Progress::new(SystemClock::shared());
    let dns = nth_address(&args.service_cidr, 10)?;
    make_cluster(&layout, &place, &args.service_cidr, &args.pod_cidr, dns)?;
    start::run_masters(&layout, &[place]).await?;
    progress.done(&format!("{} leads a new cluster", args.name));
    for part in [PartArg::Master, PartArg::Node] {
        let token = status::new_token(&layout, part.into()).await?;
        let word = if part == PartArg::Master { "master" } else { "node" };
        progress.say(&format!(
            "\nTo add a {word}:\n  kctl cluster join --as {word} --name NAME --address IP --token {token}"
        ));
    }
    Ok(())
}

/// `kctl cluster join`.
pub(super) async fn join(args: JoinArgs) -> anyhow::Result<()> {
    let layout = Layout::of(&args.home)?;
    let token = JoinToken::decode(&args.token).map_err(anyhow::Error::msg)?;
    refuse_mixture(&layout, Some(&token))?;
    let progress = Progress::new(SystemClock::shared());
    let master = master_place(&layout, &args.name, args.address, args.api_port, args.peer_port);
    let node = NodePlace {
        name: args.name.clone(),
        data_dir: layout.of_part(&args.name),
        address: args.address,
        netns: None,
        local_id: layout.id(),
    };
    if master.exists() || node.exists() {
        bail!("{} was set up here before: `kctl start` starts it", args.name);
    }
    match args.part {
        PartArg::Master => {
            join_as_master(&layout, &token, &master).await?;
            start::run_masters(&layout, &[master]).await?;
            progress.done(&format!("{} has joined, and votes", args.name));
        }
        PartArg::Node => {
            join_as_node(&token, &node).await?;
            start::run_nodes(&layout, &[node]).await?;
            progress.done(&format!("{} has joined, and is Ready", args.name));
        }
    }
    Ok(())
}

/// A folder holds parts of one cluster, which were all set up in the same way.
fn refuse_mixture(layout: &Layout, token: Option<&JoinToken>) -> anyhow::Result<()> {
    let dir = layout.shown();
    if layout.load()?.is_some() {
        bail!("{dir} holds a cluster made by `kctl start`: choose another --data-dir");
    }
    if place::masters(layout)?.is_empty() && place::nodes(layout)?.is_empty() {
        return Ok(());
    }
    let Some(token) = token else {
        bail!("{dir} is part of a cluster already: `kctl status` shows it");
    };
    let (authority, ..) = access::papers(layout)?;
    let authority = CertificateDer::from_pem_file(&authority)?;
    if master_pki::ca::public_key_hash(&authority)? != token.authority_hash {
        bail!("{dir} is part of a cluster that the token is not for: choose another --data-dir");
    }
    Ok(())
}

fn master_place(
    layout: &Layout,
    name: &str,
    address: IpAddr,
    api_port: u16,
    peer_port: u16,
) -> MasterPlace {
    let api = SocketAddr::new(address, api_port);
    MasterPlace {
        name: name.to_owned(),
        data_dir: layout.of_part(name),
        api_listen: vec![api, super::loopback(api_port)],
        api_advertise: api,
        peer: SocketAddr::new(address, peer_port),
    }
}

/// `kctl cluster token`.
pub(super) async fn token(args: TokenArgs) -> anyhow::Result<()> {
    let layout = Layout::of(&args.home)?;
    let token = status::new_token(&layout, args.part.into()).await?;
    Progress::new(SystemClock::shared()).say(&token);
    Ok(())
}

/// `kctl cluster remove`.
pub(super) async fn remove(args: RemoveArgs) -> anyhow::Result<()> {
    let layout = Layout::of(&args.home)?;
    status::remove_master(&layout, &args.name).await?;
    Progress::new(SystemClock::shared()).say(&format!("master \"{}\" removed", args.name));
    Ok(())
}

impl From<PartArg> for Part {
    fn from(part: PartArg) -> Self {
        match part {
            PartArg::Master => Self::Master,
            PartArg::Node => Self::Node,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_addresses_follow_from_the_range() {
        assert_eq!(first_address("10.96.0.0/16").unwrap(), "10.96.0.1");
        assert_eq!(nth_address("10.97.0.0/16", 10).unwrap().to_string(), "10.97.0.10");
        assert!(first_address("10.96.0.0").is_err());
    }
}
