//! Status, hashes, snapshots, the lead handed over; and what is answered for what is not there.

use etcd_client::{AlarmAction, AlarmType, Client};

use crate::cluster::{Cluster, eventually, is_etcd, refusal};

#[tokio::test]
async fn status_says_who_leads_and_how_far_it_is() {
    let cluster = Cluster::start(3).await;
    let mut leaders = Vec::new();
    for index in 0..3 {
        let mut client = cluster.client_of(index).await;
        client.put("k", "v", None).await.unwrap();
        let status = client.status().await.unwrap();
        assert!(status.version().starts_with("3."));
        assert!(status.db_size() > 0 && status.raft_used_db_size() > 0);
        assert!(status.raft_applied_index() > 0);
        assert!(status.raft_index() >= status.raft_applied_index());
        assert!(status.raft_term() > 0 && !status.is_learner() && status.errors().is_empty());
        leaders.push(status.leader());
    }
    assert!(leaders[0] != 0 && leaders.iter().all(|leader| *leader == leaders[0]));
}

#[tokio::test]
async fn members_have_equal_hashes() {
    let cluster = Cluster::start(3).await;
    let mut client = cluster.client().await;
    for number in 0..20 {
        client.put(format!("k{number}"), "v", None).await.unwrap();
    }
    let mut at_10 = Vec::new();
    for index in 0..3 {
        let mut client = cluster.client_of(index).await;
        client.get("k", None).await.unwrap();
        let kv = client.hash_kv(10).await.unwrap();
        at_10.push((kv.hash(), kv.compact_version()));
        client.hash().await.unwrap();
    }
    assert!(at_10.iter().all(|hash| *hash == at_10[0]), "{at_10:?}");
    let mut client = cluster.client_of(0).await;
    let now = client.hash_kv(0).await.unwrap().hash();
    assert_ne!(now, at_10[0].0);
    client.put("one", "more", None).await.unwrap();
    assert_ne!(now, client.hash_kv(0).await.unwrap().hash());
}

#[tokio::test]
async fn snapshot_is_a_stream_that_ends_with_its_checksum() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    for number in 0..50 {
        client.put(format!("k{number}"), vec![b'x'; 10_000], None).await.unwrap();
    }
    let mut stream = client.snapshot().await.unwrap();
    let mut bytes = 0;
    while let Some(piece) = stream.message().await.unwrap() {
        bytes += piece.blob().len();
    }
    assert!(bytes > 500_000);
    assert_eq!(bytes % 512, 32);
}

#[tokio::test]
async fn lead_is_handed_over_by_the_leader_only() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let id = async |index: usize| {
        cluster.client_of(index).await.status().await.unwrap().header().unwrap().member_id()
    };
    let target = id(follower).await;
    let mut client = cluster.client_of(follower).await;
    let not_leader = "FailedPrecondition: etcdserver: not leader";
    assert_eq!(refusal(client.move_leader(target).await), not_leader);
    let mut client = cluster.client_of(leader).await;
    let bad = "FailedPrecondition: etcdserver: bad leader transferee";
    assert_eq!(refusal(client.move_leader(99).await), bad);
    client.move_leader(target).await.unwrap();
    eventually("it leads", async || cluster.leader().await == follower).await;
    client.put("k", "v", None).await.unwrap();
}

#[tokio::test]
async fn there_is_no_alarm_and_nothing_to_defragment() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let alarms = client.alarm(AlarmAction::Get, AlarmType::None, None).await.unwrap();
    assert!(alarms.alarms().is_empty());
    client.defragment().await.unwrap();
}

#[tokio::test]
async fn users_are_refused_with_what_to_use_instead() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    client.put("k", "v", None).await.unwrap();
    if is_etcd() {
        return;
    }
    let refused = refusal(client.user_list().await);
    assert!(refused.contains("certificate"), "{refused}");
    // Who comes with a name and a password goes on without.
    let options = etcd_client::ConnectOptions::new().with_user("root", "secret");
    let refused = Client::connect([cluster.members[0].endpoint()], Some(options)).await;
    let expected = "FailedPrecondition: etcdserver: authentication is not enabled";
    assert_eq!(refusal(refused), expected);
}
