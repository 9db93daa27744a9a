//! Keys: every option of range, put and delete, compaction, and refusals in etcd's words.

use etcd_client::{
    Client, CompactionOptions, DeleteOptions, GetOptions, PutOptions, SortOrder, SortTarget,
};

use crate::cluster::{Cluster, refusal};

/// The keys that a range finds, with their values, as `a=1 b=2`.
async fn found(client: &mut Client, key: &str, options: GetOptions) -> String {
    let reply = client.get(key, Some(options)).await.unwrap();
    let mut text: Vec<String> = reply
        .kvs()
        .iter()
        .map(|kv| format!("{}={}", kv.key_str().unwrap(), kv.value_str().unwrap()))
        .collect();
    if reply.more() {
        text.push("…".into());
    }
    format!("{} #{}", text.join(" "), reply.count())
}

#[tokio::test]
async fn range_has_all_its_options() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    // Revisions 2 to 6; the last one writes `a` a second time.
    for (key, value) in [("b", "3"), ("a", "9"), ("d", "1"), ("c", "2"), ("a", "5")] {
        client.put(key, value, None).await.unwrap();
    }
    let all = GetOptions::new().with_range("z");
    let sorted = |target, order| all.clone().with_sort(target, order);
    use SortOrder::{Ascend, Descend};
    #[rustfmt::skip]
    let cases = [
        ("a", GetOptions::new(),                               "a=5 #1"),
        ("x", GetOptions::new(),                               " #0"),
        ("a", all.clone(),                                     "a=5 b=3 c=2 d=1 #4"),
        ("b", GetOptions::new().with_from_key(),               "b=3 c=2 d=1 #3"),
        ("",  GetOptions::new().with_all_keys(),               "a=5 b=3 c=2 d=1 #4"),
        ("z", GetOptions::new().with_range("a"),               " #0"),
        ("a", all.clone().with_limit(2),                       "a=5 b=3 … #4"),
        ("a", all.clone().with_limit(4),                       "a=5 b=3 c=2 d=1 #4"),
        ("a", all.clone().with_revision(3),                    "a=9 b=3 #2"),
        ("a", all.clone().with_revision(1),                    " #0"),
        ("a", all.clone().with_keys_only(),                    "a= b= c= d= #4"),
        ("a", all.clone().with_count_only(),                   " #4"),
        ("a", all.clone().with_serializable(),                 "a=5 b=3 c=2 d=1 #4"),
        ("a", sorted(SortTarget::Key, Descend),                "d=1 c=2 b=3 a=5 #4"),
        ("a", sorted(SortTarget::Value, Ascend),               "d=1 c=2 b=3 a=5 #4"),
        ("a", sorted(SortTarget::Mod, Descend),                "a=5 c=2 d=1 b=3 #4"),
        ("a", sorted(SortTarget::Create, Ascend),              "b=3 a=5 d=1 c=2 #4"),
        ("a", sorted(SortTarget::Version, Descend).with_limit(1), "a=5 … #4"),
        ("a", all.clone().with_min_mod_revision(5),            "a=5 c=2 #4"),
        ("a", all.clone().with_max_mod_revision(4),            "b=3 d=1 #4"),
        ("a", all.clone().with_min_create_revision(4),         "c=2 d=1 #4"),
        ("a", all.clone().with_max_create_revision(3),         "a=5 b=3 #4"),
        ("a", all.clone().with_max_create_revision(3).with_limit(1), "a=5 … #4"),
    ];
    for (number, (key, options, expected)) in cases.into_iter().enumerate() {
        assert_eq!(found(&mut client, key, options).await, expected, "case {number}");
    }
    let one = client.get("a", None).await.unwrap();
    let kv = &one.kvs()[0];
    assert_eq!((kv.create_revision(), kv.mod_revision(), kv.version(), kv.lease()), (3, 6, 2, 0));
}

#[tokio::test]
async fn headers_name_group_member_revision_and_term() {
    let cluster = Cluster::start(3).await;
    let mut seen = Vec::new();
    for index in 0..3 {
        let mut client = cluster.client_of(index).await;
        let before = client.get("k", None).await.unwrap().header().unwrap().revision();
        let put = client.put("k", "v", None).await.unwrap();
        let header = put.header().unwrap();
        assert_eq!(header.revision(), before + 1);
        assert!(header.raft_term() > 0);
        // What is read changes nothing, and a deletion of nothing neither.
        let nothing = client.delete("none", None).await.unwrap();
        assert_eq!(nothing.header().unwrap().revision(), before + 1);
        seen.push((header.cluster_id(), header.member_id(), header.raft_term()));
    }
    let members = cluster.client().await.member_list().await.unwrap();
    let ids: Vec<u64> = members.members().iter().map(etcd_client::Member::id).collect();
    assert!(seen.iter().all(|(cluster, member, _)| *cluster == seen[0].0 && ids.contains(member)));
    assert!(seen[0].1 != seen[1].1 && seen[1].1 != seen[2].1);
    assert!(seen.iter().all(|(.., term)| *term == seen[0].2), "{seen:?}");
}

