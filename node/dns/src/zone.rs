//! The names of the cluster, as a pure function of services and endpoint slices.
//!
//! Follows the Kubernetes DNS specification 1.1.0: services, headless services, ports, the world outside
//! by another name, and addresses back to names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::str::FromStr;

use hickory_server::proto::rr::rdata::{A, CNAME, PTR, SRV};
use hickory_server::proto::rr::{LowerName, Name, RData, RecordType};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What a question comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Found(Vec<RData>),
    /// The name exists, but not with this type.
    NoData,
    NoSuchName,
    /// The name is somebody else's.
    Foreign,
}

/// All names.
#[derive(Clone, Debug)]
pub struct Zone {
    root: LowerName,
    records: BTreeMap<LowerName, Vec<RData>>,
    /// Names that only exist because something lies below them.
    parents: BTreeSet<LowerName>,
    reverse: BTreeSet<LowerName>,
}

impl Zone {
    /// No names yet below `domain` (`cluster.local`).
    pub fn empty(domain: &str) -> Self {
        let root = Name::from_str(&format!("{domain}.")).unwrap_or_else(|_| Name::root());
        Self {
            root: LowerName::new(&root),
            records: BTreeMap::new(),
            parents: BTreeSet::new(),
            reverse: BTreeSet::new(),
        }
    }

    /// Reads services and slices.
    pub fn build<'a>(
        domain: &str,
        services: impl Iterator<Item = &'a Service>,
        slices: impl Iterator<Item = &'a EndpointSlice>,
    ) -> Self {
        let mut zone = Self::empty(domain);
        let mut slices_of: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
        for slice in slices.filter(|slice| slice.address_type == "IPv4") {
            let service = slice.metadata.labels.as_ref().and_then(|it| it.get(SERVICE_NAME));
            if let (Some(namespace), Some(service)) = (&slice.metadata.namespace, service) {
                slices_of.entry((namespace, service)).or_default().push(slice);
            }
        }
        for service in services {
            let (Some(spec), Some(namespace), Some(name)) =
                (&service.spec, &service.metadata.namespace, &service.metadata.name)
            else {
                continue;
            };
            let key = (namespace.as_str(), name.as_str());
            let slices = slices_of.get(&key).map(Vec::as_slice).unwrap_or_default();
            zone.add_service(&format!("{name}.{namespace}.svc.{domain}."), spec, slices);
        }
        zone
    }

    fn add_service(&mut self, name: &str, spec: &ServiceSpec, slices: &[&EndpointSlice]) {
        if let Some(outside) = spec.external_name.as_ref().filter(|_| is_external(spec)) {
            if let Ok(target) = Name::from_str(&format!("{}.", outside.trim_end_matches('.'))) {
                self.add(name, RData::CNAME(CNAME(target)));
            }
            return;
        }
        match spec.cluster_ip.as_deref().and_then(|text| text.parse().ok()) {
            Some(address) => {
                self.add_address(name, address);
                for port in spec.ports.iter().flatten() {
                    let protocol = port.protocol.as_deref();
                    self.add_port(name, name, port.name.as_deref(), protocol, port.port);
                }
            }
            None => self.add_headless(name, slices),
        }
    }

    /// A service without an address of its own: its names are those of its endpoints.
    fn add_headless(&mut self, name: &str, slices: &[&EndpointSlice]) {
        for slice in slices {
            for endpoint in slice.endpoints.iter().flatten() {
                let ready = endpoint.conditions.as_ref().and_then(|it| it.ready).unwrap_or(true);
                let Some(address) =
                    endpoint.addresses.first().and_then(|it| it.parse::<Ipv4Addr>().ok())
                else {
                    continue;
                };
                if !ready {
                    continue;
                }
                let dashed = || address.to_string().replace('.', "-");
                let own = format!("{}.{name}", endpoint.hostname.clone().unwrap_or_else(dashed));
                self.add(name, RData::A(A(address)));
                self.add_address(&own, address);
                for port in slice.ports.iter().flatten() {
                    let number = port.port.unwrap_or_default();
                    self.add_port(
                        name,
                        &own,
                        port.name.as_deref(),
                        port.protocol.as_deref(),
                        number,
                    );
                }
            }
        }
    }

    /// A name's address, and the address's name.
    fn add_address(&mut self, name: &str, address: Ipv4Addr) {
        self.add(name, RData::A(A(address)));
        if let Ok(target) = Name::from_str(name) {
            let back = reverse_name(address);
            self.reverse.insert(LowerName::new(&back));
            self.records.entry(LowerName::new(&back)).or_default().push(RData::PTR(PTR(target)));
        }
    }

    fn add_port(
        &mut self,
        service: &str,
        target: &str,
        port: Option<&str>,
        protocol: Option<&str>,
        number: i32,
    ) {
        let (Some(port), Ok(number)) = (port.filter(|it| !it.is_empty()), u16::try_from(number))
        else {
            return;
        };
        let protocol = protocol.unwrap_or("TCP").to_lowercase();
        if let Ok(target) = Name::from_str(target) {
            let data = RData::SRV(SRV::new(0, 100, number, target));
            self.add(&format!("_{port}._{protocol}.{service}"), data);
        }
    }

    fn add(&mut self, name: &str, data: RData) {
        let Ok(name) = Name::from_str(name) else { return };
        let mut parent = name.base_name();
        while self.root.zone_of(&LowerName::new(&parent)) && !parent.is_root() {
            self.parents.insert(LowerName::new(&parent));
            parent = parent.base_name();
        }
        let records = self.records.entry(LowerName::new(&name)).or_default();
        if !records.contains(&data) {
            records.push(data);
        }
    }

    /// The zone's own name.
    pub fn root(&self) -> &LowerName {
        &self.root
    }

    /// What `name` has of `kind`. An alias is returned for any type.
    pub fn lookup(&self, name: &LowerName, kind: RecordType) -> Answer {
        let is_ours = self.root.zone_of(name);
        if !is_ours && !self.reverse.contains(name) {
            return Answer::Foreign;
        }
        if let Some(records) = self.records.get(name) {
            let fits =
                |it: &&RData| it.record_type() == kind || it.record_type() == RecordType::CNAME;
            let found: Vec<RData> = records.iter().filter(fits).cloned().collect();
            return if found.is_empty() { Answer::NoData } else { Answer::Found(found) };
        }
        if let Some(address) = self.pod_address(name) {
            return if kind == RecordType::A {
                Answer::Found(vec![RData::A(A(address))])
            } else {
                Answer::NoData
            };
        }
        let exists = self.parents.contains(name) || name == &self.root;
        if exists { Answer::NoData } else { Answer::NoSuchName }
    }

    /// `10-244-0-5.<namespace>.pod.<domain>` says its address itself.
    fn pod_address(&self, name: &LowerName) -> Option<Ipv4Addr> {
        let text = name.to_string();
        let inside = text.strip_suffix(&format!(".pod.{}", self.root))?;
        let (dashed, namespace) = inside.split_once('.')?;
        if namespace.is_empty() || namespace.contains('.') {
            return None;
        }
        dashed.replace('-', ".").parse().ok()
    }
}

