//! The network: a switch with a cable to each machine; which machine's packets reach which is decided in it.
//!
//! Clients sit at the switch itself, and reach everybody.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{feed, run};

const SUBNET: &str = "192.168.7";

/// The switch of `machines` machines.
#[derive(Debug)]
pub(crate) struct Switch {
    /// Whose packets do not reach whom.
    cut: BTreeSet<(usize, usize)>,
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
        }";
        feed("nft", &["-f", "-"], rules)?;
        Ok(Self { cut: BTreeSet::new() })
    }

    /// The name of a machine's network namespace.
    pub(crate) fn netns(machine: usize) -> String {
        format!("m{}", machine + 1)
    }

    pub(crate) fn address(machine: usize) -> String {
        format!("{SUBNET}.{}", 11 + machine)
    }

    /// From now on, packets of the first do not reach the second.
    pub(crate) fn cut(
        &mut self,
        links: impl IntoIterator<Item = (usize, usize)>,
    ) -> anyhow::Result<()> {
        self.cut.extend(links);
        self.tell()
    }

    /// All cables are whole again.
    pub(crate) fn mend(&mut self) -> anyhow::Result<()> {
        self.cut.clear();
        self.tell()
    }

    fn tell(&self) -> anyhow::Result<()> {
        let mut rules = String::from("flush set bridge chaos cut\n");
        for &(from, to) in &self.cut {
            let (from, to) = (Self::address(from), Self::address(to));
            let _ = writeln!(rules, "add element bridge chaos cut {{ {from} . {to} }}");
        }
        feed("nft", &["-f", "-"], &rules)
    }
}
