//! `v1/services`.
//!
//! # Invariants
//! - A cluster IP or node port belongs to one service: its key is claimed in the transaction that
//!   writes the service, and released in the one that gives it up.

mod allocate;
mod validate;

use std::collections::{BTreeMap, BTreeSet};

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::{Map, Value, json};

use crate::fill::{absent, made, object, objects, zero};
use crate::rules::address_warning;
use crate::strategy::{Companion, Cx, Shape, Strategy, fresh, kept};
use crate::table::{self, Cell, tabled};

#[derive(Clone, Copy, Debug)]
pub struct Services;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Type", |service, _| kind(service).into()),
    Cell::text("Cluster-IP", |service, _| {
        cluster_ips(service).first().copied().unwrap_or("<none>").into()
    }),
    Cell::text("External-IP", |service, _| external_ip(service).into()),
    Cell::text("Port(s)", |service, _| ports(service).into()),
    Cell::AGE,
    Cell::text("Selector", |service, _| table::pairs(&service["spec"]["selector"]).into()).wide(),
];

fn kind(service: &Value) -> &str {
    meta::text(service, &["spec", "type"])
}

fn cluster_ips(service: &Value) -> Vec<&str> {
    meta::items(service, &["spec", "clusterIPs"]).iter().filter_map(Value::as_str).collect()
}

fn is_headless(service: &Value) -> bool {
    cluster_ips(service) == ["None"]
}