fn is_external(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() == Some("ExternalName")
}

fn reverse_name(address: Ipv4Addr) -> Name {
    let [a, b, c, d] = address.octets();
    Name::from_str(&format!("{d}.{c}.{b}.{a}.in-addr.arpa.")).unwrap_or_else(|_| Name::root())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn zone() -> Zone {
        let service = |name: &str, spec: serde_json::Value| -> Service {
            serde_json::from_value(
                json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec}),
            )
            .unwrap()
        };
        let ports = json!([{"name": "http", "port": 80}]);
        let services = [
            service("web", json!({"clusterIP": "10.96.0.20", "ports": ports})),
            service("db", json!({"clusterIP": "None", "ports": ports})),
            service("out", json!({"type": "ExternalName", "externalName": "example.org"})),
        ];
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"namespace": "default", "labels": {SERVICE_NAME: "db"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.244.0.5"], "hostname": "db-0"},
                {"addresses": ["10.244.1.6"]},
                {"addresses": ["10.244.1.7"], "conditions": {"ready": false}},
            ],
        }))
        .unwrap();
        Zone::build("cluster.local", services.iter(), [&slice].into_iter())
    }

    fn check(name: &str, kind: RecordType, expected: &str) {
        let name = LowerName::from_str(name).unwrap();
        let got = match zone().lookup(&name, kind) {
            Answer::Found(data) => {
                data.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
            }
            other => format!("{other:?}"),
        };
        assert_eq!(got, expected, "{name} {kind}");
    }

    #[test]
    fn names_lead_to_addresses() {
        use RecordType::{A, AAAA, PTR, SRV};
        check("web.default.svc.cluster.local.", A, "10.96.0.20");
        check("WEB.Default.svc.cluster.local.", A, "10.96.0.20");
        check("web.default.svc.cluster.local.", AAAA, "NoData");
        check("db.default.svc.cluster.local.", A, "10.244.0.5 | 10.244.1.6");
        check("db-0.db.default.svc.cluster.local.", A, "10.244.0.5");
        check("10-244-1-6.db.default.svc.cluster.local.", A, "10.244.1.6");
        check(
            "_http._tcp.web.default.svc.cluster.local.",
            SRV,
            "0 100 80 web.default.svc.cluster.local.",
        );
        check("20.0.96.10.in-addr.arpa.", PTR, "web.default.svc.cluster.local.");
        check("10-1-2-3.default.pod.cluster.local.", A, "10.1.2.3");
        check("out.default.svc.cluster.local.", A, "example.org.");
    }

    #[test]
    fn absence_is_told_apart() {
        use RecordType::A;
        check("none.default.svc.cluster.local.", A, "NoSuchName");
        check("default.svc.cluster.local.", A, "NoData");
        check("cluster.local.", A, "NoData");
        check("example.org.", A, "Foreign");
        check("9.9.9.9.in-addr.arpa.", RecordType::PTR, "Foreign");
    }
}
