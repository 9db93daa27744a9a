//! Who may ask over plain HTTP, and where.

use std::process::Command;

use crate::cluster::{Cluster, free_port, is_etcd};

/// The head and body of an answer to `curl` with these arguments.
fn curl(endpoint: &str, path: &str, args: &[&str]) -> String {
    let url = format!("http://{endpoint}{path}");
    let output = Command::new("curl").args(["-s", "-i"]).args(args).arg(&url).output().unwrap();
    String::from_utf8(output.stdout).unwrap().to_lowercase()
}

const PUT: [&str; 2] = ["-d", r#"{"key":"Zm9v"}"#];

#[tokio::test]
async fn pages_of_any_origin_may_ask_unless_told_otherwise() {
    let cluster = Cluster::start(1).await;
    let on = cluster.members[0].endpoint();
    for (path, args) in
        [("/v3/kv/put", &PUT[..]), ("/health", &[]), ("/nothing", &["-X", "OPTIONS"])]
    {
        let answer = curl(&on, path, args);
        assert!(answer.starts_with("http/1.1 200"), "{path}: {answer}");
        for head in [
            "access-control-allow-origin: *\r\n",
            "access-control-allow-methods: post, get, options, put, delete\r\n",
            "access-control-allow-headers: accept, content-type, authorization\r\n",
        ] {
            assert!(answer.contains(head), "{path}: {answer}");
        }
    }
    for path in ["/health", "/version", "/livez"] {
        let answer = curl(&on, path, &["-I"]);
        assert!(
            answer.starts_with("http/1.1 405") && answer.contains("allow: get\r\n"),
            "{answer}"
        );
    }
    assert!(curl(&on, "/metrics", &["-I"]).starts_with("http/1.1 200"));
    assert!(curl(&on, "/v3beta/kv/put", &PUT).starts_with("http/1.1 200"));
    assert!(curl(&on, "/v3alpha/kv/put", &PUT).starts_with("http/1.1 404"));

    let flags = ["--cors=http://a.example:80", "--host-whitelist=localhost,127.0.0.1"];
    let cluster = Cluster::start_with(1, &flags).await;
    let on = cluster.members[0].endpoint();
    let said = curl(&on, "/health", &["-H", "Origin: http://a.example:80"]);
    assert!(said.contains("access-control-allow-origin: http://a.example:80\r\n"), "{said}");
    let said = curl(&on, "/health", &["-H", "Origin: http://b.example:80"]);
    assert!(!said.contains("access-control"), "{said}");
    assert!(curl(&on, "/health", &["-H", "Host: b.example"]).starts_with("http/1.1 421"));
}

#[tokio::test]
async fn plain_http_may_have_a_port_of_its_own() {
    let http = format!("127.0.0.1:{}", free_port());
    let flag = format!("--listen-client-http-urls=http://{http}");
    let cluster = Cluster::start_with(1, &[&flag]).await;
    assert!(curl(&http, "/v3/kv/put", &PUT).starts_with("http/1.1 200"));
    assert!(curl(&http, "/health", &[]).starts_with("http/1.1 200"));
    let on = cluster.members[0].endpoint();
    assert!(!curl(&on, "/health", &[]).starts_with("http/1.1 200"));
    // The client that has found it ready speaks gRPC.
    cluster.client().await.put("k", "v", None).await.unwrap();
}

#[tokio::test]
async fn a_member_is_configured_by_a_file() {
    let mut cluster = Cluster::start(1).await;
    cluster.client().await.put("k", "v", None).await.unwrap();
    let member = &mut cluster.members[0];
    assert!(member.stop());
    let (data, client, peer) =
        (member.data_dir(&cluster.dir), member.endpoint(), member.peer_url());
    let text = format!(
        "name: m1
data-dir: {}
enable-grpc-gateway: false
listen-client-urls: http://{client}
advertise-client-urls: http://{client}
listen-peer-urls: {peer}
initial-advertise-peer-urls: {peer}
initial-cluster: m1={peer}
initial-cluster-state: new
strict-reconfig-check: true
force-new-cluster: false
grpc-keepalive-interval: 60000000000
log-level: warn
client-transport-security:
  cert-file:
  client-cert-auth: false
",
        data.display()
    );
    let path = cluster.dir.path().join("etcd.yml");
    std::fs::write(&path, text).unwrap();
    let member = &mut cluster.members[0];
    // What it would be told otherwise is passed over.
    member.only_args(&["--config-file", path.to_str().unwrap(), "--name", "other"]);
    member.start();
    cluster.ready(0).await;
    let found = cluster.client().await.get("k", None).await.unwrap();
    assert_eq!(found.kvs()[0].value(), b"v");
    if !is_etcd() {
        assert!(curl(&client, "/v3/kv/put", &PUT).starts_with("http/1.1 404"));
    }
}
