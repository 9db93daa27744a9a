//! A group grows and shrinks, and a member that is lost for good is replaced, while clients write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::Client;
use parking_lot::Mutex;
use store_env::task::Crew;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Member, connect, eventually};

/// How long a writer waits for an answer before it asks another member.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const WRITERS: usize = 3;
/// Writes that are to be acknowledged between one change and the next.
const WRITES: usize = 50;

/// Whom writers ask.
type Endpoints = Arc<Mutex<Vec<String>>>;

/// Keys with the values that were acknowledged.
type Acknowledged = Arc<Mutex<BTreeMap<String, String>>>;

/// Puts one key after the other; each until a member acknowledges it.
async fn write(writer: usize, endpoints: Endpoints, acknowledged: Acknowledged) {
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    let mut turn = writer;
    for number in 0.. {
        let (key, value) = (format!("{writer}/{number}"), number.to_string());
        loop {
            let endpoint = {
                let endpoints = endpoints.lock();
                endpoints[turn % endpoints.len()].clone()
            };
            if !clients.contains_key(&endpoint) {
                clients.insert(endpoint.clone(), connect(std::slice::from_ref(&endpoint)).await);
            }
            let client = clients.get_mut(&endpoint).unwrap();
            let put = client.put(key.clone(), value.clone(), None);
            if tokio::time::timeout(ANSWER_MAX, put).await.is_ok_and(|put| put.is_ok()) {
                break;
            }
            turn += 1;
        }
        acknowledged.lock().insert(key, value);
    }
}

/// A group under load.
struct Busy {
    cluster: Cluster,
    endpoints: Endpoints,
    acknowledged: Acknowledged,
}

impl Busy {
    fn member(&mut self, name: &str) -> &mut Member {
        self.cluster.members.iter_mut().find(|member| member.name == name).unwrap()
    }

    async fn client(&self) -> Client {
        let endpoints = self.endpoints.lock().clone();
        connect(&endpoints).await
    }

    /// Names and whether they vote, in order.
    async fn members(&self) -> Vec<(String, bool)> {
        let Ok(list) = self.client().await.member_list().await else { return Vec::new() };
        let listed = list.members().iter();
        let mut members: Vec<_> =
            listed.map(|member| (member.name().to_owned(), !member.is_learner())).collect();
        members.sort();
        members
    }

    /// Waits until the group consists of these, who all vote, and until it goes on with its work.
    async fn goes_on_with(&self, names: &[&str]) {
        let expected: Vec<_> = names.iter().map(|name| ((*name).to_owned(), true)).collect();
        eventually(&format!("{names:?} vote"), async || self.members().await == expected).await;
        let done = self.acknowledged.lock().len() + WRITES;
        let goes_on = async || self.acknowledged.lock().len() >= done;
        eventually(&format!("{names:?} acknowledge"), goes_on).await;
    }

    async fn join(&mut self, name: &str) {
        let mut joiner = Member::new(name);
        let mut client = self.client().await;
        let url = joiner.peer_url();
        eventually("it is added", async || {
            let added = client.member_add([url.clone()], None).await;
            let Ok(list) = client.member_list().await else { return false };
            added.is_ok() || list.members().iter().any(|it| it.peer_urls().contains(&url))
        })
        .await;
        let list = client.member_list().await.unwrap();
        let known = list.members().iter().filter(|member| !member.name().is_empty());
        let known = known.map(|member| format!("{}={},", member.name(), member.peer_urls()[0]));
        let initial = known.collect::<String>() + &format!("{name}={url}");
        joiner.flags(&self.cluster.dir, &initial, "existing");
        joiner.start();
        self.cluster.members.push(joiner);
        self.cluster.ready(self.cluster.members.len() - 1).await;
        let endpoint = self.member(name).endpoint();
        self.endpoints.lock().push(endpoint);
    }

    /// A member that will never come back: its process ends, and then it is taken out.
    async fn lose(&mut self, name: &str) {
        self.retire(name);
        self.remove(name).await;
    }

    /// Writers ask it no more, and its process is killed.
    fn retire(&mut self, name: &str) {
        let endpoint = self.member(name).endpoint();
        self.endpoints.lock().retain(|known| *known != endpoint);
        self.member(name).kill();
    }

    async fn remove(&self, name: &str) {
        eventually(&format!("{name} is removed"), async || {
            let mut client = self.client().await;
            let Ok(list) = client.member_list().await else { return false };
            match list.members().iter().find(|member| member.name() == name) {
                Some(found) => client.member_remove(found.id()).await.is_ok(),
                None => true,
            }
        })
        .await;
    }

    async fn leader(&self) -> String {
        self.cluster.members[self.cluster.leader().await].name.clone()
    }
}

#[tokio::test]
async fn group_grows_to_five_and_shrinks_to_one_under_load_and_loses_nothing() {
    let cluster = Cluster::start(1).await;
    let endpoints: Endpoints = Arc::new(Mutex::new(vec![cluster.members[0].endpoint()]));
    let mut busy = Busy { cluster, endpoints, acknowledged: Arc::default() };
    let (mut crew, stop) = (Crew::new(), CancellationToken::new());
    for writer in 0..WRITERS {
        let work = write(writer, busy.endpoints.clone(), busy.acknowledged.clone());
        let stop = stop.clone();
        crew.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }
    busy.goes_on_with(&["m1"]).await;
    busy.join("m2").await;
    busy.goes_on_with(&["m1", "m2"]).await;
    busy.join("m3").await;
    busy.goes_on_with(&["m1", "m2", "m3"]).await;
    busy.lose("m2").await;
    busy.join("m4").await;
    busy.goes_on_with(&["m1", "m3", "m4"]).await;
    busy.join("m5").await;
    busy.join("m6").await;
    busy.goes_on_with(&["m1", "m3", "m4", "m5", "m6"]).await;
    // Two of five may be lost at once, the leader among them.
    let mut left = vec!["m1", "m3", "m4", "m5", "m6"];
    let leader = busy.leader().await;
    let other = *left.iter().find(|name| **name != leader).unwrap();
    left.retain(|name| *name != leader && *name != other);
    busy.retire(&leader);
    busy.lose(other).await;
    busy.remove(&leader).await;
    busy.goes_on_with(&left).await;
    // One that is removed leads no more, and goes when it is told to.
    while left.len() > 1 {
        let leader = busy.leader().await;
        busy.remove(&leader).await;
        busy.retire(&leader);
        left.retain(|name| *name != leader);
        busy.goes_on_with(&left).await;
    }
    stop.cancel();
    crew.finish(ANSWER_MAX).await;
    let mut client = busy.client().await;
    let options = etcd_client::GetOptions::new().with_all_keys();
    let found = client.get("", Some(options)).await.unwrap();
    let found: BTreeMap<String, String> = found
        .kvs()
        .iter()
        .map(|kv| (kv.key_str().unwrap().to_owned(), kv.value_str().unwrap().to_owned()))
        .collect();
    let acknowledged = busy.acknowledged.lock();
    for (key, value) in &*acknowledged {
        assert_eq!(found.get(key), Some(value), "{key} was acknowledged");
    }
    // Of each writer, one more may have been written and not acknowledged.
    assert!(
        found.len() <= acknowledged.len() + WRITERS,
        "{} of {}",
        found.len(),
        acknowledged.len()
    );
}
