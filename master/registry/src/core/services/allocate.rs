//! Addresses and node ports of services, claimed in the transaction that writes the service.
//!
//! A free value is drawn at random, so three masters seldom meet; a lost claim means another draw,
//! or for a value that the user chose, a refusal.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use bytes::Bytes;
use master_api::status::FieldError;
use master_api::{meta, time};
use serde_json::{Value, json};

use super::{cluster_ips, needs_cluster_ip, needs_health_port, needs_node_ports};
use crate::strategy::{Companion, Cx};

/// An address is claimed by the IPAddress object of its name.
const ADDRESSES: &str = "/registry/networking.k8s.io/ipaddresses";
const PORTS: &str = "/registry/ranges/nodeports";

/// Fills in what the service lacks, and says which keys to claim and release.
pub(super) fn companions(
    new: Option<&mut Value>,
    old: Option<&Value>,
    cx: &Cx<'_>,
) -> Result<Vec<Companion>, Vec<FieldError>> {
    let had = old.map(held).unwrap_or_default();
    let mut has = BTreeSet::new();
    let mut owner = String::new();
    if let Some(new) = new {
        let mut taken = Taken::new(new, cx);
        address(new, &had, &mut taken, cx)?;
        ports(new, &had, &mut taken, cx)?;
        has = held(new);
        owner = meta::key(new);
    }
    let claims = has.difference(&had).map(|key| {
        let value = match key.strip_prefix(ADDRESSES) {
            Some(address) => ip_address(address.trim_start_matches('/'), &owner, cx),
            None => Bytes::from(owner.clone()),
        };
        Companion::Claim { key: key.clone(), value }
    });
    let releases = had.difference(&has).map(|key| Companion::Release { key: key.clone() });
    Ok(claims.chain(releases).collect())
}

fn address_key(address: &str) -> String {
    format!("{ADDRESSES}/{address}")
}

