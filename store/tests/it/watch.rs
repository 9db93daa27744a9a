//! Watches: many on a stream, from the past, filtered, cancelled, asked how far they are.

use std::time::Duration;

use etcd_client::{
    Client, EventType, PutOptions, Txn, TxnOp, WatchFilterType, WatchOptions, WatchResponse,
    WatchStream,
};

use crate::cluster::{Cluster, PATIENCE, is_etcd};

async fn next(stream: &mut WatchStream) -> WatchResponse {
    let message = tokio::time::timeout(PATIENCE, stream.message());
    message.await.expect("a reply in time").unwrap().expect("the stream goes on")
}

/// The events of a reply as `+k=v@revision -k@revision`, with what they replaced in brackets.
fn text(reply: &WatchResponse) -> String {
    let each = reply.events().iter().map(|event| {
        let kv = event.kv().unwrap();
        let (key, at) = (kv.key_str().unwrap(), kv.mod_revision());
        let prev = event.prev_kv().map(|prev| format!("({})", prev.value_str().unwrap()));
        let prev = prev.unwrap_or_default();
        match event.event_type() {
            EventType::Put => format!("+{key}={}{prev}@{at}", kv.value_str().unwrap()),
            EventType::Delete => format!("-{key}{prev}@{at}"),
        }
    });
    each.collect::<Vec<_>>().join(" ")
}

/// Everything up to `count` events of any watch, in order, revisions apart.
async fn events(stream: &mut WatchStream, count: usize) -> String {
    let mut all = Vec::new();
    while all.len() < count {
        let reply = next(stream).await;
        assert!(!reply.canceled(), "{reply:?}");
        all.extend(text(&reply).split(' ').filter(|text| !text.is_empty()).map(str::to_owned));
    }
    all.join(" ")
}

async fn write(client: &mut Client) {
    client.put("a/1", "x", None).await.unwrap();
    client.put("b/1", "y", None).await.unwrap();
    client.put("a/1", "z", None).await.unwrap();
    client.delete("a/1", None).await.unwrap();
    let both = vec![TxnOp::put("a/2", "p", None), TxnOp::put("a/3", "q", None)];
    client.txn(Txn::new().and_then(both)).await.unwrap();
}

#[tokio::test]
async fn watch_sees_what_comes_and_what_was() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let prefix = WatchOptions::new().with_prefix();
    let mut coming = client.watch("a/", Some(prefix.clone())).await.unwrap();
    let created = next(&mut coming).await;
    assert!(created.created() && !created.canceled());
    assert_eq!((created.watch_id(), created.header().unwrap().revision()), (0, 1));
    write(&mut client).await;
    let expected = "+a/1=x@2 +a/1=z@4 -a/1@5 +a/2=p@6 +a/3=q@6";
    assert_eq!(events(&mut coming, 5).await, expected);

    let from = |revision| prefix.clone().with_start_revision(revision);
    let mut past = client.watch("a/", Some(from(1))).await.unwrap();
    assert!(next(&mut past).await.created());
    assert_eq!(events(&mut past, 5).await, expected);
    let mut late = client.watch("a/", Some(from(5).with_prev_key())).await.unwrap();
    assert!(next(&mut late).await.created());
    assert_eq!(events(&mut late, 3).await, "-a/1(z)@5 +a/2=p@6 +a/3=q@6");
    let mut future = client.watch("a/", Some(from(9))).await.unwrap();
    assert!(next(&mut future).await.created());
    for value in ["7", "8", "9"] {
        client.put("a/9", value, None).await.unwrap();
    }
    assert_eq!(events(&mut future, 1).await, "+a/9=9@9");
}

#[tokio::test]
async fn events_of_one_revision_come_together() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let options = WatchOptions::new().with_prefix();
    let mut stream = client.watch("k", Some(options)).await.unwrap();
    assert!(next(&mut stream).await.created());
    let many = (0..100).map(|n| TxnOp::put(format!("k{n:03}"), vec![b'x'; 10_000], None));
    client.txn(Txn::new().and_then(many.collect::<Vec<_>>())).await.unwrap();
    let reply = next(&mut stream).await;
    assert_eq!(reply.events().len(), 100);
    assert!(reply.events().iter().all(|event| event.kv().unwrap().mod_revision() == 2));
    assert!(reply.header().unwrap().revision() >= 2);
}

