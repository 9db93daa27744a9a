//! Keeps `status.used` of quotas equal to what there is.
//!
//! What is added is charged by the write that adds it; what goes is taken off here, by counting anew. A pod
//! that has finished goes, too: it no longer counts.
//!
//! Watches: `ResourceQuota`, `Pod`, `Service`, `PersistentVolumeClaim`; of every other kind, what is deleted
//! (told by the garbage collector). Writes: the quota's status.
//!
//! # Invariants
//! - The quota is read before what it counts, and written only if nobody has charged it since: no charge is lost.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use kube::core::ObjectMeta;
use master_auth::admission::resource_quota::{COUNTED, counted_resources, recount};
use master_client::informer::{Store, key_of};
use serde_json::Value;
use store_env::task::Group;
use tokio::time::timeout;

use crate::context::{Cx, RPC_DEADLINE};
use crate::controller::{Controller, Requeue};
use crate::discovery::discover;
use crate::error::{Error, Forgive};
use crate::owner::namespace_of;

/// Kinds that no event tells of are counted again this often, as upstream does.
const RESYNC: Duration = Duration::from_secs(300);

/// Starts the controller. What it returns is to be told of each namespace that an object has left; of none, if
/// objects may have left any.
pub(crate) fn start(cx: &Cx, group: &mut Group) -> impl Fn(Option<&str>) + Send + Sync + 'static {
    let of =
        |meta: &ObjectMeta, quotas: &Store<ResourceQuota>| keys(quotas, Some(namespace_of(meta)));
    let quotas = || cx.informers.quotas.clone();
    let (pods, services, claims) = (quotas(), quotas(), quotas());
    let controller = Controller::new("resourcequota-controller", cx, group)
        .of(&cx.informers.quotas)
        .watches(&cx.informers.pods, move |pod| of(&pod.metadata, &pods))
        .watches(&cx.informers.services, move |service| of(&service.metadata, &services))
        .watches(&cx.informers.claims, move |claim| of(&claim.metadata, &claims));
    let queue = controller.queue();
    controller.run(4, reconcile);
    let quotas = quotas();
    move |namespace| keys(&quotas, namespace).into_iter().for_each(|key| queue.add(key))
}

/// The keys of a namespace's quotas, or of all.
fn keys(quotas: &Store<ResourceQuota>, namespace: Option<&str>) -> Vec<String> {
    let all = quotas.list();
    let is_here = |quota: &ResourceQuota| {
        namespace.is_none_or(|namespace| namespace_of(&quota.metadata) == namespace)
    };
    let here = all.iter().filter(|quota| is_here(quota));
    here.map(|quota| key_of(&**quota)).collect()
}

async fn reconcile(cx: Cx, key: String) -> Result<Requeue, Error> {
    let Some(known) = cx.informers.quotas.get(&key) else { return Ok(Requeue::OnChange) };
    let Some(mut quota) = cx.live(&*known).await? else { return Ok(Requeue::OnChange) };
    let malformed = |error: serde_json::Error| Error::Malformed(error.to_string());
    let value = serde_json::to_value(&quota).map_err(malformed)?;
    let mut listed = Vec::new();
    for (group, plural) in counted_resources(&value) {
        let objects = list(&cx, &group, &plural, &quota.metadata).await?;
        listed.push(((group, plural), objects));
    }
    let status: ResourceQuotaStatus =
        serde_json::from_value(recount(&value, &listed)).map_err(malformed)?;
    if quota.status.as_ref() != Some(&status) {
        quota.status = Some(status);
        cx.replace_status(&quota).await.or_gone()?;
    }
    Ok(Requeue::After(RESYNC))
}

/// The objects of a kind beside the quota, not older than it is. A kind that is not served has none.
async fn list(
    cx: &Cx,
    group: &str,
    plural: &str,
    quota: &ObjectMeta,
) -> Result<Vec<Arc<Value>>, Error> {
    let base = if group.is_empty() && COUNTED.contains(&plural) {
        "/api/v1".to_owned()
    } else {
        let (served, unknown) = discover(&cx.client).await?;
        let mut kinds = served.into_iter().map(|served| served.resource);
        match kinds.find(|kind| kind.group == group && kind.plural == plural) {
            Some(kind) if group.is_empty() => format!("/api/{}", kind.version),
            Some(kind) => format!("/apis/{}", kind.api_version),
            None if unknown.is_empty() => return Ok(Vec::new()),
            None => return Err(Error::Malformed(format!("cannot ask for {plural}.{group} yet"))),
        }
    };
    let namespace = quota.namespace.as_deref().unwrap_or_default();
    let version = quota.resource_version.as_deref().unwrap_or("0");
    let uri = format!("{base}/namespaces/{namespace}/{plural}?resourceVersion={version}");
    let request = http::Request::get(uri).body(Vec::new());
    let request = request.map_err(|error| Error::Malformed(error.to_string()))?;
    let answer = timeout(RPC_DEADLINE, cx.client.request::<Value>(request));
    let mut list = answer.await.map_err(|_| Error::TooLate("list"))??;
    let Value::Array(items) = list["items"].take() else { return Ok(Vec::new()) };
    Ok(items.into_iter().map(Arc::new).collect())
}
