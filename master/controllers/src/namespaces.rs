//! Empties a namespace that is being deleted, then lets it go. Pods go first: until the last of them has ended, all
//! else stays (what they mount, their accounts and the policies around them).
//!
//! Watches: `Namespace`. Writes: deletes every object in the namespace, of whatever kind the server
//! serves; the namespace's status and finalizers.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams};
use kube::core::PartialObjectMeta;
use kube::{Client, Resource};
use store_env::task::Group;
use tokio::time::timeout;

use crate::context::{Cx, RPC_DEADLINE};
use crate::controller::{Controller, Requeue};
use crate::discovery::{Served, discover};
use crate::error::{Error, Forgive};
use crate::owner::is_terminating;

const FINALIZER: &str = "kubernetes";
/// How soon to look again at a namespace whose contents are still going.
const AGAIN: Duration = Duration::from_millis(500);

/// Starts the controller.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    Controller::new("namespace-controller", cx, group)
        .of(&cx.informers.namespaces)
        .run(4, reconcile);
}

/// What is left of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rest {
    resource: String,
    count: usize,
    /// Each finalizer of what is left, once per object.
    finalizers: Vec<String>,
}

async fn reconcile(cx: Cx, name: String) -> Result<Requeue, Error> {
    let Some(namespace) = cx.informers.namespaces.get(&name) else { return Ok(Requeue::OnChange) };
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone());
    let finalizers = finalizers.unwrap_or_default();
    if !is_terminating(&namespace.metadata) || !finalizers.iter().any(|f| f == FINALIZER) {
        return Ok(Requeue::OnChange);
    }
    let (served, unknown) = discover(&cx.client).await?;
    let (mut rests, mut failures) = (Vec::new(), Vec::new());
    let wanted = |kind: &&Served| kind.is_namespaced && kind.can("list") && kind.can("delete");
    let (pods, others): (Vec<_>, Vec<_>) =
        served.iter().filter(wanted).partition(|kind| kind.name() == "pods");
    for kinds in [pods, others] {
        for kind in kinds {
            match empty(&cx.client, kind, &name).await {
                Ok(rest) if rest.count > 0 => rests.push(rest),
                Ok(_) => {}
                Err(error) => failures.push(format!("{}: {}", kind.name(), error.message())),
            }
        }
        if !rests.is_empty() || !failures.is_empty() {
            break;
        }
    }
    let current = cx.informers.namespaces.get(&name).unwrap_or(namespace);
    if rests.is_empty() && failures.is_empty() && unknown.is_empty() {
        let mut last = (*current).clone();
        let spec = last.spec.get_or_insert_default();
        spec.finalizers = Some(finalizers.into_iter().filter(|f| f != FINALIZER).collect());
        return cx.finalize(&last).await.or_gone().map(|()| Requeue::OnChange);
    }
    let conditions = conditions(&current, &rests, &failures, &unknown, &cx.now_s());
    let mut changed = (*current).clone();
    changed.status.get_or_insert_default().conditions = Some(conditions);
    if changed != *current {
        cx.replace_status(&changed).await.or_gone()?;
    }
    Ok(Requeue::After(AGAIN))
}

impl Cx {
    /// Writes a namespace's finalizers. The answer may be an object that is gone already, so the
    /// copy is not waited for.
    async fn finalize(&self, namespace: &Namespace) -> Result<Namespace, Error> {
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        let body = serde_json::to_vec(namespace).map_err(|e| Error::Malformed(e.to_string()))?;
        let request = kube::core::Request::new(Namespace::url_path(&(), None))
            .replace_subresource("finalize", name, &Default::default(), body)
            .map_err(kube::Error::BuildRequest)?;
        let answer = timeout(RPC_DEADLINE, self.client.request::<Namespace>(request));
        Ok(answer.await.map_err(|_| Error::TooLate("finalize"))??)
    }
}

/// Deletes what there is of one kind, and counts what stays for now.
async fn empty(client: &Client, kind: &Served, namespace: &str) -> Result<Rest, Error> {
    let api: Api<PartialObjectMeta<DynamicObject>> =
        Api::namespaced_with(client.clone(), namespace, &kind.resource);
    let late = |_| Error::TooLate("namespace content");
    let everything = ListParams::default();
    let list = || timeout(RPC_DEADLINE, api.list(&everything));
    let found = list().await.map_err(late)??;
    if found.items.is_empty() {
        return Ok(Rest::default());
    }
    let params = DeleteParams::background();
    if kind.can("deletecollection") {
        let deleted = api.delete_collection(&params, &everything);
        drop(timeout(RPC_DEADLINE, deleted).await.map_err(late)??);
    } else {
        for object in found.items {
            let name = object.metadata.name.unwrap_or_default();
            let deleted = timeout(RPC_DEADLINE, api.delete(&name, &params)).await.map_err(late)?;
            deleted.map_err(Error::from).or_gone()?;
        }
    }
    let left = list().await.map_err(late)??.items;
    let finalizers = left.iter().flat_map(|object| object.metadata.finalizers.clone());
    let finalizers = finalizers.flatten().collect();
    Ok(Rest { resource: kind.name(), count: left.len(), finalizers })
}

