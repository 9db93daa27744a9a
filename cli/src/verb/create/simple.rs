//! Namespaces, service accounts, config maps, secrets, services and quotas from arguments.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::error::{Result, said};
use crate::object::pairs;

#[derive(Args, Debug)]
pub(super) struct NameArgs {
    name: String,
}

#[derive(Args, Clone, Debug)]
pub(super) struct DataArgs {
    name: String,
    /// A pair of data
    #[arg(long, value_name = "KEY=VALUE")]
    from_literal: Vec<String>,
    /// A file (under its own name or KEY), or a directory's files
    #[arg(long, value_name = "[KEY=]PATH")]
    from_file: Vec<String>,
    /// A file with lines of KEY=VALUE
    #[arg(long, value_name = "PATH")]
    from_env_file: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct SecretArgs {
    #[command(subcommand)]
    kind: SecretKind,
}

#[derive(Debug, Subcommand)]
enum SecretKind {
    /// Create a secret from literals and files
    Generic {
        #[command(flatten)]
        data: DataArgs,
        #[arg(long = "type", value_name = "TYPE", default_value = "Opaque")]
        kind: String,
    },
    /// Create a secret with a certificate and its key
    Tls {
        name: String,
        #[arg(long)]
        cert: String,
        #[arg(long)]
        key: String,
    },
    /// Create a secret for an image registry
    DockerRegistry {
        name: String,
        #[arg(long, default_value = "https://index.docker.io/v1/")]
        docker_server: String,
        #[arg(long)]
        docker_username: String,
        #[arg(long)]
        docker_password: String,
        #[arg(long, default_value = "")]
        docker_email: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct ServiceArgs {
    #[command(subcommand)]
    kind: ServiceKind,
}

#[derive(Debug, Subcommand)]
enum ServiceKind {
    /// Reachable inside the cluster
    #[command(name = "clusterip")]
    ClusterIp(PortsArgs),
    /// Also reachable at a port of every node
    #[command(name = "nodeport")]
    NodePort(PortsArgs),
    /// Also reachable at a load balancer
    #[command(name = "loadbalancer")]
    LoadBalancer(PortsArgs),
    /// A name for something outside
    #[command(name = "externalname")]
    ExternalName {
        name: String,
        #[arg(long)]
        external_name: String,
    },
}

#[derive(Args, Debug)]
struct PortsArgs {
    name: String,
    /// PORT or PORT:TARGETPORT
    #[arg(long, value_name = "PORT:TARGET", value_delimiter = ',')]
    tcp: Vec<String>,
    /// An address of your own, or None
    #[arg(long, value_name = "IP")]
    clusterip: Option<String>,
    #[arg(long)]
    node_port: Option<u16>,
}

#[derive(Args, Debug)]
pub(super) struct QuotaArgs {
    name: String,
    /// Such as cpu=1,memory=1Gi,pods=10
    #[arg(long, value_name = "RESOURCE=QUANTITY", value_delimiter = ',')]
    hard: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<String>,
}

pub(super) fn named(kind: &str, args: &NameArgs) -> Value {
    json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": args.name } })
}

pub(super) fn config_map(args: &DataArgs) -> Result<Value> {
    let mut text = Map::new();
    let mut binary = Map::new();
    for (key, bytes) in data(args)? {
        match String::from_utf8(bytes) {
            Ok(value) => text.insert(key, value.into()),
            Err(error) => binary.insert(key, BASE64.encode(error.as_bytes()).into()),
        };
    }
    let mut object =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": args.name } });
    if !text.is_empty() {
        object["data"] = Value::Object(text);
    }
    if !binary.is_empty() {
        object["binaryData"] = Value::Object(binary);
    }
    Ok(object)
}

pub(super) fn secret(args: &SecretArgs) -> Result<Value> {
    let (name, kind, data) = match &args.kind {
        SecretKind::Generic { data: args, kind } => (&args.name, kind.as_str(), data(args)?),
        SecretKind::Tls { name, cert, key } => {
            let pair =
                vec![("tls.crt".to_owned(), read(cert)?), ("tls.key".to_owned(), read(key)?)];
            (name, "kubernetes.io/tls", pair)
        }
        SecretKind::DockerRegistry {
            name,
            docker_server,
            docker_username,
            docker_password,
            docker_email,
        } => {
            let auth = BASE64.encode(format!("{docker_username}:{docker_password}"));
            let entry = json!({ "username": docker_username, "password": docker_password, "email": docker_email, "auth": auth });
            let config = json!({ "auths": { docker_server: entry } });
            let pair = vec![(".dockerconfigjson".to_owned(), config.to_string().into_bytes())];
            (name, "kubernetes.io/dockerconfigjson", pair)
        }
    };
    let encoded: Map<_, _> =
        data.into_iter().map(|(key, bytes)| (key, BASE64.encode(bytes).into())).collect();
    let mut object =
        json!({ "apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": { "name": name } });
    if !encoded.is_empty() {
        object["data"] = Value::Object(encoded);
    }
    Ok(object)
}

pub(super) fn service(args: &ServiceArgs) -> Result<Value> {
    let (name, spec) = match &args.kind {
        ServiceKind::ClusterIp(args) => (&args.name, ports_spec("ClusterIP", args)?),
        ServiceKind::NodePort(args) => (&args.name, ports_spec("NodePort", args)?),
        ServiceKind::LoadBalancer(args) => (&args.name, ports_spec("LoadBalancer", args)?),
        ServiceKind::ExternalName { name, external_name } => {
            (name, json!({ "type": "ExternalName", "externalName": external_name }))
        }
    };
    let labels = json!({ "app": name });
    Ok(
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "labels": labels }, "spec": spec }),
    )
}

