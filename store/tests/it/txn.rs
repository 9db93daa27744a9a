//! Transactions: every target and operator, ranges in comparisons, nesting, limits.

use etcd_client::{
    Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse,
};

use crate::cluster::{Cluster, refusal};

#[tokio::test]
async fn comparisons_have_every_target_and_operator() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let lease = client.lease_grant(100, None).await.unwrap().id();
    client.put("k", "m", None).await.unwrap();
    // Created at 2, changed at 3, version 2.
    client.put("k", "m", Some(PutOptions::new().with_lease(lease))).await.unwrap();
    client.put("k2", "x", None).await.unwrap();
    use CompareOp::{Equal, Greater, Less, NotEqual};
    #[rustfmt::skip]
    let cases = [
        (Compare::version("k", Equal, 2),              true),
        (Compare::version("k", Greater, 2),            false),
        (Compare::version("none", Equal, 0),           true),
        (Compare::create_revision("k", Less, 3),       true),
        (Compare::create_revision("none", Greater, 0), false),
        (Compare::mod_revision("k", Equal, 3),         true),
        (Compare::mod_revision("k", NotEqual, 3),      false),
        (Compare::value("k", Equal, "m"),              true),
        (Compare::value("k", Less, "n"),               true),
        (Compare::value("k", Greater, "n"),            false),
        (Compare::value("none", NotEqual, "m"),        false),
        (Compare::lease("k", Equal, lease),            true),
        (Compare::lease("k2", Equal, 0),               true),
        (Compare::mod_revision("k", Greater, 2).with_prefix(), true),
        (Compare::version("k", Equal, 2).with_prefix(), false),
        (Compare::version("none", Equal, 0).with_prefix(), true),
        (Compare::value("k", Greater, "a").with_range("k3"), true),
    ];
    for (number, (compare, expected)) in cases.into_iter().enumerate() {
        let reply = client.txn(Txn::new().when(vec![compare])).await.unwrap();
        assert_eq!(reply.succeeded(), expected, "case {number}");
    }
}

#[tokio::test]
async fn steps_run_in_order_at_one_revision_and_see_what_was_written() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    client.put("a", "1", None).await.unwrap();
    let inner = Txn::new()
        .when(vec![Compare::value("a", CompareOp::Equal, "1")])
        .and_then(vec![TxnOp::put("n", "inner", None)])
        .or_else(vec![TxnOp::put("n", "else", None)]);
    let txn = Txn::new().and_then(vec![
        TxnOp::put("a", "2", Some(PutOptions::new().with_prev_key())),
        TxnOp::get("a", None),
        TxnOp::delete("none", Some(DeleteOptions::new().with_prefix())),
        TxnOp::txn(inner),
        TxnOp::get("", Some(GetOptions::new().with_all_keys().with_count_only())),
    ]);
    let reply = client.txn(txn).await.unwrap();
    assert!(reply.succeeded());
    assert_eq!(reply.header().unwrap().revision(), 3);
    let replies = reply.op_responses();
    let [
        TxnOpResponse::Put(put),
        TxnOpResponse::Get(get),
        TxnOpResponse::Delete(delete),
        TxnOpResponse::Txn(inner),
        TxnOpResponse::Get(count),
    ] = &replies[..]
    else {
        panic!("{replies:?}");
    };
    assert_eq!(put.prev_key().unwrap().value(), b"1");
    assert_eq!(get.kvs()[0].value(), b"2");
    assert_eq!(delete.deleted(), 0);
    // As in etcd, comparisons of inner transactions are judged before anything is written.
    assert!(inner.succeeded());
    assert_eq!(count.count(), 2);
    let found = client.get("n", None).await.unwrap();
    assert_eq!((found.kvs()[0].value(), found.kvs()[0].mod_revision()), (&b"inner"[..], 3));
}

#[tokio::test]
async fn a_key_is_written_once_and_the_number_of_steps_is_bounded() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let put = |key: &str| TxnOp::put(key, "v", None);
    let txn = |steps: Vec<TxnOp>| Txn::new().and_then(steps);
    let many = |count: usize| (0..count).map(|n| put(&format!("k{n}"))).collect::<Vec<_>>();
    let delete = TxnOp::delete("k", Some(DeleteOptions::new().with_prefix()));
    let nested = TxnOp::txn(txn(vec![put("k1")]));
    let twice = "InvalidArgument: etcdserver: duplicate key given in txn request";
    let too_many = "InvalidArgument: etcdserver: too many operations in txn request";
    #[rustfmt::skip]
    let cases = [
        (txn(vec![put("k1"), put("k1")]),               twice),
        (txn(vec![put("k1"), delete.clone()]),          twice),
        (txn(vec![put("k1"), nested.clone()]),          twice),
        (txn(vec![put("k2"), nested]),                  "done"),
        (txn(vec![delete.clone(), delete]),             "done"),
        (txn(vec![put("a")]).or_else(vec![put("a")]),   "done"),
        (txn(many(128)),                                "done"),
        (txn(many(129)),                                too_many),
        (txn(vec![put("")]),                            "InvalidArgument: etcdserver: key is not provided"),
    ];
    for (number, (txn, expected)) in cases.into_iter().enumerate() {
        assert_eq!(refusal(client.txn(txn).await), expected, "case {number}");
    }
    // A refused transaction leaves nothing behind.
    let before = client.get("f", None).await.unwrap().header().unwrap().revision();
    let bad = txn(vec![put("f"), TxnOp::put("g", "v", Some(PutOptions::new().with_lease(77)))]);
    assert_eq!(refusal(client.txn(bad).await), "NotFound: etcdserver: requested lease not found");
    let after = client.get("f", None).await.unwrap();
    assert_eq!((after.count(), after.header().unwrap().revision()), (0, before));
}
