//! What a worker is told: its pod as the sources have it, and whether it must end.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use crate::plan::Waiting;
use crate::pod;

/// What the sources say of a pod.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    pub(crate) pod: Arc<Pod>,
    /// The object is gone from its source: nobody waits for a status any more.
    pub(crate) is_removed: bool,
    /// Why it may not run here, if so: reason and message.
    pub(crate) refusal: Option<Waiting>,
}

impl Desired {
    /// A pod that is wanted.
    pub(crate) fn of(pod: Arc<Pod>) -> Self {
        Self { pod, is_removed: false, refusal: None }
    }

    pub(super) fn must_end(&self) -> bool {
        self.is_removed
            || self.refusal.is_some()
            || pod::is_deleting(&self.pod)
            || pod::is_terminal(&self.pod)
    }
}

/// Waits for news that make what is being done wrong: the pod must end, or with less grace.
pub(super) async fn until_more_urgent(news: &mut watch::Receiver<Desired>, current: &Desired) {
    let grace = |desired: &Desired| match desired.must_end() {
        true => pod::grace_s(&desired.pod),
        false => u64::MAX,
    };
    let is_more_urgent = |new: &Desired| grace(new) < grace(current);
    if news.wait_for(is_more_urgent).await.is_err() {
        std::future::pending::<()>().await;
    }
}
