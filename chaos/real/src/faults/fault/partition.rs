//! Links that carry nothing for a while: between members, between nodes and masters, between clients and a leader.

use std::time::Duration;

use rand::Rng as _;
use rand::seq::SliceRandom as _;

use super::{Fault, Field};
use crate::faults::lab::{Link, Place};

#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    /// Of the members, the leader from all others; clients and nodes reach them all.
    Leader,
    /// As many followers as can be spared.
    Minority,
    /// A node from all masters.
    Node,
    /// All nodes from all masters.
    Nodes,
    /// All that sit at the switch from the leader; they must go on elsewhere.
    Clients,
}

/// Some are cut off from the rest.
#[derive(Debug)]
pub(super) struct Partition {
    who: Who,
    links: Vec<Link>,
}

impl Partition {
    pub(super) fn of(who: Who) -> Self {
        Self { who, links: Vec::new() }
    }
}

impl Fault for Partition {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        let leader = field.leader;
        let (apart, rest, what) = match self.who {
            Who::Leader => split(field, &[leader]),
            Who::Minority => {
                let mut followers = field.followers();
                followers.truncate((field.machines.len() - 1) / 2);
                split(field, &followers)
            }
            Who::Node => {
                let node = a_node(field);
                let what = format!("{} cut off from all masters", field.nodes[node].name());
                (vec![place_of_node(field, node)], masters(field), what)
            }
            Who::Nodes => {
                let nodes = (0..field.nodes.len()).map(|node| place_of_node(field, node));
                (nodes.collect(), masters(field), "all nodes cut off from all masters".to_owned())
            }
            Who::Clients => {
                let what = format!("clients cut off from {}", field.name(leader));
                (vec![Place::Clients], vec![Place::Machine(leader)], what)
            }
        };
        self.links = both_ways(&apart, &rest);
        field.switch.cut(&self.links)?;
        Ok(what)
    }

    fn clients_move_within(&self) -> Option<Duration> {
        // While it lasts.
        matches!(self.who, Who::Clients).then(|| self.lasts())
    }

    fn lacks(&self, field: &Field) -> Option<&'static str> {
        match self.who {
            Who::Node | Who::Nodes => lacks_nodes(field),
            Who::Leader | Who::Minority | Who::Clients => None,
        }
    }

    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()> {
        field.switch.mend(&std::mem::take(&mut self.links))
    }
}

/// These members and the others, and how that is told.
fn split(field: &Field, apart: &[usize]) -> (Vec<Place>, Vec<Place>, String) {
    let all = 0..field.machines.len();
    let (apart, rest): (Vec<_>, Vec<_>) = all.partition(|it| apart.contains(it));
    let what = format!("{} cut off", field.names(&apart));
    (places(&apart), places(&rest), what)
}

/// The leader does not hear the others, or they do not hear it.
#[derive(Debug, Default)]
pub(super) struct OneWay {
    links: Vec<Link>,
}

impl Fault for OneWay {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        let (leader, followers) = (field.leader, places(&field.followers()));
        let is_deaf = field.rng.random_bool(0.5);
        self.links = one_way(Place::Machine(leader), &followers, is_deaf);
        field.switch.cut(&self.links)?;
        let what = if is_deaf { "hears nobody" } else { "is not heard" };
        Ok(format!("{} {what}", field.name(leader)))
    }

    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()> {
        field.switch.mend(&std::mem::take(&mut self.links))
    }
}

/// A node does not hear any master, or none hears it.
#[derive(Debug, Default)]
pub(super) struct NodeOneWay {
    links: Vec<Link>,
}

impl Fault for NodeOneWay {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        let node = a_node(field);
        let is_deaf = field.rng.random_bool(0.5);
        self.links = one_way(place_of_node(field, node), &masters(field), is_deaf);
        field.switch.cut(&self.links)?;
        let what = if is_deaf { "hears no master" } else { "is heard by no master" };
        Ok(format!("{} {what}", field.nodes[node].name()))
    }

    fn lacks(&self, field: &Field) -> Option<&'static str> {
        lacks_nodes(field)
    }

    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()> {
        field.switch.mend(&std::mem::take(&mut self.links))
    }
}

/// Two sides that reach one another only over a follower in the middle; the leader is on one of the sides.
#[derive(Debug, Default)]
pub(super) struct Bridge {
    links: Vec<Link>,
}

impl Fault for Bridge {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        let mut others = field.followers();
        let middle = others.remove(0);
        let far = others.split_off((others.len() - 1) / 2);
        others.push(field.leader);
        self.links = both_ways(&places(&others), &places(&far));
        field.switch.cut(&self.links)?;
        let (near, far) = (field.names(&others), field.names(&far));
        Ok(format!("{near} and {far} apart, {} between them", field.name(middle)))
    }

    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()> {
        field.switch.mend(&std::mem::take(&mut self.links))
    }
}

fn places(machines: &[usize]) -> Vec<Place> {
    machines.iter().map(|machine| Place::Machine(*machine)).collect()
}

fn masters(field: &Field) -> Vec<Place> {
    field.machines.iter().map(|machine| Place::Machine(machine.number)).collect()
}

fn a_node(field: &mut Field) -> usize {
    let mut all: Vec<_> = (0..field.nodes.len()).collect();
    all.shuffle(&mut field.rng);
    all[0]
}

fn place_of_node(field: &Field, node: usize) -> Place {
    Place::Machine(field.nodes[node].number)
}

fn lacks_nodes(field: &Field) -> Option<&'static str> {
    field.nodes.is_empty().then_some("nodes on machines of their own: --masters --nodes")
}

fn one_way(one: Place, others: &[Place], is_deaf: bool) -> Vec<Link> {
    others.iter().map(|&other| if is_deaf { (other, one) } else { (one, other) }).collect()
}

fn both_ways(some: &[Place], others: &[Place]) -> Vec<Link> {
    let pairs = some.iter().flat_map(|&one| others.iter().map(move |&other| (one, other)));
    pairs.flat_map(|(one, other)| [(one, other), (other, one)]).collect()
}
