//! Rules of services.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::{Value, json};

use super::{
    cluster_ips, is_headless, is_headless_without_selector, is_reachable_from_outside, kind,
    needs_cluster_ip, needs_health_port,
};
use crate::check::{self, Findings};
use crate::objectmeta;
use crate::rules::{self, Must, Rule};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];

/// What there is to say of fields by themselves.
const RULES: &[Rule] = &[
    ("externalIPs[]", Must::BeFormed(rules::address)),
    ("loadBalancerClass", Must::BeFormed(names::qualified_name)),
    ("ports[].appProtocol", Must::BeFormed(names::qualified_name)),
    ("ipFamilies", Must::NotRepeat),
    ("ipFamilyPolicy", Must::BeOneOf(&["PreferDualStack", "RequireDualStack", "SingleStack"])),
    ("internalTrafficPolicy", Must::BeOneOf(&POLICIES)),
    ("trafficDistribution", Must::BeOneOf(&["PreferClose", "PreferSameZone", "PreferSameNode"])),
];

/// Space around a range is fine.
fn padded_range(text: &str) -> Vec<String> {
    rules::range(text.trim())
}

pub(super) fn service(new: &Value, old: Option<&Value>) -> Findings {
    let mut errors = Vec::new();
    let path = FieldPath::new("spec");
    let spec = &new["spec"];
    if let Some(old) = old {
        unchanged_addresses(new, old, &mut errors);
        let class = |service: &'_ Value| service["spec"]["loadBalancerClass"].clone();
        let both = kind(old) == "LoadBalancer" && kind(new) == "LoadBalancer";
        if both && class(new) != class(old) {
            let detail = "may not change once set";
            errors.push(FieldError::invalid(path.child("loadBalancerClass"), class(new), detail));
        }
    }
    by_type(new, &path, &mut errors);
    ports(new, &path.child("ports"), &mut errors);
    errors.extend(objectmeta::label_map(&spec["selector"], &path.child("selector")));
    check::required_one_of(spec, "sessionAffinity", &path, &["ClientIP", "None"], &mut errors);
    let seconds = meta::number(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]);
    if let Some(seconds) = seconds.filter(|seconds| !(1..=86_400).contains(seconds)) {
        let place = path.child("sessionAffinityConfig").child("clientIP").child("timeoutSeconds");
        let detail = "must be greater than 0 and less than 86400";
        errors.push(FieldError::invalid(place, seconds, detail));
    }
    addresses(new, &path, &mut errors);
    rules::check(spec, &path, RULES, &mut errors);
    for (at, address) in meta::items(spec, &["externalIPs"]).iter().enumerate() {
        let place = String::from(path.child("externalIPs").index(at));
        special_address(address.as_str().unwrap_or_default(), &place, &mut errors);
    }
    // Upstream spells this one as its Go field.
    for (at, range) in meta::items(spec, &["loadBalancerSourceRanges"]).iter().enumerate() {
        let place = path.child("LoadBalancerSourceRanges").index(at);
        rules::check(range, &place, &[("", Must::BeFormed(padded_range))], &mut errors);
    }
    check::required_one_of(spec, "type", &path, &TYPES, &mut errors);
    only_for_load_balancers(new, &path, &mut errors);
    traffic(new, &path, &mut errors);
    errors
}

/// Addresses that must not be captured for others: loopback, link-local, multicast, unspecified.
fn special_address(text: &str, place: &str, errors: &mut Findings) {
    let Ok(address) = text.parse::<std::net::IpAddr>() else { return };
    // `::ffff:127.0.0.1` is 127.0.0.1 to whoever dials it.
    let address = address.to_canonical();
    let is_link_local = match address {
        std::net::IpAddr::V4(address) => address.is_link_local(),
        std::net::IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let detail = if address.is_unspecified() {
        format!("may not be unspecified ({address})")
    } else if address.is_loopback() {
        "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()
    } else if is_link_local {
        "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()
    } else if address.is_multicast() {
        "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned()
    } else {
        return;
    };
    errors.push(FieldError::invalid(place, text, detail));
}

fn unchanged_addresses(new: &Value, old: &Value, errors: &mut Findings) {
    if !needs_cluster_ip(new) || !needs_cluster_ip(old) {
        return;
    }
    let (is, was) = (cluster_ips(new), cluster_ips(old));
    let place = "spec.clusterIPs[0]";
    let shown = meta::at(new, &["spec", "clusterIPs"]).cloned().unwrap_or_default();
    if is.is_empty() && !was.is_empty() {
        errors.push(FieldError::invalid(place, shown, "primary clusterIP can not be unset"));
    } else if !was.is_empty() && is.first() != was.first() {
        errors.push(FieldError::invalid(place, shown, "may not change once set"));
    }
    let family = |service: &Value| meta::items(service, &["spec", "ipFamilies"]).first().cloned();
    if family(old).is_some() && family(new) != family(old) {
        let shown = meta::at(new, &["spec", "ipFamilies"]).cloned().unwrap_or_default();
        errors.push(FieldError::invalid("spec.ipFamilies[0]", shown, "may not change once set"));
    }
}

fn by_type(new: &Value, path: &FieldPath, errors: &mut Findings) {
    let spec = &new["spec"];
    let has_ports = !meta::items(spec, &["ports"]).is_empty();
    if !has_ports && !is_headless(new) && kind(new) != "ExternalName" {
        errors.push(FieldError::required(path.child("ports"), ""));
    }
    match kind(new) {
        kind @ ("LoadBalancer" | "NodePort") if is_headless(new) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid(path.child("clusterIPs").index(0), "None", detail));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if meta::at(spec, &[field]).is_some() {
                    let detail = "may not be set for ExternalName services";
                    errors.push(FieldError::forbidden(path.child(field), detail));
                }
            }
            let name = meta::text(spec, &["externalName"]);
            let place = path.child("externalName");
            if name.is_empty() {
                errors.push(FieldError::required(place, ""));
            } else {
                for problem in names::dns1123_subdomain(name.trim_end_matches('.')) {
                    errors.push(FieldError::invalid(place.clone(), name, problem));
                }
            }
        }
        _ => {}
    }
}