/// Whether the type has an address in the cluster (`None` counts).
fn needs_cluster_ip(service: &Value) -> bool {
    matches!(kind(service), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_node_ports(service: &Value) -> bool {
    let allocates = service["spec"]["allocateLoadBalancerNodePorts"] != false;
    kind(service) == "NodePort" || (kind(service) == "LoadBalancer" && allocates)
}

fn needs_health_port(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && service["spec"]["externalTrafficPolicy"] == "Local"
}

fn is_reachable_from_outside(service: &Value) -> bool {
    let has_external_ips = !meta::items(service, &["spec", "externalIPs"]).is_empty();
    matches!(kind(service), "NodePort" | "LoadBalancer")
        || (kind(service) == "ClusterIP" && has_external_ips)
}

fn external_ip(service: &Value) -> String {
    let given = meta::items(service, &["spec", "externalIPs"]).iter().filter_map(Value::as_str);
    let given: Vec<&str> = given.collect();
    match kind(service) {
        "ExternalName" => meta::text(service, &["spec", "externalName"]).to_owned(),
        "LoadBalancer" => {
            let ingress = meta::items(service, &["status", "loadBalancer", "ingress"]).iter();
            let balanced: BTreeSet<&str> = ingress
                .map(|entry| match meta::text(entry, &["ip"]) {
                    "" => meta::text(entry, &["hostname"]),
                    ip => ip,
                })
                .filter(|address| !address.is_empty())
                .collect();
            let all: Vec<&str> = balanced.into_iter().chain(given).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ClusterIP" | "NodePort" if given.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => given.join(","),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(service: &Value) -> String {
    let pieces: Vec<String> = meta::items(service, &["spec", "ports"])
        .iter()
        .map(|port| {
            let number = meta::number(port, &["port"]).unwrap_or_default();
            let protocol = meta::text(port, &["protocol"]);
            match meta::number(port, &["nodePort"]) {
                None | Some(0) => format!("{number}/{protocol}"),
                Some(node_port) => format!("{number}:{node_port}/{protocol}"),
            }
        })
        .collect();
    if pieces.is_empty() { "<none>".to_owned() } else { pieces.join(",") }
}

impl Strategy for Services {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: false }
    }

    fn name_problems(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }

    fn default(&self, service: &mut Value) {
        basics(meta::object_mut(service, &["spec"]));
        let is_reachable = is_reachable_from_outside(service);
        let kind = kind(service).to_owned();
        let spec = meta::object_mut(service, &["spec"]);
        if is_reachable {
            zero(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind != "ExternalName" {
            absent(spec, "internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            absent(spec, "allocateLoadBalancerNodePorts", true);
            balanced_addresses(service);
        }
    }

    fn prepare_create(&self, new: &mut Value, _cx: &Cx<'_>) {
        fresh(new, self.shape());
        new["status"] = json!({"loadBalancer": {}});
        same_addresses(new, None);
        families(new);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        kept(new, old, self.shape());
        keep_allocated(new, old);
        same_addresses(new, Some(old));
        drop_for_type(new, old);
        if needs_cluster_ip(new) && needs_cluster_ip(old) {
            let spec = meta::object_mut(new, &["spec"]);
            for field in ["ipFamilies", "ipFamilyPolicy"] {
                absent(spec, field, old["spec"][field].clone());
            }
        }
        families(new);
    }

    fn validate_status(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let entries = meta::items(new, &["status", "loadBalancer", "ingress"]);
        if kind(new) != "LoadBalancer" && !entries.is_empty() {
            let detail = "may only be used when `spec.type` is 'LoadBalancer'";
            return vec![FieldError::forbidden("status.loadBalancer.ingress", detail)];
        }
        crate::statuses::load_balancer(new, true)
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        validate::service(new, old)
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut found = Vec::new();
        let has_external_ips = !meta::items(new, &["spec", "externalIPs"]).is_empty();
        let mut say = |is_said: bool, text: &str| {
            if is_said {
                found.push(text.to_owned());
            }
        };
        let is_headless = is_headless(new);
        let balancer = !meta::text(new, &["spec", "loadBalancerIP"]).is_empty();
        let affinity = new["spec"]["sessionAffinity"] == "ClientIP";
        say(is_headless && balancer, "spec.loadBalancerIP is ignored for headless services");
        say(is_headless && has_external_ips, "spec.externalIPs is ignored for headless services");
        say(is_headless && affinity, "spec.SessionAffinity is ignored for headless services");
        say(
            has_external_ips && !is_headless,
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
        );
        say(
            kind(new) == "ExternalName" && has_external_ips,
            "spec.externalIPs is ignored when spec.type is \"ExternalName\"",
        );
        say(
            kind(new) != "ExternalName" && !meta::text(new, &["spec", "externalName"]).is_empty(),
            "spec.externalName is ignored when spec.type is not \"ExternalName\"",
        );
        say(
            new["spec"]["trafficDistribution"] == "PreferClose",
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
        );
        for field in ["clusterIPs", "externalIPs", "loadBalancerIP"] {
            let path = FieldPath::new("spec").child(field);
            match &new["spec"][field] {
                Value::Array(all) => {
                    let all = all.iter().filter_map(Value::as_str).enumerate();
                    found.extend(all.filter_map(|(at, it)| address_warning(it, &path.index(at))));
                }
                one => found.extend(address_warning(one.as_str().unwrap_or_default(), &path)),
            }
        }
        found
    }

    fn fields(&self, service: &Value) -> BTreeMap<String, String> {
        let cluster_ip = meta::text(service, &["spec", "clusterIP"]);
        [("spec.clusterIP", cluster_ip), ("spec.type", kind(service))]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    fn companions(
        &self,
        new: Option<&mut Value>,
        old: Option<&Value>,
        cx: &Cx<'_>,
    ) -> Result<Vec<Companion>, Vec<FieldError>> {
        allocate::companions(new, old, cx)
    }

    tabled!(CELLS);
}

fn basics(spec: &mut Map<String, Value>) {
    zero(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "None" {
        spec.remove("sessionAffinityConfig");
    } else if spec["sessionAffinity"] == "ClientIP" {
        let client_ip = made(made(spec, "sessionAffinityConfig"), "clientIP");
        absent(client_ip, "timeoutSeconds", 10_800);
    }
    zero(spec, "type", "ClusterIP");
    for port in objects(spec, "ports") {
        zero(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or_default();
        zero(port, "targetPort", number);
    }
}

/// Values that were allocated are taken over where a client left them out.
fn keep_allocated(new: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && needs_cluster_ip(new) {
        let spec = meta::object_mut(new, &["spec"]);
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(value) = meta::at(old, &["spec", field]) {
                zero(spec, field, value.clone());
            }
        }
    }
    if needs_node_ports(old) && needs_node_ports(new) {
        let used = |service: &Value| -> BTreeSet<i64> {
            let ports = meta::items(service, &["spec", "ports"]).iter();
            ports.filter_map(|port| meta::number(port, &["nodePort"])).collect()
        };
        let still_used: BTreeSet<i64> = used(old).intersection(&used(new)).copied().collect();
        let by_name: BTreeMap<String, i64> = meta::items(old, &["spec", "ports"])
            .iter()
            .filter_map(|port| {
                let number = meta::number(port, &["nodePort"])?;
                Some((meta::text(port, &["name"]).to_owned(), number))
            })
            .collect();
        for port in objects(meta::object_mut(new, &["spec"]), "ports") {
            let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
            if let Some(number) = by_name.get(name).filter(|number| !still_used.contains(number)) {
                zero(port, "nodePort", *number);
            }
        }
    }
    if needs_health_port(old)
        && needs_health_port(new)
        && let Some(port) = meta::at(old, &["spec", "healthCheckNodePort"])
    {
        zero(meta::object_mut(new, &["spec"]), "healthCheckNodePort", port.clone());
    }
}

/// Keeps `clusterIP` and `clusterIPs` in step for clients that know but the one: a change of it is one of the other,
/// which they left as it was. Whoever changes the other says both.
fn same_addresses(new: &mut Value, old: Option<&Value>) {
    let one_of = |service: &Value| meta::text(service, &["spec", "clusterIP"]).to_owned();
    let many_of = |service: &Value| meta::items(service, &["spec", "clusterIPs"]).to_vec();
    let (one, many) = (one_of(new), many_of(new));
    let (one_was, many_was) = old.map_or_else(Default::default, |old| (one_of(old), many_of(old)));
    let many = if old.is_some() && one == one_was {
        if many.is_empty() { many_was } else { many }
    } else if many == many_was {
        if one.is_empty() { Vec::new() } else { vec![one.into()] }
    } else {
        many
    };
    let spec = meta::object_mut(new, &["spec"]);
    if many.is_empty() {
        spec.remove("clusterIPs");
    } else {
        spec.insert("clusterIPs".into(), many.into());
    }
}

/// Drops what a service of the new type cannot have and the client did not touch.
fn drop_for_type(new: &mut Value, old: &Value) {
    let unchanged = |new: &Value, field: &str| new["spec"][field] == old["spec"][field];
    let mut gone = Vec::new();
    if needs_cluster_ip(old) && !needs_cluster_ip(new) {
        gone.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]);
    }
    if needs_health_port(old) && !needs_health_port(new) {
        gone.push("healthCheckNodePort");
    }
    if kind(old) == "LoadBalancer" && kind(new) != "LoadBalancer" {
        gone.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
        new["status"]["loadBalancer"] = json!({});
    }
    if is_reachable_from_outside(old) && !is_reachable_from_outside(new) {
        gone.push("externalTrafficPolicy");
    }
    if kind(new) == "ExternalName" && kind(old) != "ExternalName" {
        gone.push("internalTrafficPolicy");
    }
    gone.retain(|field| unchanged(new, field));
    // Whether ports are given out is another question: those that are there stay.
    let may_have = |service: &Value| matches!(kind(service), "NodePort" | "LoadBalancer");
    let drops_node_ports = may_have(old) && !may_have(new);
    let node_ports = |service: &Value| -> Vec<Value> {
        let ports = meta::items(service, &["spec", "ports"]).iter();
        ports.map(|port| port["nodePort"].clone()).collect()
    };
    let same_node_ports = node_ports(new) == node_ports(old);
    let spec = meta::object_mut(new, &["spec"]);
    for field in gone {
        spec.remove(field);
    }
    if drops_node_ports && same_node_ports {
        for port in objects(spec, "ports") {
            port.remove("nodePort");
        }
    }
}

/// Addresses of a balancer are the service's own, unless it says that it is a proxy.
fn balanced_addresses(service: &mut Value) {
    let entries = service.pointer_mut("/status/loadBalancer/ingress");
    for entry in entries.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(entry) = entry.as_object_mut().filter(|entry| entry.contains_key("ip")) {
            absent(entry, "ipMode", "VIP");
        }
    }
}

/// Whether a service has neither an address nor pods of its own.
fn is_headless_without_selector(service: &Value) -> bool {
    let selector = service["spec"]["selector"].as_object();
    service["spec"]["clusterIP"] == "None" && selector.is_none_or(Map::is_empty)
}

/// Address families: this cluster has IPv4.
fn families(service: &mut Value) {
    if needs_cluster_ip(service) {
        let leads_nowhere = is_headless_without_selector(service);
        let spec = meta::object_mut(service, &["spec"]);
        // What somebody writes into its endpoints may be of any family.
        absent(
            spec,
            "ipFamilyPolicy",
            if leads_nowhere { "RequireDualStack" } else { "SingleStack" },
        );
        absent(spec, "ipFamilies", json!(["IPv4"]));
        let is_dual = spec["ipFamilyPolicy"] != "SingleStack";
        if leads_nowhere
            && is_dual
            && let Some([only]) = spec["ipFamilies"].as_array().map(Vec::as_slice)
        {
            let other = if only == "IPv4" { "IPv6" } else { "IPv4" };
            spec["ipFamilies"] = json!([only, other]);
        }
    }
    if let Some(spec) = service.as_object_mut().and_then(|fields| object(fields, "spec")) {
        for port in objects(spec, "ports") {
            if port.get("nodePort").and_then(Value::as_i64) == Some(0) {
                port.remove("nodePort");
            }
        }
    }
}

#[cfg(test)]
mod tests;
