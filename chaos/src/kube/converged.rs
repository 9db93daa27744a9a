//! Whether all has come to be that clients wanted.

use serde_json::Value;
use store_handle::{Handle, KeyRange, RangeRequest};

use super::objects::{DEPLOYMENTS, PODS, SETS, is_finished, text};
use super::{Kube, Wanted};
use crate::world::World;

/// What is still missing in a simulation, in a sentence; `None`: nothing.
pub(crate) fn missing(world: &World) -> Option<String> {
    if world.stores.len() < world.members.len() {
        return Some("a member is still down".into());
    }
    missing_of(&world.kube, |prefix| objects(world, prefix))
}

/// The same of any masters; objects below a prefix by name are as `there` tells.
pub fn missing_of(
    kube: &Kube,
    there: impl Fn(&'static str) -> Vec<(String, Value)>,
) -> Option<String> {
    if kube.busy > 0 {
        return Some(format!("{} clients still wait for an answer", kube.busy));
    }
    let kinds = [("deployment", DEPLOYMENTS, &kube.wanted), ("set", SETS, &kube.wanted_sets)];
    for (kind, prefix, all_wanted) in kinds {
        let there = there(prefix);
        for (name, wanted) in all_wanted {
            let Some((_, object)) = there.iter().find(|(own, _)| own == name) else {
                return Some(format!("{kind} {name} is not there"));
            };
            if let Some(missing) = differs(object, wanted) {
                return Some(format!("{kind} {name}: {missing}"));
            }
        }
    }
    there(PODS).iter().find_map(|(name, pod)| unsettled(kube, name, pod))
}

/// Objects below a prefix, as the member with the most applied has them.
fn objects(world: &World, prefix: &'static str) -> Vec<(String, Value)> {
    let newest = world.stores.values().max_by_key(|store| store.revision());
    let request = RangeRequest { range: KeyRange::prefix(prefix), ..RangeRequest::default() };
    let found = newest.and_then(|store| store.range(&request).ok());
    let pairs = found.into_iter().flat_map(|reply| reply.kvs);
    let object = |kv: store_handle::KeyValue| {
        let name = String::from_utf8_lossy(&kv.key).strip_prefix(prefix)?.to_owned();
        Some((name, serde_json::from_slice(&kv.value).ok()?))
    };
    pairs.filter_map(object).collect()
}

fn differs(object: &Value, wanted: &Wanted) -> Option<String> {
    let number = |path: [&str; 2]| object[path[0]][path[1]].as_u64().unwrap_or(0);
    let replicas = u64::from(wanted.replicas);
    let container = &object["spec"]["template"]["spec"]["containers"][0];
    if number(["spec", "replicas"]) != replicas || text(container, &["image"]) != wanted.image {
        return Some(format!("what was acknowledged last, {wanted:?}, is not its spec"));
    }
    if number(["status", "observedGeneration"]) != number(["metadata", "generation"]) {
        return Some("its controller has not seen its spec".into());
    }
    let counts = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
    let differs = counts.iter().find(|count| number(["status", count]) != replicas);
    differs.map(|count| format!("{count} is {}, not {replicas}", number(["status", count])))
}

/// Every pod that is there runs, where it is bound.
fn unsettled(kube: &Kube, name: &str, pod: &Value) -> Option<String> {
    if is_finished(pod) {
        return None;
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return Some(format!("pod {name} is still going"));
    }
    let (node, uid) = (text(pod, &["spec", "nodeName"]), text(pod, &["metadata", "uid"]));
    let id = (name.to_owned(), uid.to_owned());
    if !kube.running.get(node).is_some_and(|running| running.contains(&id)) {
        return Some(format!("pod {name} does not run on {node:?}"));
    }
    None
}