#[tokio::test]
async fn many_watches_share_a_stream_and_are_cancelled_one_by_one() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let mut stream = client.watch("a", None).await.unwrap();
    assert_eq!(next(&mut stream).await.watch_id(), 0);
    let asked = WatchOptions::new().with_watch_id(7);
    stream.watch("b", Some(asked.clone())).await.unwrap();
    let created = next(&mut stream).await;
    assert!(created.created());
    assert_eq!(created.watch_id(), 7);
    stream.watch("c", Some(asked)).await.unwrap();
    let refused = next(&mut stream).await;
    assert!(refused.created() && refused.canceled());
    assert_eq!(refused.watch_id(), -1);
    let taken = "mvcc: duplicate watch ID provided on the WatchStream";
    assert_eq!(refused.cancel_reason(), taken);
    stream.watch("c", Some(WatchOptions::new().with_start_revision(-5))).await.unwrap();
    let refused = next(&mut stream).await;
    assert!(refused.created() && refused.canceled());
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    // etcd 3.4 took it for "from now on".
    assert!(is_etcd() || (refused.watch_id(), refused.cancel_reason()) == (-1, compacted));
    stream.watch("z", Some(WatchOptions::new().with_range("a"))).await.unwrap();
    let refused = next(&mut stream).await;
    assert!(refused.created() && refused.canceled(), "an empty range");
    stream.watch("c", None).await.unwrap();
    assert_eq!(next(&mut stream).await.watch_id(), 1);

    for key in ["a", "b", "c"] {
        client.put(key, "v", None).await.unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        let reply = next(&mut stream).await;
        seen.push((reply.watch_id(), text(&reply)));
    }
    let expected = [(0, "+a=v@2"), (7, "+b=v@3"), (1, "+c=v@4")];
    seen.sort();
    let mut expected = expected.map(|(id, text)| (id, text.to_owned()));
    expected.sort();
    assert_eq!(seen, expected);

    stream.cancel(7).await.unwrap();
    let canceled = next(&mut stream).await;
    assert!(canceled.canceled() && !canceled.created());
    assert_eq!(canceled.watch_id(), 7);
    client.put("b", "w", None).await.unwrap();
    client.put("a", "w", None).await.unwrap();
    assert_eq!(text(&next(&mut stream).await), "+a=w@6");
}

#[tokio::test]
async fn filters_leave_out_what_is_not_wanted() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let filtered = |filter| WatchOptions::new().with_prefix().with_filters([filter]);
    let mut puts = client.watch("a/", Some(filtered(WatchFilterType::NoDelete))).await.unwrap();
    let mut deletes = client.watch("a/", Some(filtered(WatchFilterType::NoPut))).await.unwrap();
    assert!(next(&mut puts).await.created());
    assert!(next(&mut deletes).await.created());
    write(&mut client).await;
    assert_eq!(events(&mut puts, 4).await, "+a/1=x@2 +a/1=z@4 +a/2=p@6 +a/3=q@6");
    assert_eq!(events(&mut deletes, 1).await, "-a/1@5");
}

#[tokio::test]
async fn watch_from_compacted_history_is_cancelled_with_the_oldest_revision() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    write(&mut client).await;
    client.compact(4, None).await.unwrap();
    let from = |revision| Some(WatchOptions::new().with_prefix().with_start_revision(revision));
    let mut stream = client.watch("a/", from(3)).await.unwrap();
    let created = next(&mut stream).await;
    assert!(created.created() && !created.canceled());
    let canceled = next(&mut stream).await;
    assert!(canceled.canceled() && !canceled.created());
    assert_eq!((canceled.compact_revision(), canceled.watch_id()), (4, created.watch_id()));
    let mut stream = client.watch("a/", from(4)).await.unwrap();
    assert!(next(&mut stream).await.created());
    assert_eq!(events(&mut stream, 4).await, "+a/1=z@4 -a/1@5 +a/2=p@6 +a/3=q@6");
}

#[tokio::test]
async fn progress_is_told_when_asked_for_and_follows_the_events() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let mut stream = client.watch("a", None).await.unwrap();
    assert!(next(&mut stream).await.created());
    for _ in 0..5 {
        client.put("a", "v", None).await.unwrap();
        client.put("b", "v", None).await.unwrap();
    }
    assert_eq!(events(&mut stream, 5).await, "+a=v@2 +a=v@4 +a=v@6 +a=v@8 +a=v@10");
    stream.request_progress().await.unwrap();
    let progress = next(&mut stream).await;
    assert!(progress.events().is_empty() && !progress.canceled());
    assert_eq!((progress.watch_id(), progress.header().unwrap().revision()), (-1, 11));
}

