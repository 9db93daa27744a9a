//! A learner answers what needs no vote, and sends everybody else away.

use std::time::Duration;

use etcd_client::{Client, GetOptions, MemberAddOptions};

use crate::cluster::{Cluster, Member, eventually, initial, refusal};

#[tokio::test]
async fn learner_serves_serializable_reads_status_and_snapshots_only() {
    let mut cluster = Cluster::start(1).await;
    let mut client = cluster.client_of(0).await;
    client.put("k", "v", None).await.unwrap();
    let mut joiner = Member::new("m2");
    let options = MemberAddOptions::new().with_is_learner();
    let added = client.member_add([joiner.peer_url()], Some(options)).await.unwrap();
    let id = added.member().unwrap().id();
    let options = MemberAddOptions::new().with_is_learner();
    let second = client.member_add([Member::new("m3").peer_url()], Some(options)).await;
    assert_eq!(
        refusal(second),
        "FailedPrecondition: etcdserver: too many learner members in cluster"
    );
    joiner.flags(
        &cluster.dir,
        &format!("{},m2={}", initial(&cluster.members), joiner.peer_url()),
        "existing",
    );
    joiner.start();
    cluster.members.push(joiner);
    let serializable = || Some(GetOptions::new().with_serializable());
    let mut learner = None;
    eventually("it has what was written", async || {
        let connected = Client::connect([cluster.members[1].endpoint()], None).await;
        let Ok(mut client) = connected else { return false };
        let got = tokio::time::timeout(Duration::from_secs(2), client.get("k", serializable()));
        let has = got.await.is_ok_and(|got| got.is_ok_and(|reply| reply.count() == 1));
        learner = Some(client);
        has
    })
    .await;
    let mut learner = learner.unwrap();
    let no = "FailedPrecondition: etcdserver: rpc not supported for learner";
    eventually("it knows its part", async || refusal(learner.get("k", None).await) == no).await;
    assert_eq!(refusal(learner.put("k", "w", None).await), no);
    assert_eq!(refusal(learner.delete("k", None).await), no);
    assert_eq!(refusal(learner.lease_grant(60, None).await), no);
    assert_eq!(refusal(learner.member_list().await), no);
    assert!(learner.watch("k", None).await.is_err());
    assert!(learner.status().await.unwrap().is_learner());
    let mut snapshot = learner.snapshot().await.unwrap();
    assert!(snapshot.message().await.unwrap().is_some());
    eventually("it is promoted", async || client.member_promote(id).await.is_ok()).await;
    eventually("it serves", async || refusal(learner.put("k", "w", None).await) == "done").await;
}
