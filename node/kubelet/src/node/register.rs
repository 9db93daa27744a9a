//! The Node object: created when it is missing, and its status whenever something changed.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use store_env::task::TaskResult;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::facts::{self, Seen};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::objects::within;
use crate::pleg::Listing;

/// A status is sent this often though nothing changed; the lease shows life in between.
const HEARTBEAT_MS: u64 = 5 * 60_000;
/// A node that was taken for lost says within this time that it is not.
const ASK_EVERY_MS: u64 = 10_000;
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// While the node is not ready, or the masters do not answer.
const LOOK_SOON: Duration = Duration::from_millis(300);
/// A runtime that has not been listed for so long does not work.
const LISTED_MAX_MS: u64 = 60_000;

/// Keeps the Node object until told to stop.
pub(super) async fn run(
    cx: Arc<Context>,
    listing: watch::Receiver<Listing>,
    stop: CancellationToken,
) -> TaskResult {
    let mut reporter = Reporter { cx, listing, sent: None, sent_ms: 0, asked_ms: 0 };
    loop {
        let pause = match reporter.look().await {
            Ok(true) => LOOK_EVERY,
            Ok(false) => LOOK_SOON,
            Err(error) => {
                tracing::warn!(%error, "node not reported");
                LOOK_SOON * 3
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn is_unknown(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "Unknown")
}

struct Reporter {
    cx: Arc<Context>,
    listing: watch::Receiver<Listing>,
    /// What was sent last, without heartbeats.
    sent: Option<NodeStatus>,
    sent_ms: u64,
    /// When the masters were last asked what they think of this node.
    asked_ms: u64,
}

impl Reporter {
    /// Looks at the machine and reports what is new. Returns whether the node is ready.
    async fn look(&mut self) -> Result<bool> {
        let seen = self.see().await;
        let now_ms = self.cx.clock.unix_ms();
        let version = self.cx.runtime.version().await.unwrap_or_default();
        let images = self.cx.runtime.list_images().await.unwrap_or_default();
        let mut status = facts::status(&self.cx, &seen, &version, &images);
        let is_ready = seen.runtime_problem.is_none() && seen.network_problem.is_none();
        let bare = NodeStatus { conditions: Some(without_times(&seen)), ..status.clone() };
        let is_news = self.sent.as_ref() != Some(&bare) || self.is_doubted(now_ms).await?;
        if !is_news && now_ms < self.sent_ms + HEARTBEAT_MS {
            return Ok(is_ready);
        }
        let node = self.ensure().await?;
        let before = node.status.and_then(|status| status.conditions).unwrap_or_default();
        status.conditions = Some(facts::conditions(&seen, &before, now_ms));
        let api: Api<Node> = Api::all(self.cx.objects.client("the node")?);
        let patch = Patch::Merge(json!({ "status": status }));
        let name = &self.cx.config.node_name;
        let parameters = PatchParams::default();
        within("node status", api.patch_status(name, &parameters, &patch)).await?;
        (self.sent, self.sent_ms) = (Some(bare), now_ms);
        Ok(is_ready)
    }

    /// Whether the masters took this node for lost while it could not reach them, and still say so.
    async fn is_doubted(&mut self, now_ms: u64) -> Result<bool> {
        if now_ms < self.asked_ms + ASK_EVERY_MS {
            return Ok(false);
        }
        let api: Api<Node> = Api::all(self.cx.objects.client("the node")?);
        let node = within("node", api.get_opt(&self.cx.config.node_name)).await?;
        self.asked_ms = now_ms;
        Ok(node.is_none_or(|node| is_unknown(&node)))
    }

    async fn see(&self) -> Seen {
        let mut seen = Seen::default();
        match self.cx.runtime.status().await {
            Err(error) => {
                seen.runtime_problem = Some(format!("container runtime is down: {error}"))
            }
            Ok(status) => {
                for condition in status.conditions.iter().filter(|condition| !condition.status) {
                    let text = format!(
                        "{}=false reason:{} message:{}",
                        condition.r#type, condition.reason, condition.message
                    );
                    match condition.r#type.as_str() {
                        "NetworkReady" => {
                            let text = format!("container runtime network not ready: {text}");
                            seen.network_problem = Some(text);
                        }
                        _ => {
                            seen.runtime_problem =
                                Some(format!("container runtime not ready: {text}"))
                        }
                    }
                }
            }
        }
        let listing = self.listing.borrow();
        let age_ms = self.cx.clock.monotonic_ms().saturating_sub(listing.at_ms);
        if listing.at_ms > 0 && age_ms > LISTED_MAX_MS {
            let text = format!("PLEG is not healthy: pleg was last seen active {age_ms}ms ago");
            seen.runtime_problem = Some(text);
        }
        facts::measure(&self.cx, &mut seen);
        // Rounded, so that a few bytes more or less are no news.
        seen.memory_free_bytes &= !0xf_ffff;
        seen
    }

    /// The Node object, with the labels that the node gives itself.
    async fn ensure(&self) -> Result<Node> {
        let api: Api<Node> = Api::all(self.cx.objects.client("the node")?);
        let name = self.cx.config.node_name.as_str();
        let labels = self.cx.config.own_labels();
        if let Some(node) = within("node", api.get_opt(name)).await? {
            let has = |(key, value): &(String, String)| {
                node.metadata.labels.as_ref().and_then(|labels| labels.get(key)) == Some(value)
            };
            if labels.iter().all(has) {
                return Ok(node);
            }
            let labels: std::collections::BTreeMap<_, _> = labels.into_iter().collect();
            let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
            return within("node labels", api.patch(name, &PatchParams::default(), &patch)).await;
        }
        let mut node = Node::default();
        node.metadata.name = Some(name.to_owned());
        node.metadata.labels = Some(labels.into_iter().collect());
        match within("node", api.create(&PostParams::default(), &node)).await {
            Ok(node) => {
                tracing::info!(node = name, "registered");
                Ok(node)
            }
            Err(Error::Api { source, .. }) if is_conflict(&source) => {
                within("node", api.get(name)).await
            }
            Err(error) => Err(error),
        }
    }
}

/// The conditions without their times, to see whether anything is new.
fn without_times(seen: &Seen) -> Vec<k8s_openapi::api::core::v1::NodeCondition> {
    facts::conditions(seen, &[], 0)
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}
