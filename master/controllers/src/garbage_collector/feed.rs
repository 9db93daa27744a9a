//! What is heard of one kind goes into the graph, and is kept nowhere else: there may be a hundred thousand objects.

use std::sync::Arc;

use kube::api::ApiResource;
use master_client::informer::{Progress, Sink};

use super::Shared;
use super::graph::{Node, Outline};

/// The graph, as the informer of one kind sees it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Feed {
    shared: Shared,
    resource: Arc<ApiResource>,
    progress: Progress,
}

impl Feed {
    pub(super) fn new(shared: Shared, resource: ApiResource) -> Self {
        Self { shared, resource: Arc::new(resource), progress: Progress::default() }
    }

    /// Nobody can say any more what becomes of this kind's objects.
    pub(super) fn forget_all(&self) {
        let left = self.shared.graph.lock().of_kind(&self.resource);
        left.iter().for_each(|uid| self.forget(uid));
    }

    fn take(&self, outline: Outline) {
        let affected = self.shared.graph.lock().apply(Node::of(&self.resource, outline));
        affected.into_iter().for_each(|uid| self.shared.queue.add(uid));
    }

    fn forget(&self, uid: &str) {
        let affected = self.shared.graph.lock().remove(uid);
        affected.into_iter().for_each(|uid| self.shared.queue.add(uid));
    }
}

impl Sink for Feed {
    type Object = Outline;

    fn read(&self, text: &str) -> Result<Outline, serde_json::Error> {
        serde_json::from_str(text)
    }

    fn replace(&self, objects: Vec<Outline>, resource_version: &str) {
        let mut absent = self.shared.graph.lock().of_kind(&self.resource);
        for object in objects {
            absent.remove(object.uid());
            self.take(object);
        }
        absent.iter().for_each(|uid| self.forget(uid));
        self.progress.advance(resource_version, true);
        if !absent.is_empty() {
            (self.shared.on_leave)(None);
        }
    }

    fn apply(&self, object: Outline) {
        let resource_version = object.resource_version().to_owned();
        self.take(object);
        self.progress.advance(&resource_version, false);
    }

    fn delete(&self, last: Outline) {
        self.forget(last.uid());
        self.progress.advance(last.resource_version(), false);
        (self.shared.on_leave)(Some(last.namespace()));
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }
}
