//! The header of every reply: which group, who answered, how far it was, in which term.

use etcd_client::{AlarmAction, AlarmType, ResponseHeader, Txn};

use crate::cluster::{Cluster, eventually, is_etcd};

#[tokio::test]
async fn every_service_says_who_answered_and_how_far_it_was() {
    let cluster = Cluster::start(3).await;
    let mut first = cluster.client_of(0).await;
    let mut client = cluster.client_of(1).await;
    let status = client.status().await.unwrap();
    let (group, term) = (status.header().unwrap().cluster_id(), status.raft_term());
    let mut me = None;
    eventually("its name is known", async || {
        let list = client.member_list().await.unwrap();
        me = list.members().iter().find(|member| member.name() == "m2").map(|found| found.id());
        me.is_some()
    })
    .await;
    let me = me.unwrap();
    let other = first.status().await.unwrap().header().unwrap().member_id();
    assert_ne!(me, other);
    let check = |what: &str, header: Option<&ResponseHeader>, revision: i64| {
        let header = header.unwrap();
        let found = (header.cluster_id(), header.member_id(), header.raft_term());
        assert_eq!(found, (group, me, term), "{what}");
        assert_eq!(header.revision(), revision, "{what}");
    };
    check("status", client.status().await.unwrap().header(), 1);
    check("put", client.put("a", "1", None).await.unwrap().header(), 2);
    check("range", client.get("a", None).await.unwrap().header(), 2);
    check("txn", client.txn(Txn::new()).await.unwrap().header(), 2);
    check("delete", client.delete("a", None).await.unwrap().header(), 3);
    check("nothing deleted", client.delete("a", None).await.unwrap().header(), 3);
    check("compact", client.compact(2, None).await.unwrap().header(), 3);
    let granted = client.lease_grant(60, None).await.unwrap();
    check("grant", granted.header(), 3);
    let id = granted.id();
    let (mut keeper, mut kept) = client.lease_keep_alive(id).await.unwrap();
    keeper.keep_alive().await.unwrap();
    check("keep-alive", kept.message().await.unwrap().unwrap().header(), 3);
    check("time to live", client.lease_time_to_live(id, None).await.unwrap().header(), 3);
    check("leases", client.leases().await.unwrap().header(), 3);
    check("revoke", client.lease_revoke(id).await.unwrap().header(), 3);
    let get = client.alarm(AlarmAction::Get, AlarmType::None, None).await.unwrap();
    check("alarm", get.header(), 3);
    check("hash", client.hash().await.unwrap().header(), 3);
    check("hash of keys", client.hash_kv(0).await.unwrap().header(), 3);
    let defragmented = client.defragment().await.unwrap();
    if !is_etcd() {
        // There it has no header.
        check("defragment", defragmented.header(), 3);
    }
    let mut watch = client.watch("a", None).await.unwrap();
    check("watch created", watch.message().await.unwrap().unwrap().header(), 3);
    let put = client.put("a", "2", None).await.unwrap().header().unwrap().revision();
    check("watch", watch.message().await.unwrap().unwrap().header(), put);
    let locked = client.lock("l", None).await.unwrap();
    check("lock", locked.header(), put + 1);
    check("unlock", client.unlock(locked.key()).await.unwrap().header(), put + 2);
}
