//! Mirror pods: objects in the API that show static pods to everybody else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use master_client::informer::Store;
use store_env::task::TaskResult;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::files::StaticPods;
use crate::error::Result;
use crate::objects::{Objects, within};
use crate::pod::{self, HASH_ANNOTATION, MIRROR_ANNOTATION};
use crate::statuses::Statuses;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Keeps one mirror for each static pod, until told to stop.
pub(crate) async fn run(
    objects: Objects,
    node: String,
    statics: watch::Receiver<StaticPods>,
    pods: Store<Pod>,
    statuses: Arc<Statuses>,
    stop: CancellationToken,
) -> TaskResult {
    loop {
        let wanted = statics.borrow().clone();
        if let Some(wanted) = wanted
            && pods.synced()
        {
            let mirrors = Mirrors { objects: &objects, node: &node, statuses: &statuses };
            if let Err(error) = mirrors.sync(&wanted, &pods).await {
                tracing::debug!(%error, "mirror pods not synced");
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

struct Mirrors<'a> {
    objects: &'a Objects,
    node: &'a str,
    statuses: &'a Statuses,
}

impl Mirrors<'_> {
    async fn sync(&self, wanted: &BTreeMap<String, Arc<Pod>>, pods: &Store<Pod>) -> Result<()> {
        let shown: BTreeMap<String, Arc<Pod>> = pods
            .list()
            .into_iter()
            .filter(|pod| pod::is_mirror(pod))
            .map(|pod| (pod::key(&pod), pod))
            .collect();
        let keys: BTreeMap<String, &Arc<Pod>> =
            wanted.values().map(|pod| (pod::key(pod), pod)).collect();
        for (key, mirror) in &shown {
            let hash = pod::annotation(mirror, MIRROR_ANNOTATION);
            let fits =
                keys.get(key).is_some_and(|pod| pod::annotation(pod, HASH_ANNOTATION) == hash);
            if !fits || pod::is_deleting(mirror) {
                self.delete(mirror).await?;
            }
        }
        for (key, pod) in keys {
            match shown.get(&key) {
                Some(mirror) if !pod::is_deleting(mirror) => {
                    self.statuses.set_mirror(pod::uid(pod), mirror.metadata.uid.as_deref());
                }
                Some(_) => self.statuses.set_mirror(pod::uid(pod), None),
                None => {
                    self.statuses.set_mirror(pod::uid(pod), None);
                    self.create(pod).await?;
                }
            }
        }
        Ok(())
    }

    async fn create(&self, pod: &Pod) -> Result<()> {
        let what = format!("mirror pod {}", pod::key(pod));
        let client = self.objects.client(&what)?;
        let nodes: Api<Node> = Api::all(client.clone());
        let node = within(&what, nodes.get(self.node)).await?;
        let mut mirror = pod.clone();
        mirror.metadata.uid = None;
        mirror.metadata.resource_version = None;
        mirror.status = None;
        let hash = pod::annotation(pod, HASH_ANNOTATION).unwrap_or_default().to_owned();
        let annotations = mirror.metadata.annotations.get_or_insert_default();
        annotations.insert(MIRROR_ANNOTATION.to_owned(), hash);
        mirror.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: self.node.to_owned(),
            uid: node.metadata.uid.unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }]);
        let api: Api<Pod> = Api::namespaced(client, pod::namespace(pod));
        within(&what, api.create(&PostParams::default(), &mirror)).await.map(drop)
    }

    async fn delete(&self, mirror: &Pod) -> Result<()> {
        let what = format!("mirror pod {}", pod::key(mirror));
        let api: Api<Pod> = Api::namespaced(self.objects.client(&what)?, pod::namespace(mirror));
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: mirror.metadata.uid.clone(),
                resource_version: None,
            }),
            ..Default::default()
        };
        match within(&what, api.delete(pod::name(mirror), &parameters)).await {
            Err(error) if error.is_api_not_found() => Ok(()),
            other => other.map(drop),
        }
    }
}