fn ports(new: &Value, path: &FieldPath, errors: &mut Findings) {
    let ports = meta::items(new, &["spec", "ports"]);
    let (mut names_seen, mut seen, mut node_seen) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (at, port) in ports.iter().enumerate() {
        let path = path.index(at);
        let name = meta::text(port, &["name"]);
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(path.child("name"), ""));
        }
        check::well_formed(port, "name", &path, names::dns1123_label, errors);
        if !name.is_empty() && !names_seen.insert(name) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        let number = meta::number(port, &["port"]).unwrap_or_default();
        for problem in names::port_number(number) {
            errors.push(FieldError::invalid(path.child("port"), number, problem));
        }
        check::required_one_of(port, "protocol", &path, &PROTOCOLS, errors);
        check::port_or_name(&port["targetPort"], &path.child("targetPort"), errors);
        let protocol = meta::text(port, &["protocol"]);
        let node_port = meta::number(port, &["nodePort"]).unwrap_or_default();
        if node_port != 0 && kind(new) == "ClusterIP" {
            let detail = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(path.child("nodePort"), detail));
        }
        if node_port != 0 && !node_seen.insert((protocol, node_port)) {
            errors.push(FieldError::duplicate(path.child("nodePort"), node_port));
        }
        if !seen.insert((protocol, number)) {
            errors.push(FieldError::duplicate(path, json!({"port": number, "protocol": protocol})));
        }
    }
}

fn addresses(new: &Value, path: &FieldPath, errors: &mut Findings) {
    if kind(new) == "ExternalName" {
        return;
    }
    let spec = &new["spec"];
    let place = path.child("clusterIPs");
    let all = cluster_ips(new);
    let shown = || Value::from(all.clone());
    let first = meta::text(spec, &["clusterIP"]);
    match all.first() {
        None if !first.is_empty() => errors.push(FieldError::required(place.clone(), "")),
        Some(address) if *address != first && !first.is_empty() => {
            let detail = "first value must match `clusterIP`";
            errors.push(FieldError::invalid(place.clone(), shown(), detail));
        }
        Some(_) if first.is_empty() => {
            let detail = "must be empty when `clusterIP` is not specified";
            errors.push(FieldError::invalid(place.clone(), shown(), detail));
        }
        _ => {}
    }
    for (at, address) in all.iter().enumerate() {
        if at == 0 && *address == "None" {
            if all.len() > 1 {
                let detail = "'None' must be the first and only value";
                errors.push(FieldError::invalid(place.clone(), shown(), detail));
            }
        } else {
            let wrong = rules::address(address).into_iter();
            errors.extend(wrong.map(|why| FieldError::invalid(place.index(at), *address, why)));
        }
    }
    let leads_nowhere = is_headless_without_selector(new);
    for (at, family) in meta::items(spec, &["ipFamilies"]).iter().enumerate() {
        let place = path.child("ipFamilies").index(at);
        match family.as_str() {
            Some("IPv4") => {}
            Some("IPv6") if leads_nowhere => {}
            Some("IPv6") => {
                errors.push(FieldError::invalid(place, "IPv6", "not configured on this cluster"));
            }
            _ => errors.push(FieldError::not_supported(place, family.clone(), &["IPv4", "IPv6"])),
        }
    }
    if spec["ipFamilyPolicy"] == "RequireDualStack" && !leads_nowhere {
        let detail = "this cluster is not configured for dual-stack services";
        let place = path.child("ipFamilyPolicy");
        errors.push(FieldError::invalid(place, "RequireDualStack", detail));
    }
}

fn only_for_load_balancers(new: &Value, path: &FieldPath, errors: &mut Findings) {
    if kind(new) == "LoadBalancer" {
        return;
    }
    let fields = [
        ("loadBalancerSourceRanges", "LoadBalancerSourceRanges"),
        ("allocateLoadBalancerNodePorts", "allocateLoadBalancerNodePorts"),
        ("loadBalancerClass", "loadBalancerClass"),
    ];
    for (field, told) in fields {
        if meta::at(new, &["spec", field]).is_some() {
            let detail = "may only be used when `type` is 'LoadBalancer'";
            errors.push(FieldError::forbidden(path.child(told), detail));
        }
    }
}

fn traffic(new: &Value, path: &FieldPath, errors: &mut Findings) {
    let spec = &new["spec"];
    check::one_of(spec, "externalTrafficPolicy", path, &POLICIES, errors);
    let external = meta::text(spec, &["externalTrafficPolicy"]);
    let place = path.child("externalTrafficPolicy");
    if !is_reachable_from_outside(new) && !external.is_empty() {
        let detail = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(place, external, detail));
    } else if is_reachable_from_outside(new) && external.is_empty() {
        errors.push(FieldError::required(place, ""));
    }
    let health = meta::number(spec, &["healthCheckNodePort"]).unwrap_or_default();
    if health != 0 && !needs_health_port(new) {
        let detail =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid(path.child("healthCheckNodePort"), health, detail));
    }
}
