//! The rules in a real kernel: a node with two pods and a neighbour, each a network namespace.

#[expect(clippy::unwrap_used, reason = "a test helper")]
mod lab;

use std::net::Ipv4Addr;

use lab::Lab;
use node_proxy::rules::{self, Ruleset};
use node_proxy::state::{Back, Config, Front, Protocol, State};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);
const NODE: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);

fn config() -> Config {
    Config {
        cluster_id: "it".into(),
        node_name: "n".into(),
        node_ip: NODE,
        pod_cidr: "10.244.0.0/16".into(),
        service_cidr: "10.96.0.0/16".into(),
        cluster_dns: Ipv4Addr::new(10, 96, 0, 10),
    }
}

/// The service on its address and on a node port, with these pods behind it.
fn state(pods: &[u8], affinity_s: Option<u32>) -> State {
    let targets = pods.iter().map(|pod| (Ipv4Addr::new(10, 244, 0, 1 + pod), 8080)).collect();
    let back = Back { targets, affinity_s, keeps_source: false };
    let front = |address, port| Front { address, protocol: Protocol::Tcp, port };
    State { fronts: [(front(Some(VIP), 80), back.clone()), (front(None, 30080), back)].into() }
}

/// Which pods answer, over many connections.
fn seen(lab: &Lab, from: &str, url: &str) -> String {
    let mut pods: Vec<String> = (0..24).map(|_| lab.curl(from, url)).collect();
    pods.sort();
    pods.dedup();
    pods.join(" ")
}

#[test]
fn connections_reach_ready_pods_and_no_others() {
    let lab = Lab::up();
    let service = format!("http://{VIP}/");
    let port = format!("http://{NODE}:30080/");
    let empty = Ruleset::default();
    let two = Ruleset::of(&state(&[1, 2], None), &empty);
    lab.nft(&rules::full(&config(), &two));
    for (from, url) in [
        ("node", &service),
        ("pod1", &service), // also back to itself: hairpin
        ("node", &port),
        ("pod2", &port),
        ("neighbour", &port),
    ] {
        assert_eq!(seen(&lab, from, url), "pod1 pod2", "{from} -> {url}");
    }
    assert_eq!(lab.curl("node", "http://10.96.0.99/"), "refused", "an address of no service");

    let one = Ruleset::of(&state(&[2], None), &two);
    lab.nft(&rules::change(&config(), &two, &one));
    assert_eq!(seen(&lab, "pod1", &service), "pod2");
    assert_eq!(seen(&lab, "neighbour", &port), "pod2");

    let none = Ruleset::of(&state(&[], None), &one);
    lab.nft(&rules::change(&config(), &one, &none));
    for (from, url) in [("node", &service), ("pod1", &service), ("neighbour", &port)] {
        assert_eq!(lab.curl(from, url), "refused", "{from} -> {url} without endpoints");
    }

    let back = Ruleset::of(&state(&[1, 2], None), &none);
    lab.nft(&rules::change(&config(), &none, &back));
    assert_eq!(seen(&lab, "pod2", &service), "pod1 pod2");
}

#[test]
fn client_with_affinity_stays_until_its_pod_goes() {
    let lab = Lab::up();
    let service = format!("http://{VIP}/");
    let two = Ruleset::of(&state(&[1, 2], Some(600)), &Ruleset::default());
    lab.nft(&rules::full(&config(), &two));
    let first = seen(&lab, "pod1", &service);
    assert!(["pod1", "pod2"].contains(&&*first), "one pod only, got {first}");
    let (gone, left) = if first == "pod1" { (1, 2) } else { (2, 1) };
    let one = Ruleset::of(&state(&[left], Some(600)), &two);
    lab.nft(&rules::change(&config(), &two, &one));
    assert_eq!(seen(&lab, "pod1", &service), format!("pod{left}"), "pod{gone} has gone");
}
