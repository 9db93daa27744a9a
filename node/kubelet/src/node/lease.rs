//! The node's heartbeat: a Lease renewed every ten seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use master_client::masters::Masters;
use serde_json::json;
use store_env::task::TaskResult;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::Result;
use crate::objects::within;

const NAMESPACE: &str = "kube-node-lease";
const DURATION_S: i32 = 40;
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// On the lease: the master that the node talks to. `kctl status` shows it.
const MASTER_ANNOTATION: &str = "trireme.dev/master";
const RETRY: Duration = Duration::from_millis(500);

/// Renews the lease until told to stop.
pub(super) async fn run(cx: Arc<Context>, stop: CancellationToken) -> TaskResult {
    loop {
        let pause = match renew(&cx).await {
            Ok(()) => RENEW_EVERY,
            Err(error) => {
                tracing::debug!(%error, "lease not renewed");
                RETRY
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn renew(cx: &Context) -> Result<()> {
    let client = cx.objects.client("the lease")?;
    let name = cx.config.node_name.as_str();
    let api: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let now_ms = i64::try_from(cx.clock.unix_ms()).unwrap_or_default();
    let now = MicroTime(Timestamp::from_millisecond(now_ms).unwrap_or_default());
    let spec = LeaseSpec {
        holder_identity: Some(name.to_owned()),
        lease_duration_seconds: Some(DURATION_S),
        renew_time: Some(now),
        ..Default::default()
    };
    let metadata = json!({ "annotations": annotations(cx) });
    let patch = Patch::Merge(json!({ "metadata": metadata, "spec": spec }));
    match within("lease", api.patch(name, &PatchParams::default(), &patch)).await {
        Err(error) if error.is_api_not_found() => {}
        other => return other.map(drop),
    }
    // The lease goes with its node.
    let nodes: Api<Node> = Api::all(client);
    let node = within("node", nodes.get(name)).await?;
    let mut lease = Lease { spec: Some(spec), ..Default::default() };
    lease.metadata.name = Some(name.to_owned());
    lease.metadata.annotations = Some(annotations(cx));
    lease.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.to_owned(),
        uid: node.metadata.uid.unwrap_or_default(),
        ..Default::default()
    }]);
    within("lease", api.create(&PostParams::default(), &lease)).await.map(drop)
}

fn annotations(cx: &Context) -> BTreeMap<String, String> {
    let master = cx.masters.as_ref().and_then(Masters::current).map(|master| master.to_string());
    let told = |url: String| (MASTER_ANNOTATION.to_owned(), url.trim_end_matches('/').to_owned());
    master.map(told).into_iter().collect()
}
