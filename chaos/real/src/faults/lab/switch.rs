//! The network: a switch with a cable to each machine; which machine's packets reach which is decided in it.
//!
//! Clients sit at the switch itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;

use super::{feed, run};

const SUBNET: &str = "192.168.7";

/// Who may be cut off from whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Machine(usize),
    /// All that sit at the switch.
    Clients,
}

/// Packets from the first to the second.
pub(crate) type Link = (Place, Place);

/// The switch of `machines` machines.
#[derive(Debug)]
pub(crate) struct Switch {
    /// Whose packets do not reach whom, and how many faults see to that.
    cut: BTreeMap<Link, usize>,
}

impl Switch {
    /// Plugs all in. The caller is in a network and a mount namespace of its own.
    pub(crate) fn with_machines(machines: usize) -> anyhow::Result<Self> {
        run("mount", &["-t", "tmpfs", "tmpfs", "/run/netns"])?;
        let ip = |line: &str| run("ip", &line.split_whitespace().collect::<Vec<_>>());
        ip("link set lo up")?;
        ip("link add switch type bridge")?;
        ip(&format!("addr add {SUBNET}.1/24 dev switch"))?;
        ip("link set switch up")?;
        for machine in 0..machines {
            let (netns, address) = (Self::netns(machine), Self::address(machine));
            ip(&format!("netns add {netns}"))?;
            ip(&format!("link add port{machine} type veth peer name eth0 netns {netns}"))?;
            ip(&format!("link set port{machine} master switch up"))?;
            ip(&format!("-n {netns} link set lo up"))?;
            ip(&format!("-n {netns} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {netns} link set eth0 up"))?;
            ip(&format!("-n {netns} route add default via {SUBNET}.1"))?;
        }
        let rules = "table bridge chaos {
            set cut { type ipv4_addr . ipv4_addr; }
            chain forward { type filter hook forward priority 0; ip saddr . ip daddr @cut drop; }
            chain input { type filter hook input priority 0; ip saddr . ip daddr @cut drop; }
            chain output { type filter hook output priority 0; ip saddr . ip daddr @cut drop; }
        }";
        feed("nft", &["-f", "-"], rules)?;
        Ok(Self { cut: BTreeMap::new() })
    }

    /// The name of a machine's network namespace.
    pub(crate) fn netns(machine: usize) -> String {
        format!("m{}", machine + 1)
    }

    pub(crate) fn address(machine: usize) -> String {
        format!("{SUBNET}.{}", 11 + machine)
    }

    /// From now on, packets of the first do not reach the second.
    pub(crate) fn cut(&mut self, links: &[Link]) -> anyhow::Result<()> {
        for link in links {
            *self.cut.entry(*link).or_default() += 1;
        }
        self.tell()
    }

    /// They do again, unless another fault keeps them from it.
    pub(crate) fn mend(&mut self, links: &[Link]) -> anyhow::Result<()> {
        for link in links {
            let faults = self.cut.get_mut(link).context("only what was cut is mended")?;
            *faults -= 1;
            if *faults == 0 {
                self.cut.remove(link);
            }
        }
        self.tell()
    }

    fn tell(&self) -> anyhow::Result<()> {
        let mut rules = String::from("flush set bridge chaos cut\n");
        for (from, to) in self.cut.keys() {
            let (from, to) = (from.address(), to.address());
            let _ = writeln!(rules, "add element bridge chaos cut {{ {from} . {to} }}");
        }
        feed("nft", &["-f", "-"], &rules)
    }
}

impl Place {
    fn address(self) -> String {
        match self {
            Self::Machine(machine) => Switch::address(machine),
            Self::Clients => format!("{SUBNET}.1"),
        }
    }
}
