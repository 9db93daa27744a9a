//! `v1/endpoints`.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use crate::check;
use crate::fill::{objects, zero};
use crate::rules::{self, Must, Rule};
use crate::strategy::Strategy;
use crate::table::{Cell, tabled};

#[derive(Clone, Copy, Debug)]
pub struct Endpoints;

/// How many addresses a row shows.
const SHOWN_MAX: usize = 3;

const CELLS: &[Cell] =
    &[Cell::NAME, Cell::text("Endpoints", |object, _| addresses(object).into()), Cell::AGE];

fn addresses(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in meta::items(object, &["subsets"]) {
        let ips: Vec<&str> =
            meta::items(subset, &["addresses"]).iter().map(|a| meta::text(a, &["ip"])).collect();
        let ports = meta::items(subset, &["ports"]);
        if ports.is_empty() {
            all.extend(ips.iter().map(|ip| (*ip).to_owned()));
        }
        for port in ports {
            let number = meta::number(port, &["port"]).unwrap_or_default();
            all.extend(ips.iter().map(|ip| format!("{ip}:{number}")));
        }
    }
    shortened(&all)
}

/// The first three of many, and how many there are beyond.
pub(crate) fn shortened(all: &[String]) -> String {
    match all.len() {
        0 => "<none>".to_owned(),
        count if count > SHOWN_MAX => {
            format!("{} + {} more...", all[..SHOWN_MAX].join(","), count - SHOWN_MAX)
        }
        _ => all.join(","),
    }
}

const ADDRESS_RULES: &[Rule] = &[
    ("ip", Must::BeGivenFormed(rules::address)),
    ("hostname", Must::BeFormedIfAny(names::dns1123_label)),
    ("nodeName", Must::BeFormed(names::dns1123_subdomain)),
];
const PORT_RULES: &[Rule] = &[
    ("name", Must::BeFormedIfAny(names::dns1123_label)),
    ("port", Must::BeGivenWithin(1, 65535, "must be between 1 and 65535, inclusive")),
    ("protocol", Must::BeGivenOneOf(&["SCTP", "TCP", "UDP"])),
    ("appProtocol", Must::BeFormed(names::qualified_name)),
];

impl Strategy for Endpoints {
    fn default(&self, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        for subset in objects(fields, "subsets") {
            for port in objects(subset, "ports") {
                zero(port, "protocol", "TCP");
            }
        }
    }

    fn validate(&self, new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (at, subset) in meta::items(new, &["subsets"]).iter().enumerate() {
            let path = FieldPath::new("subsets").index(at);
            let empty = |list: &str| meta::items(subset, &[list]).is_empty();
            if empty("addresses") && empty("notReadyAddresses") {
                let detail = "must specify `addresses` or `notReadyAddresses`";
                errors.push(FieldError::required(path.clone(), detail));
            }
            for list in ["addresses", "notReadyAddresses"] {
                for (at, address) in meta::items(subset, &[list]).iter().enumerate() {
                    let path = path.child(list).index(at);
                    rules::check(address, &path, ADDRESS_RULES, &mut errors);
                    endpoint_address(meta::text(address, &["ip"]), &path.child("ip"), &mut errors);
                }
            }
            let ports = meta::items(subset, &["ports"]);
            for (at, port) in ports.iter().enumerate() {
                let path = path.child("ports").index(at);
                if ports.len() > 1 {
                    check::required(port, "name", &path, &mut errors);
                }
                rules::check(port, &path, PORT_RULES, &mut errors);
            }
        }
        errors
    }

    tabled!(CELLS);
}

/// Endpoints must not point at the node itself or at its link: traffic would be captured.
pub(crate) fn endpoint_address(text: &str, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let Ok(address) = text.parse::<std::net::IpAddr>() else {
        // It was told already that this is none; upstream tells it once more.
        errors.push(FieldError::invalid(path.clone(), text, "must be a valid IP address"));
        return;
    };
    // `::ffff:127.0.0.1` is 127.0.0.1 to whoever dials it.
    let address = address.to_canonical();
    let is_link_local = match address {
        std::net::IpAddr::V4(address) => address.is_link_local(),
        std::net::IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let detail = if address.is_unspecified() {
        "may not be unspecified"
    } else if address.is_loopback() {
        "may not be in the loopback range (127.0.0.0/8, ::1/128)"
    } else if is_link_local {
        "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
    } else {
        return;
    };
    errors.push(FieldError::invalid(path.clone(), text, detail));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_show_three_addresses_at_most() {
        let object = |ips: &[&str]| {
            let addresses: Vec<Value> = ips.iter().map(|ip| json!({ "ip": ip })).collect();
            json!({"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]})
        };
        assert_eq!(addresses(&object(&[])), "<none>");
        assert_eq!(addresses(&object(&["a", "b"])), "a:80,b:80");
        assert_eq!(addresses(&object(&["a", "b", "c", "d", "e"])), "a:80,b:80,c:80 + 2 more...");
    }

    #[test]
    fn endpoints_do_not_point_at_the_node_itself() {
        let object =
            json!({"subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 1}]}]});
        let errors = Endpoints.validate(&object, None);
        assert!(errors[0].detail.contains("loopback"), "{errors:?}");
    }
}
