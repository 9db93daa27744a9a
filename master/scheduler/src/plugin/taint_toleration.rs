//! TaintToleration: taints refuse pods that do not tolerate them, or make a node a worse choice.

use k8s_openapi::api::core::v1::Taint;

use crate::node::NodeInfo;
use crate::plugin::{Judge, Plugin, Refusal, scale};
use crate::pod::PodInfo;
use crate::state::State;

#[derive(Debug)]
pub(super) struct TaintToleration;

struct Tolerations<'a>(&'a PodInfo);

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn weight(&self) -> i64 {
        3
    }

    fn prepare<'a>(&'a self, _state: &'a State, pod: &'a PodInfo) -> Option<Box<dyn Judge + 'a>> {
        Some(Box::new(Tolerations(pod)))
    }
}

impl Tolerations<'_> {
    fn tolerates(&self, taint: &Taint) -> bool {
        self.0.tolerates(&taint.key, taint.value.as_deref().unwrap_or_default(), &taint.effect)
    }
}

impl Judge for Tolerations<'_> {
    fn filter(&self, node: &NodeInfo) -> Result<(), Refusal> {
        let mut hard = node.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
        match hard.any(|taint| !self.tolerates(taint)) {
            true => Err(Refusal::lasting("node(s) had untolerated taint(s)")),
            false => Ok(()),
        }
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        let soft = node.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
        i64::try_from(soft.filter(|taint| !self.tolerates(taint)).count()).unwrap_or(i64::MAX)
    }

    fn normalize(&self, scores: &mut [i64]) {
        scale(scores, true);
    }
}
