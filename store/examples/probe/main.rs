//! The client of `store/bench.sh` for what etcd's own `benchmark` does not measure, alike for etcd and kstore.
//!
//! ```text
//! probe gap ENDPOINTS PIDS SIGNAL      ends (KILL) or freezes (STOP) the leader: milliseconds until a put that was sent
//!                                      afterwards is acknowledged, and the leader's place in the list
//! probe watch ENDPOINTS WATCHERS KEYS RATE SECONDS
//!                                      watches spread over keys, puts at a steady rate: events, and their latency from the
//!                                      sending of the put to the arrival of the event, in milliseconds: p50, p99, max
//! probe update ENDPOINTS CLIENTS TOTAL updates as Kubernetes makes them: if the key's revision is the one that was read, put,
//!                                      else get; prints lines as `benchmark` does
//! ```

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use etcd_client::{Client, ConnectOptions, EventType};
use store_env::task::Crew;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

mod update;

/// How often each survivor is sent another put while there is no leader; they do not wait for each other.
const ATTEMPT_EVERY: Duration = Duration::from_millis(10);
/// How long one put may take. etcd holds some for five seconds.
const ATTEMPT_MAX: Duration = Duration::from_secs(1);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Watches on one stream, as an API server has them.
const WATCHES_A_STREAM: usize = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let line = match args[..] {
        ["gap", endpoints, pids, signal] => gap(&split(endpoints), &split(pids), signal).await?,
        ["watch", endpoints, watchers, keys, rate, seconds] => {
            let plan = Plan {
                watchers: watchers.parse()?,
                keys: keys.parse()?,
                rate: rate.parse()?,
                seconds: seconds.parse()?,
            };
            watch(&split(endpoints), plan).await?
        }
        ["update", endpoints, clients, total] => {
            update::run(&split(endpoints), clients.parse()?, total.parse()?).await?
        }
        _ => bail!(
            "probe gap ENDPOINTS PIDS SIGNAL | probe watch ENDPOINTS WATCHERS KEYS RATE SECONDS \
             | probe update ENDPOINTS CLIENTS TOTAL"
        ),
    };
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

fn split(list: &str) -> Vec<String> {
    list.split(',').map(str::to_owned).collect()
}

async fn connect(endpoint: &str, within: Duration) -> anyhow::Result<Client> {
    let options = ConnectOptions::new().with_timeout(within);
    Ok(Client::connect([endpoint], Some(options)).await?)
}

async fn gap(endpoints: &[String], pids: &[String], signal: &str) -> anyhow::Result<String> {
    let mut clients = Vec::new();
    for endpoint in endpoints {
        clients.push(connect(endpoint, ATTEMPT_MAX).await?);
    }
    let leader = leader(&mut clients).await?;
    // Everybody is connected, and warm.
    for client in &mut clients {
        client.put("gap/before", "", None).await?;
    }
    let args = [format!("-{signal}"), pids[leader].clone()];
    let status = std::process::Command::new("kill").args(args).status()?;
    if !status.success() {
        bail!("kill -{signal} {}: {status}", pids[leader]);
    }
    let started = Instant::now();
    let (report, mut acknowledged) = mpsc::channel(1);
    let is_over = Arc::new(AtomicBool::new(false));
    let mut crew = Crew::new();
    for (_, client) in clients.into_iter().enumerate().filter(|(index, _)| *index != leader) {
        crew.spawn(attempts(client, report.clone(), is_over.clone()));
    }
    let first = tokio::time::timeout(PATIENCE, acknowledged.recv()).await;
    is_over.store(true, Ordering::Relaxed);
    let at: Instant = first.context("no put was acknowledged in time")?.context("nobody asks")?;
    Ok(format!("{:.1}\t{leader}", (at - started).as_secs_f64() * 1_000.0))
}

async fn leader(clients: &mut [Client]) -> anyhow::Result<usize> {
    for (index, client) in clients.iter_mut().enumerate() {
        let status = client.status().await?;
        let me = status.header().context("a status has a header")?.member_id();
        if status.leader() == me {
            return Ok(index);
        }
    }
    bail!("nobody leads")
}

