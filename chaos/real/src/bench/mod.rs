//! Load on any Kubernetes API, the same for every server: what `make bench-api` drives both peers with.
//!
//! A closed loop: each client sends its next request when the last one is answered. The client speaks HTTP/2 and looks
//! at no more of an answer than it must, so that its own share of two cores stays small.

mod api;
mod figures;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http::Method;
use serde_json::json;
use store_env::clock::{SharedClock, SystemClock};

use self::api::Api;
use self::figures::{Figures, Servers};

/// TCP connections that clients share.
const CONNECTIONS: usize = 16;
/// How long the namespace's service account may take to come.
const ACCOUNT_MAX: Duration = Duration::from_secs(60);
/// Bytes of what a config map holds.
const VALUE_BYTES: usize = 256;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to reach the server, and as whom.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Comes first in every line that is printed.
    #[arg(long, default_value = "server")]
    label: String,
    /// The server's processes, whose CPU time and memory count together.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
    /// Multiplies the number of operations.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// In place of all rows: how much memory so many config maps take.
    #[arg(long, default_value_t = 0)]
    config_maps: usize,
    /// Only rows whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// One run against one server.
#[derive(Debug)]
pub(crate) struct Bench {
    api: Arc<Api>,
    clock: SharedClock,
    namespace: String,
    servers: Servers,
    args: Args,
}

/// Runs every row and prints a line for each, fields parted by tabs: label, row, operations a second, p50 ms, p99 ms, CPU
/// µs for each operation, MiB of the servers now.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let clock = SystemClock::shared();
    let api = Arc::new(Api::connect(&args.kubeconfig, CONNECTIONS).await?);
    let namespace = format!("bench-{}", clock.unix_ms());
    let servers = Servers::new(&args.pids);
    let bench = Bench { api, clock, namespace, servers, args };
    bench.memory("memory, idle");
    bench.prepare().await?;
    let maps: (&str, fn(&str) -> serde_json::Value) = ("configmaps", config_map);
    let pods: (&str, fn(&str) -> serde_json::Value) = ("pods", pod);
    if bench.args.config_maps > 0 {
        let count = bench.args.config_maps;
        bench
            .create(&format!("create {count} configmaps, 32 clients"), 32, count, "many", maps)
            .await?;
        bench.memory(&format!("memory, with {count} configmaps"));
        return bench.sweep().await;
    }
    let n = |count: usize| bench.count(count);
    bench.create("create configmap, 1 client", 1, n(1_000), "one", maps).await?;
    bench.create("create configmap, 32 clients", 32, n(8_000), "many", maps).await?;
    bench.update("update configmap, 32 clients", 32, n(4_000)).await?;
    bench.apply("server-side apply, 32 clients", 32, n(4_000)).await?;
    bench.get("get configmap, 32 clients", 32, n(16_000)).await?;
    bench.create("create pod, 1 client", 1, n(500), "one", pods).await?;
    bench.create("create pod, 32 clients", 32, n(10_000), "many", pods).await?;
    bench.memory("memory, with the pods");
    let all = format!("/api/v1/namespaces/{}/pods", bench.namespace);
    bench.list("list all pods, 1 client", 1, n(20), &all).await?;
    bench.list("list all pods, 8 clients", 8, n(80), &all).await?;
    bench.memory("memory, after the lists");
    // More than either can deliver on two cores would measure the queue.
    watch::run(&bench, "watch, 1,000 watchers", 1_000, n(100), 5).await?;
    bench.sweep().await
}

