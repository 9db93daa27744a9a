//! `kctl expose`: a service in front of a workload.

use clap::Args;
use serde_json::{Value, json};

use crate::api::find::Found;
use crate::error::{Result, said};
use crate::flags::{Change, Global};
use crate::object::{self, items, pairs, text};

/// Make a service for a deployment, replica set, replication controller, service or pod
#[derive(Args, Debug)]
pub struct ExposeArgs {
    /// deployment/NAME, or TYPE NAME
    #[arg(value_name = "TYPE[/NAME]", required = true)]
    words: Vec<String>,
    /// ClusterIP, NodePort, LoadBalancer or ExternalName
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// The service's port [default: the container's]
    #[arg(long)]
    port: Option<u16>,
    /// The port of the pods, as a number or name
    #[arg(long, value_name = "PORT")]
    target_port: Option<String>,
    /// TCP, UDP or SCTP
    #[arg(long, default_value = "TCP")]
    protocol: String,
    /// The service's name [default: the workload's]
    #[arg(long)]
    name: Option<String>,
    /// Labels of the service
    #[arg(short, long, value_name = "KEY=VALUE", value_delimiter = ',')]
    labels: Vec<String>,
    /// Which pods, instead of the workload's
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    selector: Vec<String>,
    /// An address of your own, or None
    #[arg(long, value_name = "IP")]
    cluster_ip: Option<String>,
    /// ClientIP keeps a client with one pod
    #[arg(long, value_name = "HOW")]
    session_affinity: Option<String>,
    #[command(flatten)]
    change: Change,
}

/// Runs it.
pub async fn run(args: &ExposeArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let found = api.find_one(&args.words).await?;
    let mut service = args.service(&found)?;
    if found.resource.is_namespaced {
        service["metadata"]["namespace"] = found.namespace().into();
    }
    let manifest = crate::manifest::Manifest { source: "arguments".into(), object: service };
    let placed = object::place(&api, flags, manifest).await?;
    if args.change.is_client_dry_run()? {
        return object::report(&args.change, &placed.resource, &placed.object, "exposed");
    }
    let path = crate::api::with_query(
        &placed.resource.collection(Some(&placed.namespace)),
        &args.change.query(),
    );
    let created = api.post(&path, &placed.object).await?;
    object::report(&args.change, &placed.resource, &created, "exposed")
}

impl ExposeArgs {
    fn service(&self, found: &Found) -> Result<Value> {
        let selector = self.selector(found)?;
        let name = self.name.clone().unwrap_or_else(|| found.name().to_owned());
        let labels = if self.labels.is_empty() {
            found.object["metadata"]["labels"].clone()
        } else {
            Value::Object(pairs(&self.labels, "label")?)
        };
        let mut spec = json!({ "selector": selector, "ports": self.ports(found)? });
        if let Some(kind) = &self.kind {
            spec["type"] = kind.clone().into();
        }
        if let Some(ip) = &self.cluster_ip {
            spec["clusterIP"] = ip.clone().into();
        }
        if let Some(affinity) = &self.session_affinity {
            spec["sessionAffinity"] = affinity.clone().into();
        }
        let mut metadata = json!({ "name": name });
        if labels.is_object() {
            metadata["labels"] = labels;
        }
        Ok(json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec }))
    }

    fn selector(&self, found: &Found) -> Result<Value> {
        if !self.selector.is_empty() {
            return pairs(&self.selector, "selector").map(Value::Object);
        }
        let spec = &found.object["spec"];
        let selector = match found.resource.kind.as_str() {
            "Pod" => found.object["metadata"]["labels"].clone(),
            "Service" | "ReplicationController" => spec["selector"].clone(),
            "Deployment" | "ReplicaSet" | "StatefulSet"
                if !items(&spec["selector"]["matchExpressions"]).is_empty() =>
            {
                return Err(said(
                    "couldn't convert expressions to a map-based selector: pass --selector",
                ));
            }
            "Deployment" | "ReplicaSet" | "StatefulSet" => spec["selector"]["matchLabels"].clone(),
            other => return Err(said(format!("cannot expose a {other}"))),
        };
        if selector.as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(said(
                "couldn't retrieve selectors: the object has no labels or selector; pass --selector",
            ));
        }
        Ok(selector)
    }

    fn ports(&self, found: &Found) -> Result<Vec<Value>> {
        let target = |default: &Value| match &self.target_port {
            None => default.clone(),
            Some(text) => text.parse::<u16>().map_or_else(|_| json!(text), |number| json!(number)),
        };
        if let Some(port) = self.port {
            return Ok(vec![
                json!({ "port": port, "protocol": self.protocol, "targetPort": target(&json!(port)) }),
            ]);
        }
        let known = known_ports(found);
        if known.is_empty() {
            return Err(said("couldn't find port via --port flag or introspection"));
        }
        let many = known.len() > 1;
        let port = |(place, (number, protocol)): (usize, &(Value, String))| {
            let mut port =
                json!({ "port": number, "protocol": protocol, "targetPort": target(number) });
            if many {
                port["name"] = format!("port-{}", place + 1).into();
            }
            port
        };
        Ok(known.iter().enumerate().map(port).collect())
    }
}

/// The ports that the object declares, with their protocols.
fn known_ports(found: &Found) -> Vec<(Value, String)> {
    let protocol = |port: &Value| match text(&port["protocol"]) {
        "" => "TCP".to_owned(),
        protocol => protocol.to_owned(),
    };
    if found.resource.kind == "Service" {
        let ports = items(&found.object["spec"]["ports"]);
        return ports.iter().map(|port| (port["port"].clone(), protocol(port))).collect();
    }
    let path = object::pod_spec_path(&found.resource.kind).unwrap_or(&["spec"]);
    let containers = items(&object::at(&found.object, path)["containers"]);
    let ports = containers.iter().flat_map(|container| items(&container["ports"]));
    ports.map(|port| (port["containerPort"].clone(), protocol(port))).collect()
}

/// The service of `kctl run --expose`.
pub fn for_run(name: &str, port: u16, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": { "selector": labels, "ports": [{ "port": port, "protocol": "TCP", "targetPort": port }] },
    })
}
