//! How this machine reaches the masters: where they are, what it shows them, and the kubeconfig that says so.
//!
//! A master's machine acts as the administrator; a machine that is only a node, as that node.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use kube::Client;
use master_client::kubeconfig::{self, Admin, Kubeconfig};
use master_client::masters::{self, ClientIdentity, MastersConfig};
use master_pki::files;
use master_pki::join::MemberStatus;

use super::layout::Layout;
use super::place;

/// A client of the whole cluster.
pub(super) fn client(layout: &Layout) -> anyhow::Result<Client> {
    client_of(layout, &servers(layout)?)
}

/// A client of the whole cluster that may do everything.
pub(super) fn admin_client(layout: &Layout) -> anyhow::Result<Client> {
    if !is_administered(layout) && !place::nodes(layout)?.is_empty() {
        bail!("{} holds no administrator's key: do this on a master's machine", layout.shown());
    }
    client(layout)
}

/// A client of just these masters.
pub(super) fn client_of(layout: &Layout, masters: &[String]) -> anyhow::Result<Client> {
    let (authority, pki, stem) = papers(layout)?;
    let own = files::read_credential(&pki, stem)?;
    let servers = masters.iter().map(|url| url.parse()).collect::<Result<Vec<http::Uri>, _>>()?;
    let mut config = MastersConfig::new(servers);
    config.ca_pem = Some(files::read(&authority)?.into_bytes());
    config.identity = Some(ClientIdentity {
        cert_pem: own.certificate_pem.into_bytes(),
        key_pem: own.key_pem.into_bytes(),
    });
    // Exactly these masters are meant: what one of them says of the others is not wanted here.
    config.refresh = false;
    Ok(masters::connect(config)?)
}

/// Whether the administrator's key is here.
pub(super) fn is_administered(layout: &Layout) -> bool {
    layout.admin_kubeconfig().exists()
}

/// URLs of all masters, as far as this machine knows.
pub(super) fn servers(layout: &Layout) -> anyhow::Result<Vec<String>> {
    if is_administered(layout) {
        let config = kubeconfig::load_file(&layout.admin_kubeconfig())?;
        return Ok(config.clusters.iter().flat_map(|entry| entry.cluster.servers()).collect());
    }
    first_node(layout)?.masters()
}

/// The authority's certificate; folder and stem of the credential to show.
pub(super) fn papers(layout: &Layout) -> anyhow::Result<(PathBuf, PathBuf, &'static str)> {
    if is_administered(layout) {
        return Ok((layout.authority(), layout.dir.join("pki"), "admin"));
    }
    let pki = first_node(layout)?.data_dir.join("pki");
    Ok((pki.join("ca.crt"), pki, "client"))
}

fn first_node(layout: &Layout) -> anyhow::Result<place::NodePlace> {
    place::nodes(layout)?
        .into_iter()
        .next()
        .with_context(|| format!("no cluster in {}: `kctl start` makes one", layout.shown()))
}

/// Writes what the cluster says of its masters into the kubeconfig, those on this machine first.
pub(super) fn learn(layout: &Layout, members: &[MemberStatus]) -> anyhow::Result<()> {
    let is_member = |name: &str| members.iter().any(|member| member.name == name);
    let own = place::masters(layout)?;
    let mut servers: Vec<String> =
        own.iter().filter(|place| is_member(&place.name)).map(place::MasterPlace::url).collect();
    let others = members.iter().filter(|member| own.iter().all(|place| place.name != member.name));
    servers.extend(others.map(|member| member.api.clone()));
    if servers.is_empty() || servers == self::servers(layout)? {
        return Ok(());
    }
    write_kubeconfig(layout, &servers)
}

/// Writes `DIR/admin.kubeconfig`, and merges it into the person's own as context `trireme`.
pub(super) fn write_kubeconfig(layout: &Layout, servers: &[String]) -> anyhow::Result<()> {
    let name = context_name(layout);
    let admin = files::read_credential(&layout.dir.join("pki"), "admin")?;
    let authority = files::read(&layout.authority())?;
    let config = Kubeconfig::admin(&Admin {
        name: &name,
        servers,
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

/// Takes the cluster out of the person's own kubeconfig.
pub(super) fn forget(layout: &Layout) -> anyhow::Result<()> {
    if let Some(own) = own_kubeconfig().filter(|own| own.exists()) {
        let name = context_name(layout);
        let mut config = kubeconfig::load_file(&own)?;
        config.clusters.retain(|entry| entry.name != name);
        config.contexts.retain(|entry| entry.name != name);
        config.users.retain(|entry| entry.name != format!("{name}-admin"));
        if config.current_context == name {
            config.current_context.clear();
        }
        kubeconfig::save(&config, &own)?;
    }
    Ok(())
}

/// The person's own kubeconfig.
fn own_kubeconfig() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"))
}

/// What the cluster is called in the person's kubeconfig.
pub(super) fn context_name(layout: &Layout) -> String {
    if layout.is_default() { "trireme".to_owned() } else { format!("trireme-{}", layout.id()) }
}
