//! `discovery.k8s.io/v1/endpointslices`.

use master_api::field::FieldPath;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::Value;

use crate::check;
use crate::core::endpoints::{endpoint_address, shortened};
use crate::fill::{absent, objects};
use crate::strategy::{Shape, Strategy};
use crate::table::{Cell, or, tabled};

#[derive(Clone, Copy, Debug)]
pub struct EndpointSlices;

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
                if new["addressType"] == "IPv4" && text.parse::<std::net::Ipv4Addr>().is_err() {
                    let detail = "must be a valid IPv4 address";
                    errors.push(FieldError::invalid(path.clone(), text, detail));
                }
                if new["addressType"] == "IPv6" && text.parse::<std::net::Ipv6Addr>().is_err() {
                    let detail = "must be a valid IPv6 address";
                    errors.push(FieldError::invalid(path.clone(), text, detail));
                }
                endpoint_address(text, &path, &mut errors);
            }
        }
        for (at, port) in meta::items(new, &["ports"]).iter().enumerate() {
            let path = FieldPath::new("ports").index(at);
            check::one_of(port, "protocol", &path, &["SCTP", "TCP", "UDP"], &mut errors);
        }
        if let Some(old) = old {
            check::immutable(new, old, &["addressType"], &mut errors);
        }
        errors
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
        assert_eq!(EndpointSlices.validate(&slice, None), []);
        let wrong = json!({"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}, {"addresses": []}]});
        let fields: Vec<String> =
            EndpointSlices.validate(&wrong, None).into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["endpoints[0].addresses[0]", "endpoints[1].addresses"]);
    }
}
