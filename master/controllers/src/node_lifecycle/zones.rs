//! How fast the nodes of a zone may be evicted. Pure but for the memory of the last eviction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;

use super::plan::is_ready;
use crate::owner::label;

/// Upstream's rates: one node in ten seconds; one in a hundred while much of a large zone is silent.
const NORMAL: Duration = Duration::from_secs(10);
const CAREFUL: Duration = Duration::from_secs(100);
/// In a zone up to this size, much silence stops evictions altogether.
const SMALL_MAX: usize = 50;
/// From this share of silent nodes (in per cent) on, and more than two of them, a zone is disrupted.
const DISRUPTED_PERCENT: usize = 55;

/// `region:zone` of a node; empty parts if it has no such labels.
pub(super) fn zone_of(node: &Node) -> String {
    let part = |key: &str| label(&node.metadata, key).unwrap_or_default().to_owned();
    format!("{}:{}", part("topology.kubernetes.io/region"), part("topology.kubernetes.io/zone"))
}

/// (ready, not ready) nodes of each zone.
#[derive(Debug, Default)]
pub(super) struct Health {
    zones: BTreeMap<String, (usize, usize)>,
}

impl Health {
    pub(super) fn of(nodes: &[Arc<Node>]) -> Self {
        let mut health = Self::default();
        for node in nodes {
            let zone = health.zones.entry(zone_of(node)).or_default();
            if is_ready(node) {
                zone.0 += 1;
            } else {
                zone.1 += 1;
            }
        }
        health
    }

    /// Not a single node is ready anywhere: more likely it is us who are cut off.
    pub(super) fn is_all_silent(&self) -> bool {
        self.zones.values().all(|(ready, _)| *ready == 0)
    }

    /// The time between two evictions in a zone; `None` for not now.
    pub(super) fn pace(&self, zone: &str) -> Option<Duration> {
        let (ready, silent) = self.zones.get(zone).copied().unwrap_or_default();
        let total = ready + silent;
        let is_disrupted = silent > 2 && silent * 100 >= total * DISRUPTED_PERCENT;
        match (ready, is_disrupted) {
            _ if self.is_all_silent() => None,
            // The whole zone: its pods move to the others, at the normal pace.
            (0, _) => Some(NORMAL),
            (_, true) if total > SMALL_MAX => Some(CAREFUL),
            (_, true) => None,
            (_, false) => Some(NORMAL),
        }
    }
}

/// When each zone may have its next eviction.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    next_ms: BTreeMap<String, u64>,
}

impl Limiter {
    /// Takes the zone's turn if it has come.
    pub(super) fn take(&mut self, zone: &str, pace: Option<Duration>, now_ms: u64) -> bool {
        let Some(pace) = pace else { return false };
        let next_ms = self.next_ms.entry(zone.to_owned()).or_default();
        if now_ms < *next_ms {
            return false;
        }
        *next_ms = now_ms + u64::try_from(pace.as_millis()).unwrap_or(u64::MAX);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(zones: &[(usize, usize)], expected: &[Option<u64>]) {
        let name = |place: usize| format!("z{place}");
        let zones: BTreeMap<String, (usize, usize)> =
            zones.iter().enumerate().map(|(place, zone)| (name(place), *zone)).collect();
        let health = Health { zones };
        let paces: Vec<Option<u64>> = (0..expected.len())
            .map(|place| health.pace(&name(place)).map(|pace| pace.as_secs()))
            .collect();
        assert_eq!(paces, expected, "{health:?}");
    }

    #[test]
    fn more_silence_means_fewer_evictions() {
        check(&[(1, 1)], &[Some(10)]);
        check(&[(3, 2)], &[Some(10)]);
        check(&[(2, 3)], &[None]);
        check(&[(40, 60)], &[Some(100)]);
        check(&[(0, 5), (5, 0)], &[Some(10), Some(10)]);
        check(&[(0, 5), (0, 1)], &[None, None]);
        check(&[(0, 1)], &[None]);
    }

    #[test]
    fn zones_take_turns_of_their_own() {
        let mut limiter = Limiter::default();
        let ten = Some(Duration::from_secs(10));
        let turns = [("a", ten, 0, true), ("a", ten, 9_999, false), ("b", ten, 1, true)];
        for (zone, pace, now_ms, expected) in turns {
            assert_eq!(limiter.take(zone, pace, now_ms), expected, "{zone} at {now_ms}");
        }
        assert!(limiter.take("a", ten, 10_000));
        assert!(!limiter.take("c", None, 10_000));
    }
}
