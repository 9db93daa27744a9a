//! `discovery.k8s.io/v1/endpointslices`.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use crate::check;
use crate::core::endpoints::{endpoint_address, shortened};
use crate::fill::{absent, objects};
use crate::rules::{Must, Rule, address_warning};
use crate::strategy::{Cx, Shape, Strategy, fresh, kept};
use crate::table::{Cell, or, tabled};

#[derive(Clone, Copy, Debug)]
pub struct EndpointSlices;

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const CONTROLLERS: [&str; 2] =
    ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("AddressType", |slice, _| or(slice, &["addressType"], "")),
    Cell::text("Ports", |slice, _| {
        let ports = meta::items(slice, &["ports"]).iter();
        let port = |port: &Value| match (meta::number(port, &["port"]), port["name"].as_str()) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => "*".to_owned(),
        };
        shown(&ports.map(port).collect::<Vec<_>>())
    }),
    Cell::text("Endpoints", |slice, _| {
        let endpoints = meta::items(slice, &["endpoints"]).iter();
        let addresses = endpoints.flat_map(|endpoint| meta::items(endpoint, &["addresses"]));
        let texts = addresses.filter_map(Value::as_str).map(str::to_owned);
        shown(&texts.collect::<Vec<_>>())
    }),
    Cell::AGE,
];

fn shown(all: &[String]) -> Value {
    if all.is_empty() { "<unset>".into() } else { shortened(all).into() }
}

/// What there is to say of fields by themselves.
const RULES: &[Rule] = &[
    ("endpoints[].hostname", Must::BeFormed(names::dns1123_label)),
    ("endpoints[].nodeName", Must::BeFormed(names::dns1123_subdomain)),
    ("endpoints[].hints.forZones[].name", Must::BeFormed(names::label_value)),
    ("endpoints[].hints.forZones", Must::DifferIn("name")),
    ("ports[].name", Must::BeFormedIfAny(names::dns1123_label)),
    ("ports[].protocol", Must::BeGivenOneOf(&["SCTP", "TCP", "UDP"])),
    ("ports[].appProtocol", Must::BeFormed(names::qualified_name)),
];

/// No two ports have the same name, and no name is one.
fn names_once(ports: &[Value], errors: &mut Vec<FieldError>) {
    let mut seen = std::collections::BTreeSet::new();
    for (at, port) in ports.iter().enumerate() {
        let name = meta::text(port, &["name"]);
        if !seen.insert(name) {
            let path = FieldPath::new("ports").index(at).child("name");
            errors.push(FieldError::duplicate(path, name));
        }
    }
}

/// A field of the version before `v1`, which nobody can write any more; what is there stays while nothing else changes.
fn drop_topology(slice: &mut Value, old: Option<&Value>) {
    if old.is_some_and(|old| old["endpoints"] == slice["endpoints"]) {
        return;
    }
    let Some(fields) = slice.as_object_mut() else { return };
    objects(fields, "endpoints").for_each(|endpoint| drop(endpoint.remove("deprecatedTopology")));
}

impl Strategy for EndpointSlices {
    fn shape(&self) -> Shape {
        Shape { generation: true, ..Shape::default() }
    }

    fn default(&self, slice: &mut Value) {
        let Some(fields) = slice.as_object_mut() else { return };
        for port in objects(fields, "ports") {
            absent(port, "name", "");
            absent(port, "protocol", "TCP");
        }
    }

