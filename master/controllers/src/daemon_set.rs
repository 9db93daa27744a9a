//! Runs one pod of a DaemonSet on each node that it fits.
//!
//! Watches: `DaemonSet`, `Node`; `Pod`, through its owner. Writes: `Pod`, `ControllerRevision`, the set's status.
//!
//! # Invariants
//! - Never two living pods of a set meant for one node for longer than it takes to see them.

mod fit;
mod history;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use master_client::informer::{Store, key_of};
use master_client::pod::Pod;
use store_env::task::Group;

use self::fit::{Fit, fit, pin, target_of};
use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::deployment::template_hash;
use crate::error::{Error, Forgive};
use crate::owner::{
    annotation, claim_all, controller_key, is_terminating, label, name_of, selector_of,
};
use crate::pods;

const HASH: &str = "controller-revision-hash";
const GENERATION: &str = "pod-template-generation";
const TEMPLATE: &str = "deprecated.daemonset.template.generation";
/// Writes in one pass at most.
const BURST_MAX: usize = 250;
const WRITES_AT_ONCE: usize = 32;

/// Why a pod goes, if that is worth an event.
type Reason = Option<String>;

/// Starts the controller.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    let sets = cx.informers.daemon_sets.clone();
    Controller::new("daemonset-controller", cx, group)
        .of(&cx.informers.daemon_sets)
        .watches(&cx.informers.nodes, move |_: &Node| all(&sets))
        .watches(&cx.informers.pods, |pod| {
            controller_key(&pod.metadata, "DaemonSet").into_iter().collect()
        })
        .run(2, reconcile);
}

fn all(sets: &Store<DaemonSet>) -> Vec<String> {
    sets.list().iter().map(|set| key_of(&**set)).collect()
}

async fn reconcile(cx: Cx, key: String) -> Result<Requeue, Error> {
    let Some(set) = cx.informers.daemon_sets.get(&key) else { return Ok(Requeue::OnChange) };
    let Some(selector) = selector_of(set.spec.as_ref().map(|spec| &spec.selector)) else {
        return Ok(Requeue::OnChange);
    };
    let claimed = claim_all(&cx, &*set, &selector, &cx.informers.pods).await?;
    if is_terminating(&set.metadata) {
        return Ok(Requeue::OnChange);
    }
    let Some(hash) = history::current(&cx, &set).await? else { return Ok(Requeue::OnChange) };
    let plan = plan(&set, &hash, &cx.informers.nodes.list(), &claimed, cx.now());
    let (context, owner, hash) = (&cx, &set, &hash);
    let delete = |(pod, why)| async move { remove(context, owner, pod, why).await };
    let deletes = stream::iter(plan.delete).map(delete).buffer_unordered(WRITES_AT_ONCE);
    let deleted: Vec<Result<(), Error>> = deletes.collect().await;
    let create = |node| async move { create(context, owner, hash, node).await };
    let creates = stream::iter(plan.create).map(create).buffer_unordered(WRITES_AT_ONCE);
    let created: Vec<Result<(), Error>> = creates.collect().await;
    if set.status.as_ref() != Some(&plan.status) {
        let changed = DaemonSet { status: Some(plan.status), ..(*set).clone() };
        cx.replace_status(&changed).await.or_gone()?;
    }
    deleted.into_iter().chain(created).collect::<Result<(), Error>>()?;
    history::clean(context, owner, hash, &claimed).await?;
    Ok(Requeue::OnChange)
}

fn hash_of(set: &DaemonSet) -> String {
    let template = set.spec.clone().unwrap_or_default().template;
    template_hash(&template, set.status.as_ref().and_then(|status| status.collision_count))
}

async fn remove(cx: &Cx, set: &DaemonSet, pod: Arc<Pod>, why: Reason) -> Result<(), Error> {
    if let Some(why) = why {
        let text =
            format!("Found {} daemon pod {}", pods::phase(&pod).to_lowercase(), key_of(&*pod));
        cx.events.warning(set, &why, text);
    }
    cx.delete(&*pod).await.or_gone()?;
    let text = format!("Deleted pod: {}", name_of(&pod.metadata));
    cx.events.normal(set, "SuccessfulDelete", text);
    Ok(())
}

