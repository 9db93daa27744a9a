//! The objects that every cluster has, created once, by whichever master comes first.
//!
//! # Invariants
//! - Nothing that exists is overwritten: what an administrator changed stays changed.

use std::net::SocketAddr;

use http::Method;
use master_api::access::{Identity, Reader};
use master_api::meta;
use master_api::status::ApiError;
use master_auth::policy;
use serde_json::{Value, json};
use store_handle::Term;

use crate::body::RequestBody;
use crate::call::Call;
use crate::filter::request_id::new_uid;
use crate::rest::change::{Change, Rules, change};
use crate::rest::delete::{DeleteOptions, delete};
use crate::rest::ownership::Ownership;
use crate::rest::{Target, create, metadata};
use crate::server::Server;

/// Where DNS is, counted from the start of the service range.
const DNS_AT: u64 = 10;

impl Server {
    /// Creates what is missing. May be called again at any time, on any master.
    pub async fn bootstrap(&self, fence: Option<Term>) -> Result<(), ApiError> {
        self.catch_up().await?;
        for object in policy::objects() {
            self.ensure(object, fence).await?;
        }
        for object in self.services() {
            self.ensure(object, fence).await?;
        }
        self.ensure_service_range(fence).await
    }

    /// Says at which addresses the API is: the endpoints of the service `kubernetes`.
    pub async fn set_kubernetes_endpoints(
        &self,
        masters: Vec<SocketAddr>,
        fence: Option<Term>,
    ) -> Result<(), ApiError> {
        let mut masters = masters;
        masters.sort_unstable();
        self.put(endpoints(&masters), fence).await?;
        let slices = endpoint_slices(&masters);
        let names: Vec<String> = slices.iter().map(|slice| meta::name(slice).to_owned()).collect();
        for slice in slices {
            self.put(slice, fence).await?;
        }
        for old in self.cacher.list("discovery.k8s.io", "endpointslices", Some("default")) {
            let is_ours = meta::label(&old, "kubernetes.io/service-name") == "kubernetes";
            if is_ours && !names.iter().any(|name| name == meta::name(&old)) {
                let (call, target) = self.internal(&old, fence)?;
                match delete(self, &call, &target, &DeleteOptions::default()).await {
                    Ok(_) | Err(ApiError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Creates an object of endpoints, or brings it up to date.
    async fn put(&self, wanted: Value, fence: Option<Term>) -> Result<(), ApiError> {
        let (mut call, target) = self.internal(&wanted, fence)?;
        let produce = |old: &Value| {
            let mut new = old.clone();
            for field in ["subsets", "endpoints", "ports"] {
                if let Some(value) = wanted.get(field) {
                    new[field] = value.clone();
                }
            }
            Ok(new)
        };
        let changed = Change {
            subresource: "",
            rules: Rules::Whole,
            ownership: Ownership::Changed,
            produce: &produce,
        };
        match change(self, &mut call, &target, &changed).await {
            Err(ApiError::NotFound { .. }) => self.ensure(wanted, fence).await,
            outcome => outcome.map(drop),
        }
    }

    /// The range of service addresses, as an object that says that it is ready.
    async fn ensure_service_range(&self, fence: Option<Term>) -> Result<(), ApiError> {
        let range = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
            "metadata": { "name": "kubernetes" },
            "spec": { "cidrs": [self.cluster.service_cidr.to_string()] },
        });
        self.ensure(range.clone(), fence).await?;
        let (mut call, target) = self.internal(&range, fence)?;
        let now = master_api::time::seconds(self.now());
        let produce = |old: &Value| {
            let mut new = old.clone();
            if meta::items(old, &["status", "conditions"]).is_empty() {
                new["status"] = json!({ "conditions": [{
                    "type": "Ready", "status": "True", "reason": "", "lastTransitionTime": now,
                    "message": "Kubernetes default Service CIDR is ready",
                }]});
            }
            Ok(new)
        };
        let changed = Change {
            subresource: "status",
            rules: Rules::Status,
            ownership: Ownership::Changed,
            produce: &produce,
        };
        change(self, &mut call, &target, &changed).await.map(drop)
    }

    async fn ensure(&self, mut object: Value, fence: Option<Term>) -> Result<(), ApiError> {
        let (mut call, target) = self.internal(&object, fence)?;
        let (group, plural) = target.resource.storage();
        if self.cacher.get(group, plural, &target.namespace, &target.name).is_some() {
            return Ok(());
        }
        metadata::place(&mut object, &target)?;
        match create::create(self, &mut call, &target, object, Ownership::Changed).await {
            Ok(_) | Err(ApiError::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A call of the server's own, and what it is about.
    fn internal(&self, object: &Value, fence: Option<Term>) -> Result<(Call, Target), ApiError> {
        let (group, version) = meta::split_api_version(meta::api_version(object));
        let kind = meta::kind(object);
        let served = self.served();
        let found = served
            .catalog
            .all()
            .iter()
            .find(|r| r.group == group && r.version == version && r.kind == kind);
        let resource = found.ok_or_else(|| ApiError::internal(format!("{kind} is not served")))?;
        let request = http::Request::builder().method(Method::POST).uri("/");
        let request = request.body(empty()).map_err(ApiError::internal)?;
        let mut call = Call::new(new_uid(), request);
        call.speak_as(Identity { ..policy::api_server() });
        call.fence = fence;
        call.info.namespace = meta::namespace(object).to_owned();
        call.info.name = meta::name(object).to_owned();
        let target = Target::of(resource, &call);
        Ok((call, target))
    }

    /// The two services that clients find at fixed addresses.
    fn services(&self) -> Vec<Value> {
        let address = |index| self.cluster.service_cidr.nth(index).map(|ip| ip.to_string());
        let service = |namespace: &str, name: &str, labels: Value, spec: Value| {
            json!({
                "apiVersion": "v1", "kind": "Service", "spec": spec,
                "metadata": { "name": name, "namespace": namespace, "labels": labels },
            })
        };
        let api_labels = json!({ "component": "apiserver", "provider": "kubernetes" });
        let dns_labels = json!({
            "k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS",
            "kubernetes.io/cluster-service": "true",
        });
        let port = |name: &str, port: u16, target: u16, protocol: &str| json!({ "name": name, "port": port, "targetPort": target, "protocol": protocol });
        vec![
            service(
                "default",
                "kubernetes",
                api_labels,
                json!({
                    "clusterIP": address(1), "type": "ClusterIP",
                    "ports": [port("https", 443, self.advertise.port(), "TCP")],
                }),
            ),
            service(
                "kube-system",
                "kube-dns",
                dns_labels,
                json!({
                    "clusterIP": address(DNS_AT), "type": "ClusterIP",
                    "selector": { "k8s-app": "kube-dns" },
                    "ports": [port("dns", 53, 53, "UDP"), port("dns-tcp", 53, 53, "TCP")],
                }),
            ),
        ]
    }
}

fn empty() -> RequestBody {
    use http_body_util::BodyExt;
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Masters may listen on different ports: one subset each port, as Endpoints groups them.
fn endpoints(masters: &[SocketAddr]) -> Value {
    let mut ports: Vec<u16> = masters.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    let subset = |port: &u16| {
        let here = masters.iter().filter(|master| master.port() == *port);
        let addresses: Vec<Value> =
            here.map(|master| json!({ "ip": master.ip().to_string() })).collect();
        json!({
            "addresses": addresses,
            "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
        },
        "subsets": ports.iter().map(subset).collect::<Vec<_>>(),
    })
}

/// The same as slices: a slice has one port for all its addresses, so there is one each port.
fn endpoint_slices(masters: &[SocketAddr]) -> Vec<Value> {
    let mut ports: Vec<u16> = masters.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    let slice = |(index, port): (usize, &u16)| {
        let here = masters.iter().filter(|master| master.port() == *port);
        let endpoint = |master: &SocketAddr| json!({ "addresses": [master.ip().to_string()], "conditions": { "ready": true } });
        let name = if index == 0 { "kubernetes".into() } else { format!("kubernetes-{index}") };
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": name, "namespace": "default",
                "labels": { "kubernetes.io/service-name": "kubernetes" },
            },
            "endpoints": here.map(endpoint).collect::<Vec<_>>(),
            "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
        })
    };
    ports.iter().enumerate().map(slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_are_grouped_by_port() {
        let masters: Vec<SocketAddr> =
            ["10.0.0.1:6443", "10.0.0.1:6444", "10.0.0.2:6443"].map(|a| a.parse().unwrap()).into();
        let subsets = endpoints(&masters)["subsets"].clone();
        assert_eq!(subsets[0]["addresses"], json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]));
        assert_eq!(subsets[1]["ports"][0]["port"], 6444);
    }
}
