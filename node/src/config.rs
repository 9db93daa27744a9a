//! `knode run`: its flags, and what they amount to once everything they name was read and checked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use http::Uri;
use master_client::masters::{ClientIdentity, MastersConfig};
use node_kubelet::ServerTls;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::known;

/// The image of the sandboxes' first process, unless a flag names another.
pub const PAUSE_IMAGE: &str = "trireme.dev/pause:1";

/// Runs this machine as a node of a cluster.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct RunArgs {
    /// Name of the node in the cluster
    #[arg(long)]
    pub name: String,
    /// Where everything of the node is kept
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// URLs of all masters; none runs static pods only
    #[arg(long, value_delimiter = ',', value_name = "URL,…")]
    pub masters: Vec<String>,
    /// The cluster's CA
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The node's client certificate (system:node:NAME)
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Certificate of the kubelet's server; self-signed without
    #[arg(long, value_name = "FILE", requires = "serving_key")]
    pub serving_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "serving_cert")]
    pub serving_key: Option<PathBuf>,
    /// Address of this node
    #[arg(long, value_name = "IP")]
    pub node_ip: Ipv4Addr,
    /// Address of the DNS service
    #[arg(long, value_name = "IP", default_value = "10.96.0.10")]
    pub cluster_dns: Ipv4Addr,
    /// Suffix of the cluster's names
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Addresses of all pods of the cluster
    #[arg(long, value_name = "CIDR", default_value = "10.244.0.0/16")]
    pub pod_cidr_cluster: String,
    /// Addresses of all services of the cluster
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/16")]
    pub service_cidr: String,
    /// Short name by which clusters on one machine are told apart
    #[arg(long, default_value = "main")]
    pub cluster_id: String,
    /// Network namespace to live in
    #[arg(long, value_name = "NAME")]
    pub netns: Option<String>,
    /// Image of the sandboxes' first process
    #[arg(long, value_name = "REF", default_value = PAUSE_IMAGE)]
    pub pause_image: String,
    /// Archives in this directory are loaded, now and when new ones appear
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Static pods' manifests
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Use the runtime at this socket instead of a containerd of the node's own
    #[arg(long, value_name = "PATH")]
    pub cri_socket: Option<PathBuf>,
    /// Port of the kubelet's server
    #[arg(long, default_value_t = 10250)]
    pub kubelet_port: u16,
    /// Parent of all pods' cgroups; differs between nodes of one machine
    #[arg(long, value_name = "PATH", default_value = "/trireme")]
    pub cgroup_root: String,
    /// Labels that the node gives itself: KEY=VALUE
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// How many pods may run here
    #[arg(long, default_value_t = 110)]
    pub max_pods: u32,
}

/// A checked configuration: nothing that it names is missing.
#[derive(Debug, Clone)]
pub struct Config {
    /// The flags as they were given.
    pub args: RunArgs,
    /// How to reach the masters, unless the node lives alone.
    pub masters: Option<MastersConfig>,
    /// What the kubelet is told.
    pub kubelet: node_kubelet::Config,
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| Error::Config { flag, problem: format!("{}: {error}", path.display()) })
}

fn missing(flag: &'static str) -> Error {
    Error::Config { flag, problem: "needed when --masters is given".to_owned() }
}