#[tokio::test]
async fn put_and_delete_have_all_their_options() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let put = |options| Some(options);
    assert!(client.put("k", "1", None).await.unwrap().prev_key().is_none());
    let again = client.put("k", "2", put(PutOptions::new().with_prev_key())).await.unwrap();
    assert_eq!(again.prev_key().unwrap().value(), b"1");
    let lease = client.lease_grant(100, None).await.unwrap().id();
    client.put("k", "3", put(PutOptions::new().with_lease(lease))).await.unwrap();
    client
        .put("k", "", put(PutOptions::new().with_ignore_value().with_lease(lease)))
        .await
        .unwrap();
    client.put("k", "4", put(PutOptions::new().with_ignore_lease())).await.unwrap();
    let kept = client.get("k", None).await.unwrap();
    assert_eq!((kept.kvs()[0].value(), kept.kvs()[0].lease()), (&b"4"[..], lease));
    client.put("k", "", put(PutOptions::new().with_ignore_value())).await.unwrap();
    let kept = client.get("k", None).await.unwrap();
    assert_eq!((kept.kvs()[0].value(), kept.kvs()[0].lease()), (&b"4"[..], 0));

    for key in ["p/1", "p/2", "p/3", "q"] {
        client.put(key, key, None).await.unwrap();
    }
    let options = DeleteOptions::new().with_prefix().with_prev_key();
    let deleted = client.delete("p/", Some(options)).await.unwrap();
    assert_eq!(deleted.deleted(), 3);
    let prev: Vec<&[u8]> = deleted.prev_kvs().iter().map(etcd_client::KeyValue::value).collect();
    assert_eq!(prev, [b"p/1", b"p/2", b"p/3"]);
    assert_eq!(client.delete("p/1", None).await.unwrap().deleted(), 0);
    let options = DeleteOptions::new().with_range("r");
    assert_eq!(client.delete("k", Some(options)).await.unwrap().deleted(), 2);
}

#[tokio::test]
async fn refusals_have_etcds_codes_and_words() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    client.put("k", "v", None).await.unwrap();
    let ignoring = PutOptions::new().with_ignore_value();
    #[rustfmt::skip]
    let cases = [
        (refusal(client.put("", "v", None).await), "InvalidArgument: etcdserver: key is not provided"),
        (refusal(client.get("", None).await), "InvalidArgument: etcdserver: key is not provided"),
        (refusal(client.delete("", None).await), "InvalidArgument: etcdserver: key is not provided"),
        (refusal(client.put("k", "v", Some(ignoring.clone())).await), "InvalidArgument: etcdserver: value is provided"),
        (refusal(client.put("none", "", Some(ignoring)).await), "InvalidArgument: etcdserver: key not found"),
        (refusal(client.put("k", "v", Some(PutOptions::new().with_lease(7).with_ignore_lease())).await), "InvalidArgument: etcdserver: lease is provided"),
        (refusal(client.put("k", "v", Some(PutOptions::new().with_lease(7))).await), "NotFound: etcdserver: requested lease not found"),
        (refusal(client.get("k", Some(GetOptions::new().with_revision(9))).await), "OutOfRange: etcdserver: mvcc: required revision is a future revision"),
        (refusal(client.put("k", vec![b'x'; 1_600_000], None).await), "InvalidArgument: etcdserver: request is too large"),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn compacted_history_is_gone_and_the_rest_stays() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    for value in ["1", "2", "3", "4"] {
        client.put("k", value, None).await.unwrap();
    }
    let compacted = client.compact(4, Some(CompactionOptions::new().with_physical())).await;
    assert_eq!(compacted.unwrap().header().unwrap().revision(), 5);
    let at = |revision| GetOptions::new().with_revision(revision);
    let gone = "OutOfRange: etcdserver: mvcc: required revision has been compacted";
    assert_eq!(refusal(client.get("k", Some(at(3))).await), gone);
    assert_eq!(client.get("k", Some(at(4))).await.unwrap().kvs()[0].value(), b"3");
    assert_eq!(refusal(client.compact(4, None).await), gone);
    let future = "OutOfRange: etcdserver: mvcc: required revision is a future revision";
    assert_eq!(refusal(client.compact(9, None).await), future);
}
