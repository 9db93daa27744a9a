//! From fronts to an nft ruleset, and from one ruleset to the next; pure text.
//!
//! The number of chains and sets does not grow with the number of services (only with the number of
//! *distinct* endpoint counts): a chain per service costs the kernel quadratic time. A front is one element
//! of a verdict map that leads to the chain for its number of targets; each target is one element of a
//! map, addressed by front and index.
//!
//! ```text
//! service-ips   10.96.0.20 . tcp . 80     : goto pick-2
//! endpoints     10.96.0.20 . tcp . 80 . 0 : 10.244.0.2 . 8080
//!               10.96.0.20 . tcp . 80 . 1 : 10.244.1.2 . 8080
//! chain pick-2  mark = random mod 2; dnat to endpoints[address . protocol . port . mark]
//! ```
//!
//! # Invariants
//! - `full(s)` and `full(empty)` followed by `change(empty, s)` leave the kernel with the same elements.
//! - A target keeps its index while its front keeps it, so that clients with affinity stay where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::state::{Back, Config, Front, Protocol, State, Target};

/// Elements of one map or set, as nft writes them; a set's values are empty.
type Elements = BTreeMap<String, String>;

/// What the kernel holds, or is to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    maps: BTreeMap<Map, Elements>,
    /// Chains that depend on a number of targets.
    chains: BTreeSet<Chain>,
    /// Which index each target has.
    slots: BTreeMap<Front, Vec<Target>>,
}

/// The maps and sets with elements; their number is constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Map {
    ServiceIps,
    NodePorts,
    Endpoints,
    NodePortEndpoints,
    NoEndpoints,
    NoEndpointNodePorts,
    KeepSourceTcp,
    KeepSourceUdp,
    KeepSourceSctp,
    Hairpin,
}

impl Map {
    const ALL: [Self; 10] = [
        Self::ServiceIps,
        Self::NodePorts,
        Self::Endpoints,
        Self::NodePortEndpoints,
        Self::NoEndpoints,
        Self::NoEndpointNodePorts,
        Self::KeepSourceTcp,
        Self::KeepSourceUdp,
        Self::KeepSourceSctp,
        Self::Hairpin,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::ServiceIps => "service-ips",
            Self::NodePorts => "service-nodeports",
            Self::Endpoints => "endpoints",
            Self::NodePortEndpoints => "nodeport-endpoints",
            Self::NoEndpoints => "no-endpoint-services",
            Self::NoEndpointNodePorts => "no-endpoint-nodeports",
            Self::KeepSourceTcp => "keep-source-tcp",
            Self::KeepSourceUdp => "keep-source-udp",
            Self::KeepSourceSctp => "keep-source-sctp",
            Self::Hairpin => "hairpin",
        }
    }

    fn declaration(self) -> &'static str {
        match self {
            Self::ServiceIps | Self::NoEndpoints => {
                "type ipv4_addr . inet_proto . inet_service : verdict;"
            }
            Self::NodePorts | Self::NoEndpointNodePorts => {
                "type inet_proto . inet_service : verdict;"
            }
            Self::Endpoints => {
                "type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service;"
            }
            Self::NodePortEndpoints => {
                "type inet_proto . inet_service . mark : ipv4_addr . inet_service;"
            }
            Self::KeepSourceTcp | Self::KeepSourceUdp | Self::KeepSourceSctp => {
                "type inet_service;"
            }
            Self::Hairpin => "type ipv4_addr . ipv4_addr;",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::KeepSourceTcp | Self::KeepSourceUdp | Self::KeepSourceSctp | Self::Hairpin => {
                "set"
            }
            _ => "map",
        }
    }

    /// nft 1.0.6 cannot join a protocol and a flow's original port in one key: a set for each protocol.
    fn keep_source(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::KeepSourceTcp,
            Protocol::Udp => Self::KeepSourceUdp,
            Protocol::Sctp => Self::KeepSourceSctp,
        }
    }
}

/// How one of several targets is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Chain {
    targets: usize,
    affinity_s: Option<u32>,
    is_node_port: bool,
}

impl Chain {
    fn name(self) -> String {
        let front = if self.is_node_port { "nodeport-" } else { "" };
        match self.affinity_s {
            None => format!("{front}pick-{}", self.targets),
            Some(seconds) => format!("{front}stick-{seconds}-{}", self.targets),
        }
    }

