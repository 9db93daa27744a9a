//! Rulesets as text, and the way from one to the next.

use std::net::Ipv4Addr;

use super::*;
use crate::state::Protocol;

fn config() -> Config {
    Config {
        cluster_id: "t".into(),
        node_name: "n".into(),
        node_ip: Ipv4Addr::new(10, 88, 0, 1),
        pod_cidr: "10.244.0.0/16".into(),
        service_cidr: "10.96.0.0/16".into(),
        cluster_dns: Ipv4Addr::new(10, 96, 0, 10),
    }
}

/// One service at 10.96.0.20:80 with these last bytes of targets' addresses.
fn state(targets: &[u8], affinity_s: Option<u32>) -> State {
    let front =
        Front { address: Some(Ipv4Addr::new(10, 96, 0, 20)), protocol: Protocol::Tcp, port: 80 };
    let targets = targets.iter().map(|last| (Ipv4Addr::new(10, 244, 0, *last), 8080)).collect();
    let back = Back { targets, affinity_s, keeps_source: false };
    State { fronts: [(front, back)].into() }
}

fn ruleset(targets: &[u8]) -> Ruleset {
    Ruleset::of(&state(targets, None), &Ruleset::default())
}

#[test]
fn number_of_chains_does_not_follow_the_number_of_services() {
    let mut many = State::default();
    for last in 1..=200 {
        let one = state(&[1, 2, 3], None);
        for (front, back) in one.fronts {
            let address = Some(Ipv4Addr::new(10, 96, 1, last));
            many.fronts.insert(Front { address, ..front }, back);
        }
    }
    let text = full(&config(), &Ruleset::of(&many, &Ruleset::default()));
    assert_eq!(text.matches("chain pick-").count(), 1);
    assert_eq!(text.matches(" . 0 : 10.244.0.1 . 8080").count(), 200);
}

#[test]
fn one_new_target_touches_its_own_front_only() {
    let (old, new) = (ruleset(&[1]), ruleset(&[1, 2]));
    let text = change(&config(), &old, &new);
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("element")).collect();
    #[rustfmt::skip]
    assert_eq!(lines, [
        "delete element ip tri-t service-ips { 10.96.0.20 . tcp . 80 : goto pick-1 }",
        "add element ip tri-t service-ips { 10.96.0.20 . tcp . 80 : goto pick-2 }",
        "add element ip tri-t endpoints { 10.96.0.20 . tcp . 80 . 1 : 10.244.0.2 . 8080 }",
        "add element ip tri-t hairpin { 10.244.0.2 . 10.244.0.2 }",
    ]);
    assert!(text.contains("chain pick-2"), "a new number of targets brings its chain");
    assert_eq!(change(&config(), &new, &new), "");
}

#[test]
fn service_without_targets_refuses_at_once() {
    let text = change(&config(), &ruleset(&[1]), &ruleset(&[]));
    assert!(text.contains(
        "add element ip tri-t no-endpoint-services { 10.96.0.20 . tcp . 80 : goto refuse }"
    ));
    assert!(text.contains("delete element ip tri-t service-ips"));
}

#[test]
fn chain_that_is_there_is_not_added_again() {
    let one = ruleset(&[1]);
    let none = Ruleset::of(&state(&[], None), &one);
    let again = Ruleset::of(&state(&[1], None), &none);
    assert!(!change(&config(), &none, &again).contains("chain "), "its rules would be doubled");
}

#[test]
fn targets_keep_their_index_while_they_stay() {
    let target = |last: u8| (Ipv4Addr::new(10, 244, 0, last), 8080);
    #[rustfmt::skip]
    let cases: [(&[u8], &[u8], &[u8]); 5] = [
        // before        now             indices
        (&[],            &[1, 2],        &[1, 2]),
        (&[1, 2, 3],     &[1, 3],        &[1, 3]),
        (&[1, 2, 3],     &[2, 3],        &[3, 2]),
        (&[3, 1],        &[1, 2, 3],     &[3, 1, 2]),
        (&[1, 2],        &[3, 4],        &[3, 4]),
    ];
    for (before, now, expected) in cases {
        let before: Vec<Target> = before.iter().map(|last| target(*last)).collect();
        let now = now.iter().map(|last| target(*last)).collect();
        let expected: Vec<Target> = expected.iter().map(|last| target(*last)).collect();
        assert_eq!(assign(&before, &now), expected, "{before:?} -> {now:?}");
    }
}

#[test]
fn affinity_has_a_map_for_each_time_and_falls_back() {
    let ruleset = Ruleset::of(&state(&[1, 2], Some(600)), &Ruleset::default());
    let text = full(&config(), &ruleset);
    assert!(text.contains("map affinity-600") && text.contains("goto stick-600-2"));
    assert_eq!(text.matches("map @endpoints").count(), 2, "a lost target is chosen anew");
}

#[test]
fn flows_to_lost_udp_targets_are_named() {
    let udp = |targets: &[u8]| {
        let mut state = state(targets, None);
        state.fronts = state
            .fronts
            .into_iter()
            .map(|(front, back)| (Front { protocol: Protocol::Udp, ..front }, back))
            .collect();
        Ruleset::of(&state, &Ruleset::default())
    };
    let (old, new) = (udp(&[1, 2]), udp(&[2]));
    let dropped: Vec<_> = old.dropped(&new).map(|(_, (address, _))| address.octets()[3]).collect();
    assert_eq!(dropped, [1]);
    assert_eq!(ruleset(&[1, 2]).dropped(&ruleset(&[2])).count(), 0, "TCP ends by itself");
}
