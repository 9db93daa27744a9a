//! Nodes of Kubernetes that no master hears for a while, and kubelets that are started again.
//!
//! What a node runs runs on.

use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;
use store_handle::MemberId;

use super::{Fault, Field};
use crate::kube::story::Silence;
use crate::kube::{self, Kube};
use crate::world::host;

/// Who is not heard.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    One,
    /// All of a zone but one: more likely it is the network.
    MostOfZone,
    Zone,
}

/// See the file's header.
#[derive(Debug)]
pub(super) struct Silent {
    who: Who,
    nodes: Vec<MemberId>,
    masters: Vec<MemberId>,
}

impl Silent {
    pub(super) fn of(who: Who) -> Self {
        Self { who, nodes: Vec::new(), masters: Vec::new() }
    }
}

impl Fault for Silent {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let mut numbers: Vec<u64> = (1..=field.world.lock().kube.nodes).collect();
        numbers.shuffle(field.rng);
        if matches!(self.who, Who::Zone | Who::MostOfZone) {
            let zone = numbers.first().map(|first| Kube::zone(*first));
            numbers.retain(|number| Some(Kube::zone(*number)) == zone);
        }
        let count = match self.who {
            Who::One => 1,
            Who::MostOfZone => numbers.len().saturating_sub(1),
            Who::Zone => numbers.len(),
        };
        self.nodes = numbers.iter().take(count).map(|number| kube::node(*number)).collect();
        self.masters = field.world.lock().machines.keys().copied().collect();
        field.cut(&self.nodes, &self.masters);
        let names: Vec<String> = self.nodes.iter().map(|node| host(*node)).collect();
        fall_silent(field, &names);
        format!("nobody hears {names:?}")
    }

    /// Until it is noticed, and pods leave.
    fn least(&self) -> Duration {
        Duration::from_secs(18)
    }

    fn heal(&mut self, field: &mut Field<'_, '_>) {
        field.mend(&self.nodes, &self.masters);
        let names: Vec<String> = self.nodes.iter().map(|node| host(*node)).collect();
        be_heard(field, &names);
    }
}

/// From now on masters may take these for silent.
pub(super) fn fall_silent(field: &Field<'_, '_>, nodes: &[String]) {
    let from_us = now_us(field);
    let silence = |node: &String| Silence { node: node.clone(), from_us, until_us: None };
    field.world.lock().history.kube.silences.extend(nodes.iter().map(silence));
}

/// They are heard again.
pub(super) fn be_heard(field: &Field<'_, '_>, nodes: &[String]) {
    let now_us = now_us(field);
    let mut world = field.world.lock();
    for node in nodes {
        let is_it = |it: &&mut Silence| it.node == *node && it.until_us.is_none();
        if let Some(silence) = world.history.kube.silences.iter_mut().find(is_it) {
            silence.until_us = Some(now_us);
        }
    }
}

fn now_us(field: &Field<'_, '_>) -> u64 {
    u64::try_from(field.sim.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A kubelet that is killed and started again, and finds its containers.
#[derive(Debug)]
pub(super) struct Restart;

impl Fault for Restart {
    fn inject(&mut self, field: &mut Field<'_, '_>) -> String {
        let nodes = field.world.lock().kube.nodes;
        let node = host(kube::node(field.rng.random_range(1..=nodes.max(1))));
        field.sim.crash(node.as_str());
        field.sim.bounce(node.as_str());
        format!("the kubelet of {node} is started again")
    }

    fn heal(&mut self, _field: &mut Field<'_, '_>) {}
}