/// Says what keeps the namespace; as upstream, all five are always there.
fn conditions(
    namespace: &Namespace,
    rests: &[Rest],
    failures: &[String],
    unknown: &[String],
    now: &Time,
) -> Vec<NamespaceCondition> {
    let content: Vec<String> = rests
        .iter()
        .map(|r| format!("{} has {} resource instances", r.resource, r.count))
        .collect();
    let mut finalizers: std::collections::BTreeMap<&str, usize> = Default::default();
    for finalizer in rests.iter().flat_map(|rest| &rest.finalizers) {
        *finalizers.entry(finalizer).or_default() += 1;
    }
    let finalizers: Vec<String> =
        finalizers.iter().map(|(f, count)| format!("{f} in {count} resource instances")).collect();
    let remaining = "Some resources are remaining: ";
    let waiting = "Some content in the namespace has finalizers remaining: ";
    let facts: [(&str, bool, &str, &str, String); 5] = [
        (
            "NamespaceDeletionDiscoveryFailure",
            !unknown.is_empty(),
            "DiscoveryFailed",
            "ResourcesDiscovered",
            format!("Discovery failed for some groups: {}", unknown.join(", ")),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "GroupVersionParsingFailed",
            "ParsedGroupVersions",
            String::new(),
        ),
        (
            "NamespaceDeletionContentFailure",
            !failures.is_empty(),
            "ContentDeletionFailed",
            "ContentDeleted",
            format!("Failed to delete all resource types: {}", failures.join(", ")),
        ),
        (
            "NamespaceContentRemaining",
            !content.is_empty(),
            "SomeResourcesRemain",
            "ContentRemoved",
            format!("{remaining}{}", content.join(", ")),
        ),
        (
            "NamespaceFinalizersRemaining",
            !finalizers.is_empty(),
            "SomeFinalizersRemain",
            "ContentHasNoFinalizers",
            format!("{waiting}{}", finalizers.join(", ")),
        ),
    ];
    let known = namespace.status.as_ref().and_then(|status| status.conditions.clone());
    let known = known.unwrap_or_default();
    let condition = |(kind, is_so, yes, no, text): (&str, bool, &str, &str, String)| {
        let status = if is_so { "True" } else { "False" };
        let before = known.iter().find(|c| c.type_ == kind && c.status == status);
        NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(if is_so { yes } else { no }.to_owned()),
            message: Some(if is_so { text } else { good_news(kind).to_owned() }),
            last_transition_time: before
                .map_or_else(|| Some(now.clone()), |before| before.last_transition_time.clone()),
        }
    };
    facts.into_iter().map(condition).collect()
}

fn good_news(kind: &str) -> &'static str {
    match kind {
        "NamespaceDeletionDiscoveryFailure" => "All resources successfully discovered",
        "NamespaceDeletionGroupVersionParsingFailure" => {
            "All legacy kube types successfully parsed"
        }
        "NamespaceContentRemaining" => "All content successfully removed",
        "NamespaceFinalizersRemaining" => "All content-preserving finalizers finished",
        _ => "All content successfully deleted, may be waiting on finalization",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    #[test]
    fn conditions_name_what_keeps_the_namespace() {
        let rest = |resource: &str, count, finalizers: &[&str]| Rest {
            resource: resource.to_owned(),
            count,
            finalizers: finalizers.iter().map(|&f| f.to_owned()).collect(),
        };
        let rests = [rest("pods", 2, &[]), rest("widgets.acme.io", 1, &["acme.io/keep"])];
        let got = conditions(&Namespace::default(), &rests, &[], &[], &Time(at(7)));
        let text = |place: usize| got[place].message.clone().unwrap();
        assert_eq!(
            got.iter().map(|c| &*c.status).collect::<Vec<_>>(),
            ["False", "False", "False", "True", "True"]
        );
        assert_eq!(
            text(3),
            "Some resources are remaining: pods has 2 resource instances, \
            widgets.acme.io has 1 resource instances"
        );
        assert_eq!(
            text(4),
            "Some content in the namespace has finalizers remaining: \
            acme.io/keep in 1 resource instances"
        );
    }
}