impl Config {
    /// Reads what the flags name and checks what they say.
    pub fn load(args: RunArgs) -> Result<Self> {
        check_name("--name", &args.name)?;
        check_name("--cluster-id", &args.cluster_id)?;
        if !args.cgroup_root.starts_with('/') || args.cgroup_root.contains("..") {
            let problem = format!("{:?} is not an absolute path", args.cgroup_root);
            return Err(Error::Config { flag: "--cgroup-root", problem });
        }
        if args.masters.is_empty() && args.manifests.is_none() {
            let problem = "neither masters nor --manifests: nothing would ever run".to_owned();
            return Err(Error::Config { flag: "--masters", problem });
        }
        let masters = (!args.masters.is_empty()).then(|| masters(&args)).transpose()?;
        let server = masters.is_some().then(|| serving(&args)).transpose()?;
        let labels = args.labels.iter().map(|label| match label.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => {
                let problem = format!("{label:?} is not KEY=VALUE");
                Err(Error::Config { flag: "--label", problem })
            }
        });
        let kubelet = node_kubelet::Config {
            node_name: args.name.clone(),
            node_ip: IpAddr::V4(args.node_ip),
            data_dir: args.data_dir.join("kubelet"),
            manifests: args.manifests.clone(),
            cluster_dns: Some(IpAddr::V4(args.cluster_dns)),
            cluster_domain: args.cluster_domain.clone(),
            cgroup_root: args.cgroup_root.trim_end_matches('/').to_owned(),
            listen: SocketAddr::new(IpAddr::V4(args.node_ip), args.kubelet_port),
            server,
            labels: labels.collect::<Result<_>>()?,
            pods_max: args.max_pods,
        };
        Ok(Self { args, masters, kubelet })
    }
}

fn check_name(flag: &'static str, name: &str) -> Result<()> {
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if !name.is_empty() && name.len() <= 253 && name.bytes().all(is_plain) {
        return Ok(());
    }
    let problem = format!("{name:?}: lower-case letters, digits, '-' and '.' only");
    Err(Error::Config { flag, problem })
}

fn masters(args: &RunArgs) -> Result<MastersConfig> {
    let mut known = args.masters.clone();
    known.extend(known::read(&args.data_dir).into_iter().filter(|url| !args.masters.contains(url)));
    let servers = known.iter().map(|url| {
        url.parse::<Uri>().ok().filter(|uri| uri.host().is_some()).ok_or_else(|| Error::Config {
            flag: "--masters",
            problem: format!("{url:?} is not a URL"),
        })
    });
    let mut config = MastersConfig::new(servers.collect::<Result<_>>()?);
    config.ca_pem = Some(read("--ca", args.ca.as_deref().ok_or_else(|| missing("--ca"))?)?);
    config.identity = Some(ClientIdentity {
        cert_pem: read("--cert", args.cert.as_deref().ok_or_else(|| missing("--cert"))?)?,
        key_pem: read("--key", args.key.as_deref().ok_or_else(|| missing("--key"))?)?,
    });
    config.refresh = true;
    config.spread = true;
    Ok(config)
}

fn serving(args: &RunArgs) -> Result<ServerTls> {
    let client_ca_pem = read("--ca", args.ca.as_deref().ok_or_else(|| missing("--ca"))?)?;
    if let (Some(cert), Some(key)) = (&args.serving_cert, &args.serving_key) {
        let cert_pem = read("--serving-cert", cert)?;
        let key_pem = read("--serving-key", key)?;
        return Ok(ServerTls { cert_pem, key_pem, client_ca_pem });
    }
    let names = vec![args.name.clone(), args.node_ip.to_string()];
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| Error::Config {
        flag: "--serving-cert",
        problem: format!("cannot make one: {error}"),
    })?;
    Ok(ServerTls {
        cert_pem: made.cert.pem().into_bytes(),
        key_pem: made.signing_key.serialize_pem().into_bytes(),
        client_ca_pem,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    #[track_caller]
    fn check(flags: &str, expected: &str) {
        let line = "knode --name node-1 --data-dir /d --node-ip 10.0.0.1 ".to_owned() + flags;
        let args = Line::parse_from(line.split_whitespace()).run;
        let told = Config::load(args).map(|_| "fine".to_owned());
        assert_eq!(told.unwrap_or_else(|error| error.to_string()), expected);
    }

    #[test]
    fn flags_are_checked_before_anything_starts() {
        check("--manifests /m", "fine");
        check("", "--masters: neither masters nor --manifests: nothing would ever run");
        check("--masters nowhere:x:y", "--masters: \"nowhere:x:y\" is not a URL");
        check("--masters https://a:6443", "--ca: needed when --masters is given");
        check("--manifests /m --label a", "--label: \"a\" is not KEY=VALUE");
        check("--manifests /m --cgroup-root x", "--cgroup-root: \"x\" is not an absolute path");
    }
}
