//! Says of ranges of service addresses that they are ready, holds them while addresses of theirs are in use,
//! and keeps the address objects equal to the addresses that services have.
//!
//! Watches: `ServiceCIDR`, `IPAddress`, `Service`. Writes: the finalizer and the status of the first; creates
//! and deletes the second.
//!
//! # Invariants
//! - An address object that somebody else manages is left alone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{
    IPAddress, IPAddressSpec, ParentReference, ServiceCIDR, ServiceCIDRStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::ObjectMeta;
use master_client::informer::key_of;
use serde_json::json;
use store_env::task::Group;

use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};
use crate::owner::{is_terminating, name_of};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const OURS: &str = "ipallocator.k8s.io";
const DEFAULT: &str = "kubernetes";

/// Starts the two controllers.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    let ranges = cx.informers.service_ranges.clone();
    Controller::new("service-cidr-controller", cx, group)
        .of(&cx.informers.service_ranges)
        .watches(&cx.informers.addresses, move |_| {
            let all = ranges.list();
            let leaving = all.iter().filter(|range| is_terminating(&range.metadata));
            leaving.map(|range| key_of(&**range)).collect()
        })
        .run(1, reconcile_range);
    Controller::new("ipaddress-repair-controller", cx, group)
        .watches(&cx.informers.services, addresses_of)
        .watches(&cx.informers.addresses, |address| vec![name_of(&address.metadata).to_owned()])
        .run(2, reconcile_address);
}

async fn reconcile_range(cx: Cx, key: String) -> Result<Requeue, Error> {
    let Some(range) = cx.informers.service_ranges.get(&key) else { return Ok(Requeue::OnChange) };
    let mut finalizers = range.metadata.finalizers.clone().unwrap_or_default();
    let is_held = finalizers.iter().any(|name| name == FINALIZER);
    let wants_hold = !is_terminating(&range.metadata) || is_in_use(&cx, &range);
    // Who is leaving already can no longer be held.
    if is_held != wants_hold && (is_held || !is_terminating(&range.metadata)) {
        finalizers.retain(|name| name != FINALIZER);
        if wants_hold {
            finalizers.push(FINALIZER.to_owned());
        }
        let patch = json!({"metadata": {"uid": range.metadata.uid,
            "resourceVersion": range.metadata.resource_version, "finalizers": finalizers}});
        cx.merge(&*range, "", patch).await.or_gone()?;
        return Ok(Requeue::OnChange);
    }
    let ready = readiness(&cx, &range);
    let known = range.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_known = known.into_iter().flatten().any(|condition| {
        condition.type_ == "Ready"
            && condition.status == ready.status
            && condition.reason == ready.reason
    });
    if !is_known {
        let mut new = (*range).clone();
        new.status = Some(ServiceCIDRStatus { conditions: Some(vec![ready]) });
        cx.replace_status(&new).await.or_gone()?;
    }
    Ok(Requeue::OnChange)
}

fn readiness(cx: &Cx, range: &ServiceCIDR) -> Condition {
    let is_leaving = is_terminating(&range.metadata);
    let (status, reason, message) = if is_leaving {
        let message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
        ("False", "Terminating", message)
    } else if name_of(&range.metadata) == DEFAULT {
        ("True", "", "Kubernetes default Service CIDR is ready")
    } else {
        ("True", "", "Kubernetes Service CIDR is ready")
    };
    Condition {
        type_: "Ready".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: cx.now_s(),
        observed_generation: None,
    }
}

/// Whether an address of the range is in use that no other range holds.
fn is_in_use(cx: &Cx, range: &ServiceCIDR) -> bool {
    let ranges = cx.informers.service_ranges.list();
    let others: Vec<_> = ranges
        .iter()
        .filter(|other| {
            other.metadata.uid != range.metadata.uid && !is_terminating(&other.metadata)
        })
        .collect();
    cx.informers.addresses.list().iter().any(|address| {
        let Ok(ip) = name_of(&address.metadata).parse() else { return false };
        holds(range, ip) && !others.iter().any(|other| holds(other, ip))
    })
}

fn holds(range: &ServiceCIDR, ip: IpAddr) -> bool {
    let ranges = range.spec.as_ref().and_then(|spec| spec.cidrs.as_ref());
    ranges.into_iter().flatten().any(|range| is_within(ip, range))
}