impl Bench {
    fn count(&self, count: usize) -> usize {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of operations, small and positive"
        )]
        let scaled = (count as f64 * self.args.scale) as usize;
        scaled.max(1)
    }

    fn wants(&self, row: &str) -> bool {
        row.contains(&self.args.only)
    }

    fn memory(&self, row: &str) {
        if self.wants(row) {
            println!("{}\t{row}\t0\t0\t0\t0\t{:.0}", self.args.label, self.servers.mib());
        }
    }

    /// A namespace of its own, with the account that pods need.
    async fn prepare(&self) -> anyhow::Result<()> {
        let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.namespace } });
        self.api.ask(0, Method::POST, "/api/v1/namespaces", json_body(&body)).await?;
        let account = format!("/api/v1/namespaces/{}/serviceaccounts/default", self.namespace);
        let ready = async {
            while self.api.ask(0, Method::GET, &account, None).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let late = || format!("no {account} in {ACCOUNT_MAX:?}: is there a controller manager?");
        tokio::time::timeout(ACCOUNT_MAX, ready).await.with_context(late)
    }

    async fn sweep(&self) -> anyhow::Result<()> {
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        self.api.ask(0, Method::DELETE, &path, None).await.map(drop)
    }

    async fn create(
        &self,
        row: &str,
        clients: usize,
        count: usize,
        prefix: &str,
        (plural, body): (&str, fn(&str) -> serde_json::Value),
    ) -> anyhow::Result<()> {
        let path = format!("/api/v1/namespaces/{}/{plural}", self.namespace);
        // Made even if the row is not wanted: later rows read them.
        self.closed_loop(row, clients, count, |index| {
            let body = json_body(&body(&format!("{prefix}-{index}")));
            (Method::POST, path.clone(), body)
        })
        .await
    }

    async fn update(&self, row: &str, clients: usize, count: usize) -> anyhow::Result<()> {
        self.closed_loop(row, clients, count, |index| {
            let mut map = config_map(&format!("many-{index}"));
            map["data"]["again"] = "yes".into();
            (Method::PUT, self.config_map_path(index), json_body(&map))
        })
        .await
    }

    async fn apply(&self, row: &str, clients: usize, count: usize) -> anyhow::Result<()> {
        self.closed_loop(row, clients, count, |index| {
            let mut map = config_map(&format!("many-{index}"));
            map["data"] = json!({ "applied": index.to_string() });
            let path = format!("{}?fieldManager=bench", self.config_map_path(index));
            let body = json_body(&map).map(|(body, _)| (body, "application/apply-patch+yaml"));
            (Method::PATCH, path, body)
        })
        .await
    }

    async fn get(&self, row: &str, clients: usize, count: usize) -> anyhow::Result<()> {
        let there = self.count(8_000);
        self.closed_loop(row, clients, count, |index| {
            (Method::GET, self.config_map_path(index % there), None)
        })
        .await
    }

    async fn list(
        &self,
        row: &str,
        clients: usize,
        count: usize,
        path: &str,
    ) -> anyhow::Result<()> {
        self.closed_loop(row, clients, count, |_| (Method::GET, path.to_owned(), None)).await
    }

    fn config_map_path(&self, index: usize) -> String {
        format!("/api/v1/namespaces/{}/configmaps/many-{index}", self.namespace)
    }

    /// `clients` at once until `count` requests are answered; prints the row if it is wanted.
    async fn closed_loop(
        &self,
        row: &str,
        clients: usize,
        count: usize,
        request: impl Fn(usize) -> (Method, String, api::Body) + Sync,
    ) -> anyhow::Result<()> {
        let is_made_for_others = row.starts_with("create");
        if !self.wants(row) && !is_made_for_others {
            return Ok(());
        }
        let next = AtomicUsize::new(0);
        let before = self.servers.cpu_us();
        let started_us = self.clock.monotonic_us();
        let client = async |client: usize| {
            let mut took_us = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return anyhow::Ok(took_us);
                }
                let (method, path, body) = request(index);
                let sent_us = self.clock.monotonic_us();
                self.api.ask(client, method, &path, body).await.with_context(|| row.to_owned())?;
                took_us.push(self.clock.monotonic_us() - sent_us);
            }
        };
        let took_us: Vec<u64> = try_join_all((0..clients).map(client)).await?.concat();
        ensure!(took_us.len() == count, "{} of {count} requests were answered", took_us.len());
        let wall_us = self.clock.monotonic_us() - started_us;
        self.print(row, &Figures { took_us, wall_us, cpu_us: self.servers.cpu_us() - before });
        Ok(())
    }

    fn print(&self, row: &str, figures: &Figures) {
        if self.wants(row) {
            println!("{}\t{row}\t{figures}\t{:.0}", self.args.label, self.servers.mib());
        }
    }
}

fn json_body(value: &serde_json::Value) -> api::Body {
    Some((Bytes::from(value.to_string()), "application/json"))
}

fn config_map(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "labels": { "bench": "yes" } },
        "data": { "value": "0123456789abcdef".repeat(VALUE_BYTES / 16) },
    })
}

/// Wants more than any node has: it stays pending, so that only the API works.
fn pod(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "bench" } },
        "spec": {
            "nodeSelector": { "bench.invalid/nowhere": "yes" },
            "containers": [{
                "name": "app", "image": "bench.invalid/app:v1",
                "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
            }],
        },
    })
}

/// The first whole line of what a failed request was answered.
fn refusal(status: http::StatusCode, body: &[u8]) -> anyhow::Result<()> {
    if status.is_success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(body);
    bail!("{status}: {}", text.lines().next().unwrap_or_default())
}