async fn create(cx: &Cx, set: &DaemonSet, hash: &str, node: String) -> Result<(), Error> {
    let template = set.spec.clone().unwrap_or_default().template;
    let mut pod = pods::from_template(set, &template);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH.to_owned(), hash.to_owned());
    let generation = annotation(&set.metadata, TEMPLATE).unwrap_or("1");
    labels.insert(GENERATION.to_owned(), generation.to_owned());
    pin(&mut pod, &node);
    match cx.create_pod(&pod).await {
        Ok(pod) => {
            let text = format!("Created pod: {}", name_of(&pod.metadata));
            cx.events.normal(set, "SuccessfulCreate", text);
            Ok(())
        }
        Err(error) if error.is_namespace_terminating() => Ok(()),
        Err(error) => {
            let text = format!("Error creating: {}", error.message());
            cx.events.warning(set, "FailedCreate", text);
            Err(error)
        }
    }
}

#[derive(Debug, Default)]
struct Plan {
    /// Names of nodes.
    create: Vec<String>,
    /// With the reason of the event, if it is worth one.
    delete: Vec<(Arc<Pod>, Reason)>,
    status: DaemonSetStatus,
}

fn plan(
    set: &DaemonSet,
    hash: &str,
    nodes: &[Arc<Node>],
    claimed: &[Arc<Pod>],
    now: Timestamp,
) -> Plan {
    let mut by_node: BTreeMap<&str, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in claimed {
        by_node.entry(target_of(pod)).or_default().push(pod.clone());
    }
    let spec = set.spec.clone().unwrap_or_default();
    let min_ready_s = spec.min_ready_seconds.unwrap_or(0);
    let mut plan = Plan::default();
    let (mut old, mut unavailable) = (Vec::new(), 0);
    let mut status = DaemonSetStatus {
        observed_generation: set.metadata.generation,
        collision_count: set.status.as_ref().and_then(|status| status.collision_count),
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
        ..DaemonSetStatus::default()
    };
    let (mut updated, mut available) = (0, 0);
    for node in nodes {
        let name = name_of(&node.metadata);
        let pods = by_node.remove(name).unwrap_or_default();
        let fit = fit(&spec.template, node);
        let kept = sort_out(&mut plan, name, fit, &pods);
        if fit != Fit::Runs {
            status.number_misscheduled += i32::from(!pods.is_empty());
            continue;
        }
        status.desired_number_scheduled += 1;
        status.current_number_scheduled += i32::from(!pods.is_empty());
        let is_available = kept.as_ref().is_some_and(|p| pods::is_available(p, min_ready_s, now));
        available += i32::from(is_available);
        unavailable += i32::from(!is_available);
        let Some(pod) = kept else { continue };
        status.number_ready += i32::from(pods::is_ready(&pod));
        if label(&pod.metadata, HASH) == Some(hash) {
            updated += 1;
        } else {
            old.push((is_available, pod));
        }
    }
    // Pods meant for nodes that are gone are the pod garbage collector's.
    let nonzero = |number: i32| (number != 0).then_some(number);
    status.updated_number_scheduled = nonzero(updated);
    status.number_available = nonzero(available);
    status.number_unavailable = nonzero(status.desired_number_scheduled - available);
    roll(&mut plan, set, old, unavailable, status.desired_number_scheduled);
    plan.status = status;
    plan.create.truncate(BURST_MAX);
    plan.delete.truncate(BURST_MAX);
    plan
}

/// Decides about the pods of one node; the one that stays, if any.
fn sort_out(plan: &mut Plan, node: &str, fit: Fit, pods: &[Arc<Pod>]) -> Option<Arc<Pod>> {
    let mut living = Vec::new();
    for pod in pods.iter().filter(|pod| !is_terminating(&pod.metadata)) {
        match (pods::phase(pod), fit) {
            (_, Fit::MayNotStay) => plan.delete.push((pod.clone(), None)),
            ("Failed", _) => plan.delete.push((pod.clone(), Some("FailedDaemonPod".to_owned()))),
            ("Succeeded", _) => {
                plan.delete.push((pod.clone(), Some("SucceededDaemonPod".to_owned())))
            }
            _ => living.push(pod.clone()),
        }
    }
    if fit == Fit::Runs && pods.is_empty() {
        plan.create.push(node.to_owned());
    }
    // Of several, the oldest stays.
    living.sort_by_key(|pod| {
        let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (pods::node_of(pod).is_none(), made, pod.metadata.name.clone())
    });
    let mut living = living.into_iter();
    let kept = living.next();
    plan.delete.extend(living.map(|pod| (pod, None)));
    kept
}