    /// The rules, one a line.
    fn rules(self) -> String {
        let dnat = if self.is_node_port {
            "dnat ip to meta l4proto . th dport . meta mark map @nodeport-endpoints"
        } else {
            "dnat ip to ip daddr . meta l4proto . th dport . meta mark map @endpoints"
        };
        let random = format!("meta mark set numgen random mod {}", self.targets);
        match self.affinity_s {
            None => format!("{random}\n{dnat}\n"),
            // A client that is known goes where it went before; if that target is gone, the first `dnat`
            // finds nothing and the client is dealt with as a new one.
            Some(seconds) => format!(
                "meta mark set ip saddr . ip daddr . th dport map @affinity-{seconds}\n{dnat}\n{random}\n\
                 update @affinity-{seconds} {{ ip saddr . ip daddr . th dport : meta mark }}\n{dnat}\n"
            ),
        }
    }
}

impl Ruleset {
    /// What `state` asks for; `before` tells which target has which index.
    pub fn of(state: &State, before: &Self) -> Self {
        // A chain stays once it is there: it costs nothing, and adding it again would double its rules.
        let mut next = Self { chains: before.chains.clone(), ..Self::default() };
        for (front, back) in &state.fronts {
            next.add(*front, back, before.slots.get(front).map(Vec::as_slice).unwrap_or_default());
        }
        next
    }

    fn add(&mut self, front: Front, back: &Back, slots_before: &[Target]) {
        let key = key_of(front);
        if back.targets.is_empty() {
            let (map, verdict) = match front.address {
                Some(_) => (Map::NoEndpoints, "goto refuse"),
                None => (Map::NoEndpointNodePorts, "goto refuse"),
            };
            self.put(map, key, verdict);
            return;
        }
        let chain = Chain {
            targets: back.targets.len(),
            affinity_s: back.affinity_s,
            is_node_port: front.address.is_none(),
        };
        let (fronts, targets) = match front.address {
            Some(_) => (Map::ServiceIps, Map::Endpoints),
            None => (Map::NodePorts, Map::NodePortEndpoints),
        };
        self.put(fronts, key.clone(), &format!("goto {}", chain.name()));
        self.chains.insert(chain);
        if back.keeps_source {
            self.put(Map::keep_source(front.protocol), front.port.to_string(), "");
        }
        let slots = assign(slots_before, &back.targets);
        for (index, (address, port)) in slots.iter().enumerate() {
            self.put(targets, format!("{key} . {index}"), &format!("{address} . {port}"));
            self.put(Map::Hairpin, format!("{address} . {address}"), "");
        }
        self.slots.insert(front, slots);
    }

