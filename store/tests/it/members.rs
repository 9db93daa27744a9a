//! Members that come, move, and go.

use etcd_client::{Client, MemberAddOptions};

use crate::cluster::{Cluster, Member, eventually, initial, is_etcd, refusal};

async fn id_of(client: &mut Client, name: &str) -> u64 {
    let list = client.member_list().await.unwrap();
    let found = list.members().iter().find(|member| member.name() == name);
    found.map_or(0, etcd_client::Member::id)
}

#[tokio::test]
async fn members_are_listed_with_their_urls() {
    let cluster = Cluster::start(3).await;
    let mut client = cluster.client_of(2).await;
    let is_told = async || {
        let list = client.member_list().await.unwrap();
        list.members().iter().all(|member| !member.client_urls().is_empty())
    };
    eventually("all have said where they are", is_told).await;
    let list = client.member_list().await.unwrap();
    let mut found: Vec<_> = list
        .members()
        .iter()
        .map(|member| {
            let urls = (member.peer_urls().to_vec(), member.client_urls().to_vec());
            (member.name().to_owned(), urls, member.is_learner())
        })
        .collect();
    found.sort();
    let mut expected: Vec<_> = cluster
        .members
        .iter()
        .map(|member| {
            let client = vec![format!("http://{}", member.endpoint())];
            (member.name.clone(), (vec![member.peer_url()], client), false)
        })
        .collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn member_is_added_joins_votes_and_is_removed() {
    let mut cluster = Cluster::start(1).await;
    let mut client = cluster.client_of(0).await;
    client.put("k", "v", None).await.unwrap();
    let mut joiner = Member::new("m2");
    let added = client.member_add([joiner.peer_url()], None).await.unwrap();
    let id = added.member().unwrap().id();
    assert_eq!(added.member_list().len(), 2);
    assert_eq!(added.member().unwrap().name(), "");
    joiner.flags(
        &cluster.dir,
        &format!("{},m2={}", initial(&cluster.members), joiner.peer_url()),
        "existing",
    );
    joiner.start();
    cluster.members.push(joiner);
    cluster.ready(1).await;
    let mut other = cluster.client_of(1).await;
    assert_eq!(other.get("k", None).await.unwrap().kvs()[0].value(), b"v");
    eventually("it is known by its name", async || id_of(&mut client, "m2").await == id).await;
    other.put("k", "w", None).await.unwrap();

    let taken = "FailedPrecondition: etcdserver: Peer URLs already exists";
    let again = client.member_add([cluster.members[1].peer_url()], None).await;
    if !is_etcd() {
        // etcd would first want more members to be up.
        assert_eq!(refusal(again), taken);
    }
    let unknown = "NotFound: etcdserver: member not found";
    assert_eq!(refusal(client.member_remove(99).await), unknown);
    assert_eq!(refusal(client.member_update(99, ["http://127.0.0.1:1".to_owned()]).await), unknown);
    // etcd wants all members to have been connected for a while.
    let mut left = 0;
    eventually("it is removed", async || {
        let removed = client.member_remove(id).await;
        left = removed.as_ref().map_or(0, |removed| removed.members().len());
        removed.is_ok()
    })
    .await;
    assert_eq!(left, 1);
    cluster.members[1].kill();
    eventually("the rest goes on", async || client.put("k", "x", None).await.is_ok()).await;
}

#[tokio::test]
async fn learner_stays_one_until_it_is_promoted() {
    let mut cluster = Cluster::start(1).await;
    let mut client = cluster.client_of(0).await;
    let mut joiner = Member::new("m2");
    let options = MemberAddOptions::new().with_is_learner();
    let added = client.member_add([joiner.peer_url()], Some(options)).await.unwrap();
    let id = added.member().unwrap().id();
    assert!(added.member().unwrap().is_learner());
    let not_ready = "FailedPrecondition: etcdserver: can only promote a learner member which is in sync with leader";
    assert_eq!(refusal(client.member_promote(id).await), not_ready);
    joiner.flags(
        &cluster.dir,
        &format!("{},m2={}", initial(&cluster.members), joiner.peer_url()),
        "existing",
    );
    joiner.start();
    cluster.members.push(joiner);
    eventually("it is known by its name", async || id_of(&mut client, "m2").await == id).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let list = client.member_list().await.unwrap();
    let is_learner = |list: &[etcd_client::Member]| {
        list.iter().find(|member| member.id() == id).unwrap().is_learner()
    };
    assert!(is_learner(list.members()), "promoted unasked");
    eventually("it is promoted", async || client.member_promote(id).await.is_ok()).await;
    let list = client.member_list().await.unwrap();
    assert!(!is_learner(list.members()));
    let voter = "FailedPrecondition: etcdserver: can only promote a learner member";
    let again = refusal(client.member_promote(id).await);
    // etcd looks first at how far it is, and of a voter it does not know.
    assert!(again == voter || is_etcd() && again == not_ready, "{again}");
}

#[tokio::test]
async fn member_listens_for_others_on_every_url_that_is_given() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut members: Vec<Member> = (1..=2).map(|n| Member::new(&format!("m{n}"))).collect();
    // The second is known under an address that is not the first it listens on.
    let also = format!("http://127.0.0.1:{}", crate::cluster::free_port());
    let listen = format!("{also},{}", members[1].peer_url());
    let all = initial(&members);
    for member in &mut members {
        member.flags(&dir, &all, "new");
    }
    members[1].replace_flag("--listen-peer-urls", &listen);
    members.iter_mut().for_each(Member::start);
    let cluster = Cluster { members, dir };
    cluster.ready(0).await;
    cluster.client_of(0).await.put("k", "v", None).await.unwrap();
    let address = also.trim_start_matches("http://").to_owned();
    tokio::net::TcpStream::connect(address).await.unwrap();
}
