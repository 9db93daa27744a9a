//! Keeps watch over the master in use: pings it, moves when it falls silent, learns of new masters.
//!
//! Slow is not dead: a master that is silent, or cut off from a quorum, is left only for another one that is well.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;

use super::Inner;
use super::session::{LIVE, READY, Session, on};

/// Missed pings after which a master is given up although no other answers.
const MISSED_MAX: u32 = 6;

/// How long writes on a master that was left for another may still take.
const WRITES_FINISH: Duration = Duration::from_secs(5);

const REFRESH_TIMEOUT: Duration = Duration::from_secs(5);
const ENDPOINTS_PATH: &str = "/api/v1/namespaces/default/endpoints/kubernetes";
const ENDPOINTS_BYTES_MAX: usize = 1 << 20;

/// Runs as long as somebody holds the client.
pub(super) async fn keep(inner: Weak<Inner>) {
    let mut missed = 0;
    let mut next_refresh_ms = 0;
    loop {
        let Some(every) = inner.upgrade().map(|inner| inner.config.ping_every) else { return };
        tokio::time::sleep(every).await;
        let Some(inner) = inner.upgrade() else { return };
        let Some(session) = inner.open_session() else { continue };
        missed = check(&inner, &session, missed).await;
        let now_ms = inner.config.clock.monotonic_ms();
        if inner.config.refresh && missed == 0 && now_ms >= next_refresh_ms {
            let every_ms = u64::try_from(inner.config.refresh_every.as_millis());
            next_refresh_ms = now_ms.saturating_add(every_ms.unwrap_or(u64::MAX));
            refresh(&inner, &session).await;
        }
    }
}

/// Pings; returns how many pings in a row have now been missed.
async fn check(inner: &Arc<Inner>, session: &Arc<Session>, missed: u32) -> u32 {
    let Err(reason) = ping(inner, session, READY).await else { return 0 };
    let mut others = inner.candidates();
    others.retain(|server| *server != session.server);
    if let Ok(better) = inner.race_well(others).await {
        tracing::info!(from = %session.server, to = %better.server, reason, "moving to another master");
        inner.install(better);
        session.left.cancel();
        let lost = session.lost.clone();
        inner.crew.lock().spawn(async move {
            tokio::time::sleep(WRITES_FINISH).await;
            lost.cancel();
        });
        return 0;
    }
    // Nobody is better. One that waits for a quorum, as all do while a new leader is found, is kept.
    let Err(reason) = ping(inner, session, LIVE).await else { return 0 };
    if missed + 1 >= MISSED_MAX {
        tracing::warn!(server = %session.server, reason, "giving up the connection");
        inner.leave(session);
        session.lost.cancel();
        return 0;
    }
    missed + 1
}

async fn ping(inner: &Inner, session: &Session, path: &str) -> Result<(), String> {
    let probe = session.probe(path, &inner.dialer, &inner.crew);
    let late = |_| format!("it does not answer {path}");
    tokio::time::timeout(inner.config.ping_every, probe).await.map_err(late)?
}

/// Reads the masters' addresses; keeps what it knows when that fails.
async fn refresh(inner: &Arc<Inner>, session: &Session) {
    match tokio::time::timeout(REFRESH_TIMEOUT, read_endpoints(inner, session)).await {
        Ok(Ok(learnt)) => inner.learn(learnt),
        Ok(Err(reason)) => tracing::debug!(reason, "masters' endpoints not read"),
        Err(_) => tracing::debug!("masters' endpoints not read in time"),
    }
}

async fn read_endpoints(inner: &Arc<Inner>, session: &Session) -> Result<Vec<Uri>, String> {
    let uri = on(&session.server, ENDPOINTS_PATH)?;
    let mut request = Request::get(uri).body(Full::default()).map_err(|error| error.to_string())?;
    inner.dress(&mut request).await?;
    let answer = session.send(&inner.dialer, &inner.crew, request, &session.left).await;
    let answer = answer.map_err(|failure| format!("{failure:?}"))?;
    if !answer.status().is_success() {
        return Err(answer.status().to_string());
    }
    let body = Limited::new(answer.into_body(), ENDPOINTS_BYTES_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    let endpoints: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    Ok(servers_of(&endpoints))
}

/// The URLs in an Endpoints object: every ready address with the port called `https`.
fn servers_of(endpoints: &Value) -> Vec<Uri> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut servers = Vec::new();
    for subset in list(&endpoints["subsets"]) {
        for address in list(&subset["addresses"]) {
            for port in list(&subset["ports"]) {
                let (Some(ip), Some(number)) = (address["ip"].as_str(), port["port"].as_u64())
                else {
                    continue;
                };
                if port["name"].as_str().unwrap_or("https") != "https" {
                    continue;
                }
                let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
                servers.extend(format!("https://{host}:{number}").parse::<Uri>().ok());
            }
        }
    }
    servers
}

impl Inner {
    /// As [`Inner::race`], but only for a master that is well.
    async fn race_well(&self, candidates: Vec<Uri>) -> Result<Session, ()> {
        if candidates.is_empty() {
            return Err(());
        }
        let session = self.race(candidates).await.map_err(drop)?;
        session.probe(READY, &self.dialer, &self.crew).await.map_err(drop)?;
        Ok(session)
    }

    /// Replaces what was learnt before; the configured masters stay, whatever the cluster says.
    fn learn(&self, learnt: Vec<Uri>) {
        if learnt.is_empty() {
            return;
        }
        let mut servers = self.config.servers.clone();
        servers.extend(learnt.into_iter().filter(|server| !self.config.servers.contains(server)));
        let mut state = self.state.lock();
        let current = state.current.as_ref().map(|session| session.server.clone());
        state.first =
            servers.iter().position(|server| Some(server) == current.as_ref()).unwrap_or(0);
        state.servers = servers;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn masters_are_the_ready_addresses_with_the_https_port() {
        let endpoints = json!({"subsets": [{
            "addresses": [{"ip": "10.88.0.1"}, {"ip": "fd00::1"}],
            "notReadyAddresses": [{"ip": "10.88.0.9"}],
            "ports": [{"name": "https", "port": 6443}, {"name": "metrics", "port": 9}],
        }, {"addresses": [{"ip": "10.88.0.1"}], "ports": [{"name": "https", "port": 6444}]}]});
        let servers: Vec<_> = servers_of(&endpoints).iter().map(ToString::to_string).collect();
        assert_eq!(
            servers,
            ["https://10.88.0.1:6443/", "https://[fd00::1]:6443/", "https://10.88.0.1:6444/"]
        );
    }
}