#[tokio::test]
async fn watch_that_began_ahead_of_its_member_hears_of_no_earlier_progress() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let ahead = WatchOptions::new().with_start_revision(4);
    let mut stream = client.watch("a", Some(ahead)).await.unwrap();
    assert!(next(&mut stream).await.created());
    stream.request_progress().await.unwrap();
    // Requests are served in order: what was asked before is under way when this one is there.
    stream.watch("b", None).await.unwrap();
    assert!(next(&mut stream).await.created(), "nothing is said of revision 1");
    for value in ["2", "3", "4"] {
        client.put("c", value, None).await.unwrap();
    }
    // etcd says nothing instead, until it is asked again.
    stream.request_progress().await.unwrap();
    let progress = next(&mut stream).await;
    assert!(progress.header().unwrap().revision() >= 3, "{progress:?}");
}

#[tokio::test]
async fn progress_is_never_older_than_the_event_before_it() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let mut stream = client.watch("a", None).await.unwrap();
    let (mut seen, mut told) = (0, 0);
    for value in 0..100 {
        client.put("a", value.to_string(), None).await.unwrap();
        stream.request_progress().await.unwrap();
    }
    while told < 100 {
        let reply = next(&mut stream).await;
        let revision = reply.header().unwrap().revision();
        match reply.events().last() {
            Some(last) => seen = last.kv().unwrap().mod_revision(),
            None if reply.created() => {}
            None => {
                assert!(revision >= seen, "progress to {revision} after {seen}");
                told += 1;
            }
        }
    }
}

#[tokio::test]
async fn who_asks_for_progress_again_and_again_is_not_queued_without_end() {
    if is_etcd() {
        return;
    }
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let ahead = WatchOptions::new().with_start_revision(4);
    let mut stream = client.watch("a", Some(ahead)).await.unwrap();
    assert!(next(&mut stream).await.created());
    stream.watch("b", None).await.unwrap();
    assert!(next(&mut stream).await.created());
    for _ in 0..100 {
        stream.request_progress().await.unwrap();
    }
    stream.watch("d", None).await.unwrap();
    assert!(next(&mut stream).await.created(), "nothing can be told yet");
    for value in ["2", "3", "4"] {
        client.put("c", value, None).await.unwrap();
    }
    for _ in 0..16 {
        assert_eq!(next(&mut stream).await.watch_id(), -1);
    }
    client.put("b", "5", None).await.unwrap();
    assert_eq!(next(&mut stream).await.events().len(), 1, "no more than sixteen were kept");
}

#[tokio::test]
async fn idle_watch_is_told_how_far_it_is() {
    if is_etcd() {
        // Debian's etcd has no flag for it: its ten minutes are too long for a test.
        return;
    }
    let every = ["--watch-progress-notify-interval", "300ms"];
    let cluster = Cluster::start_with(1, &every).await;
    let mut client = cluster.client().await;
    let options = WatchOptions::new().with_progress_notify();
    let mut stream = client.watch("a", Some(options)).await.unwrap();
    assert!(next(&mut stream).await.created());
    client.put("b", "v", None).await.unwrap();
    let progress = next(&mut stream).await;
    assert!(progress.events().is_empty() && !progress.canceled());
    assert_eq!((progress.watch_id(), progress.header().unwrap().revision()), (0, 2));
}

#[tokio::test]
async fn fragments_are_joined_again_by_the_client() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    for number in 0..6 {
        client.put(format!("k{number}"), vec![b'x'; 900_000], None).await.unwrap();
    }
    let options = WatchOptions::new().with_prefix().with_start_revision(2).with_fragment();
    let mut stream = client.watch("k", Some(options)).await.unwrap();
    assert!(next(&mut stream).await.created());
    let mut keys = Vec::new();
    while keys.len() < 6 {
        let reply = next(&mut stream).await;
        let bytes: usize =
            reply.events().iter().map(|event| event.kv().unwrap().value().len()).sum();
        assert!(bytes <= 1_800_000, "a fragment holds {bytes} bytes");
        keys.extend(reply.events().iter().map(|event| event.kv().unwrap().key().to_vec()));
    }
    let expected: Vec<Vec<u8>> = (0..6).map(|number| format!("k{number}").into_bytes()).collect();
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn slow_watcher_misses_nothing() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let mut stream = client.watch("k", None).await.unwrap();
    assert!(next(&mut stream).await.created());
    let lease = client.lease_grant(1000, None).await.unwrap().id();
    // Far more than any buffer between here and there holds.
    let value = vec![b'x'; 2_000];
    for _ in 0..4_000 {
        let options = PutOptions::new().with_lease(lease);
        client.put("k", value.clone(), Some(options)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut last = 1;
    while last < 4_001 {
        for event in next(&mut stream).await.events() {
            let at = event.kv().unwrap().mod_revision();
            assert_eq!(at, last + 1);
            last = at;
        }
    }
}