/// Sends puts, one after the other begins, until one of anybody's is acknowledged.
async fn attempts(client: Client, report: mpsc::Sender<Instant>, is_over: Arc<AtomicBool>) {
    let mut crew = Crew::new();
    let mut ticks = tokio::time::interval(ATTEMPT_EVERY);
    while !is_over.load(Ordering::Relaxed) {
        ticks.tick().await;
        let (mut client, report) = (client.clone(), report.clone());
        crew.spawn(async move {
            if client.put("gap/after", "", None).await.is_ok() {
                // Somebody else was first.
                let _ = report.try_send(Instant::now());
            }
        });
    }
}

/// What `watch` does.
#[derive(Clone, Copy)]
struct Plan {
    watchers: usize,
    keys: usize,
    rate: u64,
    seconds: u64,
}

async fn watch(endpoints: &[String], plan: Plan) -> anyhow::Result<String> {
    let mut crew = Crew::new();
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    for first in (0..plan.watchers).step_by(WATCHES_A_STREAM) {
        let endpoint = &endpoints[first / WATCHES_A_STREAM % endpoints.len()];
        let mut client = connect(endpoint, PATIENCE).await?;
        let key = |watcher: usize| format!("watched/{:06}", watcher % plan.keys);
        let mut stream = client.watch(key(first), None).await?;
        for watcher in first + 1..(first + WATCHES_A_STREAM).min(plan.watchers) {
            stream.watch(key(watcher), None).await?;
        }
        let expected = WATCHES_A_STREAM.min(plan.watchers - first);
        let mut created = 1;
        while created < expected {
            let response = stream.message().await?.context("the watch ended")?;
            created += usize::from(response.created());
        }
        let arrived = arrived.clone();
        crew.spawn(async move {
            while let Ok(Some(response)) = stream.message().await {
                let at = Instant::now();
                for event in response.events().iter().filter(|e| e.event_type() == EventType::Put) {
                    let number = event.kv().and_then(|kv| kv.value_str().ok()?.parse::<u64>().ok());
                    // Nobody counts any more.
                    let _ = number.map(|number| arrived.send((number, at)));
                }
            }
        });
    }
    let sent = put_steadily(endpoints, plan).await?;
    let mut latencies = Vec::new();
    let expected = sent.len() * plan.watchers / plan.keys;
    let all = async {
        while latencies.len() < expected {
            let Some((number, at)) = arrivals.recv().await else { break };
            latencies.extend(sent.get(&number).map(|sent| (at - *sent).as_secs_f64() * 1_000.0));
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        bail!("{} of {expected} events came", latencies.len());
    }
    latencies.sort_by(f64::total_cmp);
    let at = |share: usize| latencies.get(latencies.len() * share / 1_000).copied().unwrap_or(0.0);
    let max = latencies.last().copied().unwrap_or(0.0);
    Ok(format!("{}\t{:.1}\t{:.1}\t{max:.1}", latencies.len(), at(500), at(990)))
}

/// Puts at a steady rate, whatever each takes; when each was sent.
async fn put_steadily(endpoints: &[String], plan: Plan) -> anyhow::Result<BTreeMap<u64, Instant>> {
    let mut clients = Vec::new();
    for endpoint in endpoints {
        clients.push(connect(endpoint, PATIENCE).await?);
    }
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(plan.rate)?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut crew = Crew::new();
    let mut sent = BTreeMap::new();
    let (failed, mut failures) = mpsc::unbounded_channel();
    for number in 0..plan.rate * plan.seconds {
        ticks.tick().await;
        let place = usize::try_from(number)?;
        let mut client = clients[place % clients.len()].clone();
        let (key, failed) = (format!("watched/{:06}", place % plan.keys), failed.clone());
        sent.insert(number, Instant::now());
        crew.spawn(async move {
            if let Err(error) = client.put(key, number.to_string(), None).await {
                // Whoever asks asks at the end.
                let _ = failed.send(error);
            }
        });
    }
    crew.finish(PATIENCE).await;
    match failures.try_recv() {
        Ok(error) => Err(error).context("a put failed"),
        Err(_) => Ok(sent),
    }
}
