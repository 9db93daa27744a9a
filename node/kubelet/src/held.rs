//! What was here of pods before this agent came: who was let in by the one before it, and what they were given.
//!
//! Looked at once, before anything is decided. A pod's specification says what is wanted of the node by now, which may be
//! more than it was given, and more than there is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use node_cri::{Result, Runtime};

use crate::pod;
use crate::view::POD_UID;
use crate::worker::sizes;

/// The annotations of each container's newest instance, by name, and when that was made.
type Newest = BTreeMap<String, (i64, BTreeMap<String, String>)>;

/// What the runtime has of pods, by uid.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pods: BTreeMap<String, Newest>,
}

impl Held {
    /// Asks the runtime about all pods.
    pub(crate) async fn read(runtime: &dyn Runtime) -> Result<Self> {
        let mut pods: BTreeMap<String, Newest> = BTreeMap::new();
        for sandbox in runtime.list_sandboxes(BTreeMap::new()).await? {
            if let Some(uid) = sandbox.labels.get(POD_UID) {
                pods.entry(uid.clone()).or_default();
            }
        }
        for container in runtime.list_containers(BTreeMap::new()).await? {
            let Some(uid) = container.labels.get(POD_UID).cloned() else { continue };
            let name = container.metadata.map(|metadata| metadata.name).unwrap_or_default();
            let found = (container.created_at, container.annotations.into_iter().collect());
            let newest = pods.entry(uid).or_default().entry(name).or_default();
            if newest.0 <= found.0 {
                *newest = found;
            }
        }
        Ok(Self { pods })
    }

    /// Whether something of the pod is here, in the runtime or on disk: then it was let in.
    pub(crate) fn has(&self, uid: &str, pod_dir: &Path) -> bool {
        self.pods.contains_key(uid) || pod_dir.exists()
    }

    /// The pod with what it was given.
    pub(crate) fn as_allocated(&self, pod: &Arc<Pod>, pod_dir: &Path) -> Arc<Pod> {
        let newest = self.pods.get(pod::uid(pod));
        let annotations = |name: &str| newest?.get(name).map(|(_, annotations)| annotations);
        sizes::read(pod_dir).as_started(pod, annotations)
    }

    /// The pod has a worker now, which knows better.
    pub(crate) fn forget(&mut self, uid: &str) {
        self.pods.remove(uid);
    }
}