/// Replaces pods of an old template: those that do not serve at once, the others within bounds.
fn roll(
    plan: &mut Plan,
    set: &DaemonSet,
    old: Vec<(bool, Arc<Pod>)>,
    unavailable: i32,
    desired: i32,
) {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.clone());
    let strategy = strategy.unwrap_or_default();
    if strategy.type_.as_deref() == Some("OnDelete") {
        return;
    }
    let most = strategy.rolling_update.and_then(|rolling| rolling.max_unavailable);
    let most = match most {
        None => 1,
        Some(IntOrString::Int(number)) => number,
        Some(IntOrString::String(text)) => {
            let percent = text.trim_end_matches('%').parse::<i32>().unwrap_or(0);
            (desired * percent + 99) / 100
        }
    };
    let mut room = usize::try_from(most - unavailable).unwrap_or(0);
    for (is_available, pod) in old {
        if is_available {
            if room == 0 {
                continue;
            }
            room -= 1;
        }
        plan.delete.push((pod, None));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{at, object, pods};

    fn set(strategy: Value) -> DaemonSet {
        object(json!({"metadata": {"name": "d", "generation": 2}, "spec": {
            "selector": {"matchLabels": {"app": "web"}}, "updateStrategy": strategy,
            "template": {"spec": {"containers": [], "nodeSelector": {"role": "x"}}}}}))
    }

    /// Nodes `n1 n2~` (`~`: does not fit, `!`: evicts). Pods as in `testing`, hash `new` is current.
    fn check(nodes: &str, sketch: &str, expected: &str) {
        let node = |word: &str| {
            let name = word.trim_end_matches(['~', '!']);
            let role = if word.ends_with('~') { "y" } else { "x" };
            let taints = if word.ends_with('!') {
                json!([{"key": "k", "effect": "NoExecute"}])
            } else {
                json!([])
            };
            Arc::new(object::<Node>(json!({"metadata": {"name": name, "labels": {"role": role}},
                "spec": {"taints": taints}})))
        };
        let nodes: Vec<Arc<Node>> = nodes.split_whitespace().map(node).collect();
        let hashed = |pod: Arc<Pod>| {
            let mut pod = (*pod).clone();
            let labels = pod.metadata.labels.get_or_insert_default();
            let hash = labels.remove("pod-template-hash").unwrap_or_default();
            labels.insert(HASH.to_owned(), hash);
            Arc::new(pod)
        };
        let pods: Vec<Arc<Pod>> = pods(sketch).into_iter().map(hashed).collect();
        let plan = plan(&set(json!({})), "new", &nodes, &pods, at(1_000_000));
        let deletes = plan.delete.iter().map(|(pod, _)| format!("-{}", name_of(&pod.metadata)));
        let creates = plan.create.iter().map(|node| format!("+{node}"));
        let words: Vec<String> = deletes.chain(creates).collect();
        assert_eq!(words.join(" "), expected, "{nodes:?}, {sketch}");
    }

    #[test]
    fn each_fitting_node_has_one_pod() {
        check("n1 n2", "", "+n1 +n2");
        check("n1 n2~", "a@n1=new", "");
        check("n1", "a@n1=new b@n1=new~5", "-b");
        check("n1", "a@n1:failed=new", "-a");
        check("n1", "a@n1-=new", "");
        check("n1!", "a@n1=new", "-a");
    }

    #[test]
    fn update_replaces_one_available_pod_at_a_time() {
        check("n1 n2 n3", "a@n1=old b@n2=old c@n3=old", "-a");
        check("n1 n2 n3", "a@n1=new! b@n2=old c@n3=old", "");
        check("n1 n2 n3", "a@n1=new b@n2=old! c@n3=old", "-b");
        check("n1 n2", "a@n1=new b@n2=new", "");
    }
}