fn ports_spec(kind: &str, args: &PortsArgs) -> Result<Value> {
    if args.tcp.is_empty() && args.clusterip.as_deref() != Some("None") {
        return Err(said("at least one tcp port specifier must be provided"));
    }
    let mut ports = Vec::new();
    for word in &args.tcp {
        let (port, target) = word.split_once(':').unwrap_or((word, word));
        let number: u16 = port
            .parse()
            .map_err(|_| said(format!("invalid port {word:?}: write PORT or PORT:TARGETPORT")))?;
        let target = target.parse::<u16>().map_or_else(|_| json!(target), |number| json!(number));
        let mut entry = json!({ "name": word.replace(':', "-"), "port": number, "protocol": "TCP", "targetPort": target });
        if let Some(node_port) = args.node_port {
            entry["nodePort"] = node_port.into();
        }
        ports.push(entry);
    }
    let mut spec = json!({ "type": kind, "ports": ports, "selector": { "app": args.name } });
    if let Some(ip) = &args.clusterip {
        spec["clusterIP"] = ip.clone().into();
    }
    Ok(spec)
}

pub(super) fn quota(args: &QuotaArgs) -> Result<Value> {
    let mut spec = json!({ "hard": pairs(&args.hard, "hard limit")? });
    if !args.scopes.is_empty() {
        spec["scopes"] = json!(args.scopes);
    }
    Ok(
        json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": args.name }, "spec": spec }),
    )
}

/// Keys and their bytes, from all sources.
fn data(args: &DataArgs) -> Result<Vec<(String, Vec<u8>)>> {
    let mut data = Vec::new();
    for (key, value) in pairs(&args.from_literal, "literal")? {
        data.push((key, value.as_str().unwrap_or_default().as_bytes().to_vec()));
    }
    for word in &args.from_file {
        let (key, path) =
            word.split_once('=').map_or((None, word.as_str()), |(key, path)| (Some(key), path));
        if Path::new(path).is_dir() {
            let entries =
                std::fs::read_dir(path).map_err(|error| said(format!("{path}: {error}")))?;
            let mut paths: Vec<_> =
                entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
            paths.sort();
            for path in paths {
                data.push((file_name(&path), read(&path.display().to_string())?));
            }
        } else {
            let key = key.map_or_else(|| file_name(Path::new(path)), str::to_owned);
            data.push((key, read(path)?));
        }
    }
    for path in &args.from_env_file {
        let text = String::from_utf8_lossy(&read(path)?).into_owned();
        let is_pair = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        let lines: Vec<String> =
            text.lines().filter(is_pair).map(|line| line.trim_start().to_owned()).collect();
        for (key, value) in pairs(&lines, "line")? {
            data.push((key, value.as_str().unwrap_or_default().as_bytes().to_vec()));
        }
    }
    for (place, (key, _)) in data.iter().enumerate() {
        if data[..place].iter().any(|(other, _)| other == key) {
            return Err(said(format!(
                "cannot add key {key}, another key by that name already exists"
            )));
        }
    }
    Ok(data)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read(path: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| said(format!("{path}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_comes_from_literals_and_files_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conf");
        std::fs::write(&path, b"\xff\xfe").unwrap();
        let args = |literals: &[&str], files: &[String]| DataArgs {
            name: "n".into(),
            from_literal: literals.iter().map(|&literal| literal.to_owned()).collect(),
            from_file: files.to_vec(),
            from_env_file: Vec::new(),
        };
        let object = config_map(&args(&["k=v=w"], &[path.display().to_string()])).unwrap();
        assert_eq!(object["data"], json!({"k": "v=w"}));
        assert_eq!(object["binaryData"], json!({"a.conf": "//4="}));
        let doubled = args(&["k=v"], &[format!("k={}", path.display())]);
        assert!(config_map(&doubled).unwrap_err().to_string().contains("cannot add key k"));
    }
}