    fn put(&mut self, map: Map, key: String, value: &str) {
        self.maps.entry(map).or_default().insert(key, value.to_owned());
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.maps.values().map(BTreeMap::len).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Targets of UDP fronts that `next` no longer has, as `(front, target)`: their flows must be forgotten,
    /// since they would go on to where nobody listens.
    pub fn dropped<'a>(&'a self, next: &'a Self) -> impl Iterator<Item = (Front, Target)> + 'a {
        self.slots
            .iter()
            .filter(|(front, _)| front.protocol == Protocol::Udp)
            .flat_map(|(front, targets)| targets.iter().map(move |target| (*front, *target)))
            .filter(|(front, target)| {
                !next.slots.get(front).is_some_and(|targets| targets.contains(target))
            })
    }
}

fn key_of(front: Front) -> String {
    let rest = format!("{} . {}", front.protocol.name(), front.port);
    front.address.map_or_else(|| rest.clone(), |address| format!("{address} . {rest}"))
}

/// Gives every target an index below their number: targets keep theirs where they can, the others fill
/// the holes.
fn assign(before: &[Target], targets: &BTreeSet<Target>) -> Vec<Target> {
    let mut slots: Vec<Option<Target>> = before
        .iter()
        .take(targets.len())
        .map(|target| targets.contains(target).then_some(*target))
        .collect();
    slots.resize(targets.len(), None);
    let placed: BTreeSet<Target> = slots.iter().flatten().copied().collect();
    let mut others = targets.difference(&placed).copied();
    slots.into_iter().filter_map(|slot| slot.or_else(|| others.next())).collect()
}

/// The name of the cluster's table on this machine.
pub fn table(config: &Config) -> String {
    format!("tri-{}", config.cluster_id)
}

/// Replaces the whole table in one transaction.
pub fn full(config: &Config, ruleset: &Ruleset) -> String {
    let table = table(config);
    let mut text = format!("table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n");
    for map in Map::ALL {
        let _ = writeln!(text, "{} {} {{ {}", map.word(), map.name(), map.declaration());
        if let Some(elements) = ruleset.maps.get(&map).filter(|elements| !elements.is_empty()) {
            let _ = writeln!(text, "elements = {{ {} }}", written(elements.iter()));
        }
        text.push_str("}\n");
    }
    for seconds in affinities(ruleset) {
        text.push_str(&affinity(seconds));
    }
    text.push_str("chain refuse { reject; }\n");
    for chain in &ruleset.chains {
        let _ = writeln!(text, "chain {} {{\n{}}}", chain.name(), chain.rules());
    }
    text.push_str(&fixed_chains(config));
    text.push_str("}\n");
    text
}

fn affinities(ruleset: &Ruleset) -> BTreeSet<u32> {
    ruleset.chains.iter().filter_map(|chain| chain.affinity_s).collect()
}

fn affinity(seconds: u32) -> String {
    format!(
        "map affinity-{seconds} {{ type ipv4_addr . ipv4_addr . inet_service : mark; \
         flags dynamic,timeout; timeout {seconds}s; size 65535; }}\n"
    )
}

/// Where packets meet the maps. A packet from a pod to a cluster IP keeps its source; what comes from
/// outside the pod network, or returns to the pod it came from, is masqueraded so that replies pass here.
fn fixed_chains(config: &Config) -> String {
    let Config { node_ip, pod_cidr, service_cidr, cluster_dns, .. } = config;
    format!(
        "chain services {{
ip daddr . meta l4proto . th dport vmap @service-ips
ip daddr {node_ip} meta l4proto . th dport vmap @service-nodeports
}}
chain nat-prerouting {{ type nat hook prerouting priority dstnat; policy accept; jump services; }}
chain nat-output {{ type nat hook output priority -100; policy accept; jump services; }}
chain nat-postrouting {{ type nat hook postrouting priority srcnat; policy accept; ct status dnat jump masq; }}
chain masq {{
ct original ip daddr != {{ {service_cidr}, {node_ip} }} return
meta mark set 0
ip saddr . ip daddr @hairpin masquerade fully-random
ct original ip daddr {node_ip} meta l4proto tcp ct original proto-dst @keep-source-tcp return
ct original ip daddr {node_ip} meta l4proto udp ct original proto-dst @keep-source-udp return
ct original ip daddr {node_ip} meta l4proto sctp ct original proto-dst @keep-source-sctp return
ip saddr != {pod_cidr} masquerade fully-random
ct original ip daddr {node_ip} masquerade fully-random
}}
chain check {{
ip daddr {cluster_dns} return
ct state new ip daddr . meta l4proto . th dport vmap @no-endpoint-services
ct state new ip daddr {node_ip} meta l4proto . th dport vmap @no-endpoint-nodeports
ct state new ip daddr {service_cidr} meta l4proto != icmp reject
}}
chain filter-input {{ type filter hook input priority 0; policy accept; jump check; }}
chain filter-forward {{ type filter hook forward priority 0; policy accept; jump check; }}
chain filter-output {{ type filter hook output priority 0; policy accept; jump check; }}
"
    )
}

fn written<'a>(elements: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let one = |(key, value): (&String, &String)| {
        if value.is_empty() { key.clone() } else { format!("{key} : {value}") }
    };
    elements.map(one).collect::<Vec<_>>().join(", ")
}

/// The transaction that turns `old` into `new`; empty if there is nothing to do.
pub fn change(config: &Config, old: &Ruleset, new: &Ruleset) -> String {
    let table = table(config);
    let mut text = String::new();
    for seconds in affinities(new).difference(&affinities(old)) {
        let _ = write!(text, "table ip {table} {{\n{}}}\n", affinity(*seconds));
    }
    for chain in new.chains.difference(&old.chains) {
        let _ = write!(
            text,
            "table ip {table} {{\nchain {} {{\n{}}}\n}}\n",
            chain.name(),
            chain.rules()
        );
    }
    let none = Elements::new();
    for map in Map::ALL {
        let before = old.maps.get(&map).unwrap_or(&none);
        let after = new.maps.get(&map).unwrap_or(&none);
        // A changed value is a deletion and an addition, in one transaction.
        let gone: Vec<_> =
            before.iter().filter(|(key, value)| after.get(*key) != Some(*value)).collect();
        let come: Vec<_> =
            after.iter().filter(|(key, value)| before.get(*key) != Some(*value)).collect();
        for (verb, elements) in [("delete", gone), ("add", come)] {
            if !elements.is_empty() {
                let list = written(elements.into_iter());
                let _ = writeln!(text, "{verb} element ip {table} {} {{ {list} }}", map.name());
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
