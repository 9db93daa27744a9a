//! Load on a cluster: writers through every master, readers of the app; each remembers what it saw.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use store_env::clock::SharedClock;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// A request that takes longer than this has failed.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// The label of what the writers write.
const LABEL: &str = "chaos-real";

/// What the writers were told.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// When each write was acknowledged, in milliseconds of the clock; in order.
    pub acknowledged_ms: Mutex<Vec<u64>>,
    /// Name → value of what must be there at the end.
    pub must_exist: Mutex<BTreeMap<String, String>>,
    pub errors: AtomicU64,
    /// Requests to the app: answered, and failed.
    pub answered: AtomicU64,
    pub failed: Mutex<Vec<String>>,
}

/// Creates config maps one after the other, until stopped. A name is never used twice, so that a
/// write whose outcome is unknown needs no second try.
pub(crate) async fn write(
    writer: usize,
    maps: Api<ConfigMap>,
    ledger: Arc<Ledger>,
    clock: SharedClock,
    stop: CancellationToken,
) {
    let mut count = 0;
    while !stop.is_cancelled() {
        count += 1;
        let name = format!("chaos-{writer}-{count}");
        let map: ConfigMap = serde_json::from_value(serde_json::json!({
            "metadata": { "name": name, "labels": { LABEL: "yes" } },
            "data": { "count": count.to_string() },
        }))
        .expect("a config map");
        let params = PostParams::default();
        match tokio::time::timeout(REQUEST_MAX, maps.create(&params, &map)).await {
            Ok(Ok(_)) => {
                ledger.acknowledged_ms.lock().await.push(clock.monotonic_ms());
                ledger.must_exist.lock().await.insert(name, count.to_string());
            }
            Ok(Err(_)) | Err(_) => {
                ledger.errors.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// Asks the app again and again on fresh connections, until stopped.
pub(crate) async fn curl(url: http::Uri, ledger: Arc<Ledger>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match ask(&url).await {
            Ok(_) => drop(ledger.answered.fetch_add(1, Ordering::Relaxed)),
            Err(error) => ledger.failed.lock().await.push(error),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Asks the app once, on a connection of its own.
pub(crate) async fn ask(url: &http::Uri) -> Result<String, String> {
    let client: HttpClient<_, Empty<Bytes>> =
        HttpClient::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    let ask = async {
        let response = client.get(url.clone()).await.map_err(|error| format!("{error:?}"))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        if status.is_success() { Ok(text) } else { Err(format!("{status}: {text}")) }
    };
    let asked = tokio::time::timeout(REQUEST_MAX, ask).await;
    asked.unwrap_or_else(|_| Err(format!("no answer in {REQUEST_MAX:?}")))
}

/// Which acknowledged writes are not there, or not as acknowledged.
pub(crate) async fn lost(maps: Api<ConfigMap>, ledger: &Ledger) -> anyhow::Result<Vec<String>> {
    let params = ListParams::default().labels(&format!("{LABEL}=yes"));
    let there: BTreeMap<String, String> = maps
        .list(&params)
        .await?
        .items
        .into_iter()
        .filter_map(|map| Some((map.metadata.name?, map.data?.remove("count")?)))
        .collect();
    let expected = ledger.must_exist.lock().await;
    let lost = expected.iter().filter(|(name, value)| there.get(*name) != Some(*value));
    Ok(lost.map(|(name, _)| name.clone()).collect())
}

/// Makes a namespace for the writers; its name. It is a new one each time: that of an earlier run may
/// still be emptied.
pub(crate) async fn prepare(client: Client) -> anyhow::Result<String> {
    let namespaces: Api<Namespace> = Api::all(client);
    let namespace: Namespace = serde_json::from_value(
        serde_json::json!({ "metadata": { "generateName": "chaos-real-" } }),
    )?;
    let made = namespaces.create(&PostParams::default(), &namespace).await?;
    made.metadata.name.context("the namespace has no name")
}

/// Removes what the writers wrote: the cluster empties the namespace by itself.
pub(crate) async fn sweep(client: Client, namespace: &str) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.delete(namespace, &DeleteParams::default()).await?;
    Ok(())
}

/// The longest time without an acknowledgement around a moment: it must have begun before
/// `until_ms` and ended after `from_ms`.
pub(crate) fn longest_gap_ms(acknowledged_ms: &[u64], from_ms: u64, until_ms: u64) -> u64 {
    acknowledged_ms
        .windows(2)
        .filter(|pair| pair[1] >= from_ms && pair[0] <= until_ms)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or(until_ms.saturating_sub(from_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_is_the_longest_that_touches_the_window() {
        let acknowledged = [0, 10, 20, 320, 330, 900];
        assert_eq!(longest_gap_ms(&acknowledged, 15, 400), 570);
        assert_eq!(longest_gap_ms(&acknowledged, 15, 325), 300);
        assert_eq!(longest_gap_ms(&acknowledged, 5, 15), 10);
        assert_eq!(longest_gap_ms(&[], 100, 700), 600, "silence all the way");
    }
}