fn is_within(ip: IpAddr, range: &str) -> bool {
    let Some((base, prefix)) = range.split_once('/') else { return false };
    let (Ok(base), Ok(prefix)) = (base.parse::<IpAddr>(), prefix.parse::<u32>()) else {
        return false;
    };
    let same = |left: u128, right: u128, width: u32| {
        let rest = width.saturating_sub(prefix);
        (left ^ right).checked_shr(rest).unwrap_or(0) == 0
    };
    match (ip, base) {
        (IpAddr::V4(ip), IpAddr::V4(base)) => {
            same(u32::from(ip).into(), u32::from(base).into(), 32)
        }
        (IpAddr::V6(ip), IpAddr::V6(base)) => same(ip.into(), base.into(), 128),
        _ => false,
    }
}

/// The addresses that a service has.
fn addresses_of(service: &Service) -> Vec<String> {
    let spec = service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let all: BTreeSet<String> =
        spec.cluster_ips.into_iter().flatten().chain(spec.cluster_ip).collect();
    all.into_iter().filter(|address| address.parse::<IpAddr>().is_ok()).collect()
}

async fn reconcile_address(cx: Cx, address: String) -> Result<Requeue, Error> {
    let services = cx.informers.services.list();
    let owner = services.iter().find(|service| addresses_of(service).contains(&address));
    match (owner, cx.informers.addresses.get(&address)) {
        (Some(service), None) => {
            // The copies of services and addresses do not come at the same moment: the store knows.
            let Some(service) = cx.live(&**service).await? else { return Ok(Requeue::OnChange) };
            if !addresses_of(&service).contains(&address) {
                return Ok(Requeue::OnChange);
            }
            match cx.create(&address_for(&address, &service)).await {
                Err(error) if error.is_already_exists() => Ok(Requeue::OnChange),
                created => created.map(|_| Requeue::OnChange),
            }
        }
        (None, Some(known)) if is_ours(&known) => {
            let Some(known) = cx.live(&*known).await? else { return Ok(Requeue::OnChange) };
            if cx
                .live(&parent_of(&known))
                .await?
                .is_some_and(|parent| addresses_of(&parent).contains(&address))
            {
                return Ok(Requeue::OnChange);
            }
            cx.delete(&known).await.or_gone().map(|()| Requeue::OnChange)
        }
        _ => Ok(Requeue::OnChange),
    }
}

fn is_ours(address: &IPAddress) -> bool {
    let labels = address.metadata.labels.as_ref();
    let is_managed = labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == OURS);
    is_managed && address.spec.parent_ref.resource == "services"
}

/// The service that an address says it belongs to, as far as it can be asked for.
fn parent_of(address: &IPAddress) -> Service {
    let parent = address.spec.parent_ref.clone();
    let metadata = ObjectMeta {
        name: Some(parent.name),
        namespace: parent.namespace,
        ..ObjectMeta::default()
    };
    Service { metadata, ..Service::default() }
}

fn address_for(address: &str, service: &Service) -> IPAddress {
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    let labels = [(FAMILY, family), (MANAGED_BY, OURS)];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    IPAddress {
        metadata: ObjectMeta {
            name: Some(address.to_owned()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        spec: IPAddressSpec {
            parent_ref: ParentReference {
                group: Some(String::new()),
                resource: "services".to_owned(),
                namespace: service.metadata.namespace.clone(),
                name: name_of(&service.metadata).to_owned(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lie_within_ranges() {
        #[rustfmt::skip]
        let cases = [
            ("10.96.0.1", "10.96.0.0/16", true),
            ("10.97.0.1", "10.96.0.0/16", false),
            ("10.97.0.1", "0.0.0.0/0",    true),
            ("fd00::5",   "fd00::/64",    true),
            ("fd01::5",   "fd00::/64",    false),
            ("10.96.0.1", "fd00::/64",    false),
        ];
        for (ip, range, expected) in cases {
            assert_eq!(is_within(ip.parse().unwrap(), range), expected, "{ip} {range}");
        }
    }

    #[test]
    fn headless_services_have_no_address() {
        let service = |spec| -> Service { serde_json::from_value(json!({"spec": spec})).unwrap() };
        let one = service(json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}));
        assert_eq!(addresses_of(&one), ["10.0.0.1"]);
        assert!(
            addresses_of(&service(json!({"clusterIP": "None", "clusterIPs": ["None"]}))).is_empty()
        );
    }
}
