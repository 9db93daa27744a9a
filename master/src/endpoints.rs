//! Keeps the endpoints of the `kubernetes` service equal to the masters that answer.
//!
//! Pods reach the API through that service: a dead master must leave it at once, not after a lease.
//! Runs on the leader, fenced.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use master_apiserver::Server;
use master_client::masters::{self, ClientIdentity, MastersConfig};
use store_env::task::TaskResult;
use store_handle::{Handle, Term};
use tokio_util::sync::CancellationToken;

use crate::desk::API_LABEL;

/// How often every master is asked whether it lives.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// A master that is silent for longer is taken out. A refused connection takes it out at once.
const ANSWER_WITHIN: Duration = Duration::from_millis(800);
/// Endpoints are written again this often even if nothing changed, in case somebody else changed them.
const REWRITE_EVERY: u32 = 50;

/// Whom to ask, and how.
#[derive(Clone, Debug)]
pub struct Endpoints {
    pub server: Arc<Server>,
    pub handle: Arc<dyn Handle>,
    pub own: SocketAddr,
    pub ca_pem: Vec<u8>,
    pub identity: ClientIdentity,
}

impl Endpoints {
    /// Asks and writes until stopped.
    pub async fn run(self, term: Term, stop: CancellationToken) -> TaskResult {
        let mut clients = BTreeMap::new();
        let mut written: Option<BTreeSet<SocketAddr>> = None;
        let mut rounds = 0;
        loop {
            let live = self.live(&mut clients).await;
            rounds += 1;
            if written.as_ref() != Some(&live) || rounds % REWRITE_EVERY == 0 {
                let addresses: Vec<SocketAddr> = live.iter().copied().collect();
                match self.server.set_kubernetes_endpoints(addresses, Some(term)).await {
                    Ok(()) => written = Some(live),
                    Err(error) => tracing::warn!(%error, "cannot write the masters' endpoints"),
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
        }
    }

    async fn live(&self, clients: &mut BTreeMap<String, kube::Client>) -> BTreeSet<SocketAddr> {
        let urls: Vec<String> = self
            .handle
            .members()
            .into_iter()
            .filter_map(|mut member| member.labels.remove(API_LABEL))
            .collect();
        clients.retain(|url, _| urls.contains(url));
        let mut asked = Vec::new();
        for url in &urls {
            let Some(address) = address_of(url) else { continue };
            if address == self.own {
                continue;
            }
            if !clients.contains_key(url) {
                match client(url, &self.ca_pem, &self.identity) {
                    Ok(client) => drop(clients.insert(url.clone(), client)),
                    Err(error) => tracing::warn!(%error, url, "cannot ask a master"),
                }
            }
            if let Some(client) = clients.get(url) {
                asked.push(answers(client.clone(), address));
            }
        }
        let others = join_all(asked).await.into_iter().flatten();
        others.chain([self.own]).collect()
    }
}

/// A client of one master only.
pub(crate) fn client(
    url: &str,
    ca_pem: &[u8],
    identity: &ClientIdentity,
) -> Result<kube::Client, masters::Error> {
    let mut config = MastersConfig::new(url.parse().into_iter().collect());
    config.ca_pem = Some(ca_pem.to_vec());
    config.identity = Some(identity.clone());
    config.refresh = false;
    masters::connect(config)
}

fn address_of(url: &str) -> Option<SocketAddr> {
    url.trim_start_matches("https://").parse().ok()
}

async fn answers(client: kube::Client, address: SocketAddr) -> Option<SocketAddr> {
    let request = http::Request::get("/readyz").body(Vec::new()).ok()?;
    let answer = tokio::time::timeout(ANSWER_WITHIN, client.request_text(request)).await;
    matches!(answer, Ok(Ok(_))).then_some(address)
}