/// The stored form of the IPAddress that says whose an address is (`metadata` first).
fn ip_address(address: &str, owner: &str, cx: &Cx<'_>) -> Bytes {
    let (namespace, name) = owner.split_once('/').unwrap_or(("", owner));
    let metadata = json!({
        "name": address, "uid": uid(cx), "creationTimestamp": time::seconds(cx.now),
        "labels": {
            "ipaddress.kubernetes.io/ip-family": "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        },
    });
    let parent =
        json!({ "group": "", "resource": "services", "namespace": namespace, "name": name });
    let kind = r#""apiVersion":"networking.k8s.io/v1","kind":"IPAddress""#;
    Bytes::from(format!(r#"{{"metadata":{metadata},{kind},"spec":{{"parentRef":{parent}}}}}"#))
}

/// A random UUID, version 4.
fn uid(cx: &Cx<'_>) -> String {
    let (high, low) = ((cx.draw)(), (cx.draw)());
    let bits = (u128::from(high) << 64 | u128::from(low)) & !(0xf << 76) & !(0x3 << 62);
    let digits = format!("{:032x}", bits | 0x4 << 76 | 0x2 << 62);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}

fn port_key(protocol: &str, port: i64) -> String {
    format!("{PORTS}/{}/{port}", protocol.to_lowercase())
}

/// The keys that a service holds.
fn held(service: &Value) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    if needs_cluster_ip(service) {
        let addresses = cluster_ips(service).into_iter().filter(|address| *address != "None");
        keys.extend(addresses.map(address_key));
    }
    for port in meta::items(service, &["spec", "ports"]) {
        let number = meta::number(port, &["nodePort"]).unwrap_or_default();
        if number != 0 {
            keys.insert(port_key(meta::text(port, &["protocol"]), number));
        }
    }
    let health = meta::number(service, &["spec", "healthCheckNodePort"]).unwrap_or_default();
    if health != 0 {
        keys.insert(port_key("TCP", health));
    }
    keys
}

/// The keys of other services; looked up only after a claim was lost, since a draw seldom loses.
struct Taken(BTreeSet<String>);

impl Taken {
    fn new(service: &Value, cx: &Cx<'_>) -> Self {
        if cx.attempt == 0 {
            return Self(BTreeSet::new());
        }
        let others = cx.reader.list("", "services", None);
        let others = others.iter().filter(|other| meta::key(other) != meta::key(service));
        // An address may be spoken for by hand, too.
        let addresses = cx.reader.list("networking.k8s.io", "ipaddresses", None);
        let addresses = addresses.iter().map(|address| address_key(meta::name(address)));
        Self(others.flat_map(|other| held(other)).chain(addresses).collect())
    }

    /// Draws from two bands, of which the second is for when the first is full.
    fn draw<T>(
        &mut self,
        bands: [std::ops::Range<u64>; 2],
        cx: &Cx<'_>,
        candidate: impl Fn(u64) -> (String, T),
    ) -> Option<T> {
        for band in bands {
            let size = band.end.saturating_sub(band.start);
            if size == 0 {
                continue;
            }
            let start = (cx.draw)() % size;
            for step in 0..size {
                let (key, value) = candidate(band.start + (start + step) % size);
                if self.0.insert(key) {
                    return Some(value);
                }
            }
        }
        None
    }
}

fn address(
    service: &mut Value,
    had: &BTreeSet<String>,
    taken: &mut Taken,
    cx: &Cx<'_>,
) -> Result<(), Vec<FieldError>> {
    if !needs_cluster_ip(service) || cluster_ips(service) == ["None"] {
        return Ok(());
    }
    let range = cx.config.service_cidr;
    let refuse = |shown: Value, text: String| {
        let detail = format!("failed to allocate IP{text}");
        vec![FieldError::invalid("spec.clusterIPs", shown, detail)]
    };
    if cluster_ips(service).is_empty() {
        // The first quarter-thousand addresses are left to services that choose their own.
        let size = range.size();
        let reserved = (size / 16).clamp(16.min(size), 256) + 1;
        let last = size.saturating_sub(1).max(1);
        let bands = [reserved.min(last)..last, 1..reserved.min(last)];
        let drawn = taken.draw(bands, cx, |index| {
            let address = range.nth(index).expect("the bands lie in the range").to_string();
            (address_key(&address), address)
        });
        let address = drawn.ok_or_else(|| refuse(Value::Null, ": range is full".to_owned()))?;
        service["spec"]["clusterIP"] = address.clone().into();
        service["spec"]["clusterIPs"] = json!([address]);
        return Ok(());
    }
    for chosen in cluster_ips(service) {
        let key = address_key(chosen);
        if had.contains(&key) {
            continue;
        }
        let shown = Value::from(cluster_ips(service));
        let is_in_range = chosen.parse::<Ipv4Addr>().is_ok_and(|address| {
            let edges = [Some(range.base()), range.nth(range.size() - 1)];
            range.contains(address) && !edges.contains(&Some(address))
        });
        if !is_in_range {
            let text = format!(
                " {chosen}: the provided IP ({chosen}) is not in the valid range. The range of valid IPs is {range}"
            );
            return Err(refuse(shown, text));
        }
        if !taken.0.insert(key) {
            return Err(refuse(shown, format!(" {chosen}: provided IP is already allocated")));
        }
    }
    Ok(())
}

fn ports(
    service: &mut Value,
    had: &BTreeSet<String>,
    taken: &mut Taken,
    cx: &Cx<'_>,
) -> Result<(), Vec<FieldError>> {
    let needs = needs_node_ports(service);
    let count = meta::items(service, &["spec", "ports"]).len();
    for at in 0..count {
        let port = &service["spec"]["ports"][at];
        if let Some(number) = meta::number(port, &["nodePort"]).filter(|number| *number != 0) {
            let protocol = meta::text(port, &["protocol"]).to_owned();
            let field = format!("spec.ports[{at}].nodePort");
            chosen_port(&protocol, number, field, had, taken, cx)?;
        }
    }
    if needs {
        for at in 0..count {
            let port = &service["spec"]["ports"][at];
            if meta::number(port, &["nodePort"]).unwrap_or_default() != 0 {
                continue;
            }
            let protocol = meta::text(port, &["protocol"]).to_owned();
            let number = match sibling(service, at) {
                Some(number) if taken.0.insert(port_key(&protocol, number)) => number,
                _ => free_port(&protocol, taken, cx, &format!("spec.ports[{at}].nodePort"))?,
            };
            service["spec"]["ports"][at]["nodePort"] = number.into();
        }
    }
    if needs_health_port(service) {
        let number = meta::number(service, &["spec", "healthCheckNodePort"]).unwrap_or_default();
        let field = "spec.healthCheckNodePort";
        if number == 0 {
            let number = free_port("TCP", taken, cx, field)?;
            service["spec"]["healthCheckNodePort"] = number.into();
        } else {
            chosen_port("TCP", number, field.to_owned(), had, taken, cx)?;
        }
    }
    Ok(())
}

/// The node port of the same port number under another protocol: DNS over TCP and UDP share it.
fn sibling(service: &Value, at: usize) -> Option<i64> {
    let ports = meta::items(service, &["spec", "ports"]);
    let this = ports.get(at)?;
    let other = ports.iter().find(|other| {
        other["port"] == this["port"]
            && other["protocol"] != this["protocol"]
            && meta::number(other, &["nodePort"]).unwrap_or_default() != 0
    });
    meta::number(other?, &["nodePort"])
}

fn chosen_port(
    protocol: &str,
    number: i64,
    field: String,
    had: &BTreeSet<String>,
    taken: &mut Taken,
    cx: &Cx<'_>,
) -> Result<(), Vec<FieldError>> {
    let key = port_key(protocol, number);
    if had.contains(&key) {
        taken.0.insert(key);
        return Ok(());
    }
    let (first, last) = cx.config.node_ports;
    if !(i64::from(first)..=i64::from(last)).contains(&number) {
        let detail = format!(
            "provided port is not in the valid range. The range of valid ports is {first}-{last}"
        );
        return Err(vec![FieldError::invalid(field, number, detail)]);
    }
    if !taken.0.insert(key) {
        let detail = "provided port is already allocated";
        return Err(vec![FieldError::invalid(field, number, detail)]);
    }
    Ok(())
}

fn free_port(
    protocol: &str,
    taken: &mut Taken,
    cx: &Cx<'_>,
    field: &str,
) -> Result<i64, Vec<FieldError>> {
    let (first, last) = cx.config.node_ports;
    let (first, end) = (u64::from(first), u64::from(last) + 1);
    // The lowest ports are left to services that choose their own.
    let size = end.saturating_sub(first);
    let reserved = first + (size / 32).clamp(16.min(size), 128);
    let drawn = taken.draw([reserved..end, first..reserved], cx, |port| {
        let port = i64::try_from(port).expect("ports are 16 bits");
        (port_key(protocol, port), port)
    });
    drawn.ok_or_else(|| {
        vec![FieldError::internal(field, "failed to allocate a nodePort: range is full")]
    })
}