    fn prepare_create(&self, new: &mut Value, _cx: &Cx<'_>) {
        fresh(new, self.shape());
        drop_topology(new, None);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        drop_topology(new, Some(old));
        kept(new, old, self.shape());
        // Of this kind labels count, too.
        if meta::generation(new) == meta::generation(old) && meta::labels(new) != meta::labels(old)
        {
            meta::set(new, "generation", meta::generation(old) + 1);
        }
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let types = ["FQDN", "IPv4", "IPv6"];
        check::required_one_of(new, "addressType", &FieldPath::default(), &types, &mut errors);
        let endpoints = meta::items(new, &["endpoints"]);
        let path = FieldPath::new("endpoints");
        if endpoints.len() > ENDPOINTS_MAX {
            errors.push(FieldError::too_many(path.clone(), endpoints.len(), ENDPOINTS_MAX));
        }
        for (at, endpoint) in endpoints.iter().enumerate() {
            let path = path.index(at).child("addresses");
            let addresses = meta::items(endpoint, &["addresses"]);
            if addresses.is_empty() {
                let detail = "must contain at least 1 address";
                errors.push(FieldError::required(path.clone(), detail));
            }
            if addresses.len() > ADDRESSES_MAX {
                errors.push(FieldError::too_many(path.clone(), addresses.len(), ADDRESSES_MAX));
            }
            for (at, address) in addresses.iter().enumerate() {
                let text = address.as_str().unwrap_or_default();
                let path = path.index(at);
                let kind = meta::text(new, &["addressType"]);
                if kind == "FQDN" {
                    continue;
                }
                let known = text.parse::<std::net::IpAddr>();
                let wrong = match (&known, kind) {
                    (Err(_), _) => {
                        errors.extend(
                            crate::rules::address(text)
                                .into_iter()
                                .map(|detail| FieldError::invalid(path.clone(), text, detail)),
                        );
                        continue;
                    }
                    (Ok(address), "IPv4") if !address.is_ipv4() => "must be an IPv4 address",
                    (Ok(address), "IPv6") if !address.is_ipv6() => "must be an IPv6 address",
                    _ => "",
                };
                if !wrong.is_empty() {
                    errors.push(FieldError::invalid(path.clone(), text, wrong));
                }
                endpoint_address(text, &path, &mut errors);
            }
        }
        crate::rules::check(new, &FieldPath::default(), RULES, &mut errors);
        names_once(meta::items(new, &["ports"]), &mut errors);
        if let Some(old) = old {
            check::immutable(new, old, &["addressType"], &mut errors);
        }
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut found = Vec::new();
        if old.is_none() && new["addressType"] == "FQDN" {
            found.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        // Those of the controllers are in the one form.
        let made_by = new["metadata"]["labels"][MANAGED_BY].as_str();
        if made_by.is_some_and(|name| CONTROLLERS.contains(&name)) {
            return found;
        }
        for (at, endpoint) in meta::items(new, &["endpoints"]).iter().enumerate() {
            let path = FieldPath::new("endpoints").index(at).child("addresses");
            let all = meta::items(endpoint, &["addresses"]).iter().filter_map(Value::as_str);
            let warning = |(at, text)| address_warning(text, &path.index(at));
            found.extend(all.enumerate().filter_map(warning));
        }
        found
    }

    tabled!(CELLS);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_show_ports_and_addresses() {
        let slice = json!({"metadata": {"name": "s"}, "addressType": "IPv4", "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}]});
        let row = EndpointSlices.row(&slice, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(row, ["s", "IPv4", "80", "10.0.0.1,10.0.0.2", "<unknown>"]);
        let mut whole = slice.clone();
        EndpointSlices.default(&mut whole);
        assert_eq!(EndpointSlices.validate(&whole, None), []);
        let wrong = json!({"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}, {"addresses": []}]});
        let fields: Vec<String> =
            EndpointSlices.validate(&wrong, None).into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["endpoints[0].addresses[0]", "endpoints[1].addresses"]);
    }

    #[test]
    fn what_is_deprecated_or_spelled_otherwise_is_told() {
        let slice = |kind: &str, address: &str, by: &str| json!({"metadata": {"labels": {MANAGED_BY: by}}, "addressType": kind, "endpoints": [{"addresses": [address]}]});
        let fqdn = slice("FQDN", "a.b", "me");
        let deprecated = "spec.addressType: FQDN endpoints are deprecated";
        assert_eq!(EndpointSlices.warnings(&fqdn, None), [deprecated]);
        assert_eq!(EndpointSlices.warnings(&fqdn, Some(&fqdn)), [""; 0]);
        let odd = r#"endpoints[0].addresses[0]: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")"#;
        assert_eq!(EndpointSlices.warnings(&slice("IPv6", "2001:DB8::1", "me"), None), [odd]);
        assert_eq!(
            EndpointSlices.warnings(&slice("IPv6", "2001:DB8::1", CONTROLLERS[0]), None),
            [""; 0]
        );
        assert_eq!(EndpointSlices.warnings(&slice("IPv6", "2001:db8::1", "me"), None), [""; 0]);
    }

    #[test]
    fn topology_is_not_written_any_more() {
        let slice = |ready: bool| json!({"endpoints": [{"conditions": {"ready": ready}, "deprecatedTopology": {"a": "b"}}]});
        let has = |slice: &Value| slice["endpoints"][0].get("deprecatedTopology").is_some();
        for (old, expected) in
            [(None, false), (Some(slice(false)), false), (Some(slice(true)), true)]
        {
            let mut new = slice(true);
            drop_topology(&mut new, old.as_ref());
            assert_eq!(has(&new), expected, "{old:?}");
        }
    }
}
