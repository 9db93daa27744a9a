//! The API as JSON over HTTP, asked by `curl`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::cluster::{Cluster, is_etcd};

fn curl(endpoint: &str, path: &str, body: &str) -> Command {
    let mut command = Command::new("curl");
    let url = format!("http://{endpoint}{path}");
    command.args(["-sN", "--max-time", "20", "-X", "POST", "-d", body, &url]);
    command
}

/// The HTTP status, and the answer.
fn post(endpoint: &str, path: &str, body: &str) -> (u16, Value) {
    let output = curl(endpoint, path, body).args(["-w", "\n%{http_code}"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.trim_end().rsplit_once('\n').unwrap();
    let parsed = serde_json::from_str(body.trim());
    (status.parse().unwrap(), parsed.unwrap_or_else(|_| Value::String(body.into())))
}

/// The answer, which must be one; without its header, which must say who answered.
fn ask(endpoint: &str, path: &str, body: &Value) -> Value {
    let (status, mut answer) = post(endpoint, path, &body.to_string());
    assert_eq!(status, 200, "{path} {body}: {answer}");
    if is_etcd() && path == "/v3/maintenance/defragment" {
        // It has no header there.
        return answer;
    }
    let header = answer.as_object_mut().unwrap().remove("header").unwrap();
    for field in ["cluster_id", "member_id", "revision", "raft_term"] {
        if is_etcd() && field == "revision" && path.starts_with("/v3/cluster/") {
            // That service does not say it there.
            continue;
        }
        let text = header[field].as_str().unwrap_or_default();
        assert!(text.parse::<u64>().is_ok_and(|number| number > 0), "{path}: {field} in {header}");
    }
    answer
}

/// A stream that is being read.
struct Stream {
    process: Child,
    lines: Box<dyn Iterator<Item = std::io::Result<String>>>,
}

impl Stream {
    fn open(endpoint: &str, path: &str, body: &str) -> Self {
        let mut process = curl(endpoint, path, body).stdout(Stdio::piped()).spawn().unwrap();
        let lines = Box::new(BufReader::new(process.stdout.take().unwrap()).lines());
        Self { process, lines }
    }

    fn next(&mut self) -> Value {
        let line = self.lines.next().expect("another line").unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

// `foo`, `bar` and `baz` in base64, and the end of all keys that begin with `f`.
const FOO: &str = "Zm9v";
const BAR: &str = "YmFy";
const BAZ: &str = "YmF6";
const G: &str = "Zw==";

#[tokio::test]
async fn keys_are_put_read_changed_and_deleted() {
    let cluster = Cluster::start(1).await;
    let on = cluster.members[0].endpoint();
    assert_eq!(ask(&on, "/v3/kv/put", &json!({"key": FOO, "value": BAR})), json!({}));
    let found = json!({
        "key": FOO, "value": BAR, "create_revision": "2", "mod_revision": "2", "version": "1"
    });
    let range = json!({"key": FOO});
    let one = json!({"kvs": [found], "count": "1"});
    assert_eq!(ask(&on, "/v3/kv/range", &range), one);
    let all = json!({
        "key": "AA==", "range_end": "AA==", "limit": "1", "sort_order": "DESCEND",
        "sort_target": "MOD", "serializable": true, "revision": 2
    });
    assert_eq!(ask(&on, "/v3/kv/range", &all), one);
    let count = json!({"key": "AA==", "rangeEnd": "AA==", "countOnly": true});
    assert_eq!(ask(&on, "/v3/kv/range", &count), json!({"count": "1"}));
    let again = json!({"key": FOO, "value": BAZ, "prev_kv": true});
    assert_eq!(ask(&on, "/v3/kv/put", &again), json!({"prev_kv": found}));
    let txn = json!({
        "compare": [{"key": FOO, "target": "VALUE", "value": BAZ, "result": "EQUAL"}],
        "success": [{"request_put": {"key": FOO, "value": BAR}},
                    {"request_range": {"key": FOO}}],
        "failure": [{"request_delete_range": {"key": FOO}}]
    });
    let answer = ask(&on, "/v3/kv/txn", &txn);
    assert_eq!(answer["succeeded"], json!(true));
    let kvs = &answer["responses"][1]["response_range"]["kvs"];
    assert_eq!((&kvs[0]["value"], &kvs[0]["version"]), (&json!(BAR), &json!("3")));
    let answer = ask(&on, "/v3/kv/txn", &txn);
    assert!(answer.get("succeeded").is_none(), "{answer}");
    assert_eq!(answer["responses"][0]["response_delete_range"]["deleted"], json!("1"));
    assert_eq!(ask(&on, "/v3/kv/range", &range), json!({}));
    let delete = json!({"key": FOO, "range_end": G});
    assert_eq!(ask(&on, "/v3/kv/deleterange", &delete), json!({}));
    assert_eq!(ask(&on, "/v3/kv/compaction", &json!({"revision": "4"})), json!({}));
}

#[tokio::test]
async fn refusals_are_told_in_json_with_their_codes() {
    let cluster = Cluster::start(1).await;
    let on = cluster.members[0].endpoint();
    for _ in 0..3 {
        ask(&on, "/v3/kv/put", &json!({"key": FOO, "value": BAR}));
    }
    ask(&on, "/v3/kv/compaction", &json!({"revision": 3}));
    #[rustfmt::skip]
    let cases = [
        ("/v3/kv/put",       r#"{}"#,                             400, 3,  "etcdserver: key is not provided"),
        ("/v3/kv/range",     r#""#,                               400, 3,  "etcdserver: key is not provided"),
        ("/v3/kv/range",     r#"{"key":"Zm9v","revision":"2"}"#,  400, 11, "etcdserver: mvcc: required revision has been compacted"),
        ("/v3/kv/range",     r#"{"key":"Zm9v","revision":"99"}"#, 400, 11, "etcdserver: mvcc: required revision is a future revision"),
        ("/v3/lease/revoke", r#"{"ID":"77"}"#,                    404, 5,  "etcdserver: requested lease not found"),
    ];
    for (path, body, http, code, message) in cases {
        let (status, answer) = post(&on, path, body);
        assert_eq!((status, &answer["code"]), (http, &json!(code)), "{path} {body}: {answer}");
        assert_eq!(answer["message"], json!(message), "{path} {body}");
    }
    for (broken, message) in [
        ("{", "unexpected EOF"),
        ("?", "invalid character '?' looking for beginning of value"),
        (r#"{"key":5}"#, "proto: (line 1:8): invalid value for bytes field key: 5"),
        (r#"{"key":"?"}"#, "proto: (line 1:8): invalid value for bytes field key: \"?\""),
        ("[]", "proto: syntax error (line 1:1): unexpected token ["),
    ] {
        let (status, answer) = post(&on, "/v3/kv/put", broken);
        assert_eq!((status, &answer["code"]), (400, &json!(3)), "{broken}: {answer}");
        // protobuf's library for Go puts one kind of space or another there, so that nobody compares it.
        let said = answer["message"].as_str().unwrap().replace('\u{a0}', " ").replace("  ", " ");
        assert_eq!(said, message, "{broken}");
    }
    assert_eq!(post(&on, "/v3/kv/nothing", "{}").0, 404);
}

#[tokio::test]
async fn watch_is_a_line_for_each_reply() {
    let cluster = Cluster::start(1).await;
    let on = cluster.members[0].endpoint();
    ask(&on, "/v3/kv/put", &json!({"key": FOO, "value": BAR}));
    let create = json!({"create_request": {"key": FOO, "range_end": G, "start_revision": "2"}});
    // What the client has to say ends here; what it hears goes on.
    let mut watch = Stream::open(&on, "/v3/watch", &create.to_string());
    let created = watch.next();
    assert_eq!(created["result"]["created"], json!(true), "{created}");
    let first = watch.next();
    assert_eq!(first["result"]["events"][0]["kv"]["value"], json!(BAR), "{first}");
    assert_eq!(first["result"]["header"]["revision"], json!("2"));
    ask(&on, "/v3/kv/put", &json!({"key": FOO, "value": BAZ}));
    assert_eq!(watch.next()["result"]["events"][0]["kv"]["value"], json!(BAZ));
    ask(&on, "/v3/kv/deleterange", &json!({"key": FOO}));
    let deleted = watch.next();
    let event = &deleted["result"]["events"][0];
    assert_eq!((&event["type"], &event["kv"]["key"]), (&json!("DELETE"), &json!(FOO)), "{deleted}");
}

#[tokio::test]
async fn leases_are_served_under_their_old_paths_too() {
    let cluster = Cluster::start(1).await;
    let on = cluster.members[0].endpoint();
    let granted = ask(&on, "/v3/lease/grant", &json!({"TTL": 300, "ID": "7"}));
    assert_eq!(granted, json!({"ID": "7", "TTL": "300"}));
    ask(&on, "/v3/kv/put", &json!({"key": FOO, "value": BAR, "lease": "7"}));
    for path in ["/v3/lease/timetolive", "/v3/kv/lease/timetolive"] {
        let left = ask(&on, path, &json!({"ID": "7", "keys": true}));
        assert_eq!((&left["grantedTTL"], &left["keys"]), (&json!("300"), &json!([FOO])), "{left}");
    }
    let mut kept = Stream::open(&on, "/v3/lease/keepalive", r#"{"ID":7} {"ID":"7"}"#);
    for _ in 0..2 {
        let reply = kept.next();
        assert_eq!((&reply["result"]["ID"], &reply["result"]["TTL"]), (&json!("7"), &json!("300")));
    }
    assert!(kept.lines.next().is_none(), "it ends when all is asked and answered");
    for path in ["/v3/lease/leases", "/v3/kv/lease/leases"] {
        assert_eq!(ask(&on, path, &json!({})), json!({"leases": [{"ID": "7"}]}));
    }
    assert_eq!(ask(&on, "/v3/kv/lease/revoke", &json!({"ID": 7})), json!({}));
    assert_eq!(ask(&on, "/v3/kv/range", &json!({"key": FOO})), json!({}));
}

#[tokio::test]
async fn the_group_and_its_upkeep_are_served() {
    let cluster = Cluster::start(1).await;
    let on = cluster.members[0].endpoint();
    let list = ask(&on, "/v3/cluster/member/list", &json!({}));
    let member = &list["members"][0];
    assert_eq!(member["name"], json!("m1"));
    assert_eq!(member["peerURLs"], json!([cluster.members[0].peer_url()]));
    let status = ask(&on, "/v3/maintenance/status", &json!({}));
    assert!(status["version"].as_str().unwrap().starts_with("3."), "{status}");
    assert_eq!(status["leader"], member["ID"]);
    assert_eq!(ask(&on, "/v3/maintenance/alarm", &json!({"action": "GET"})), json!({}));
    ask(&on, "/v3/maintenance/defragment", &json!({}));
    ask(&on, "/v3/kv/put", &json!({"key": FOO, "value": BAR}));
    assert!(ask(&on, "/v3/maintenance/hash", &json!({}))["hash"].is_u64());
    let (status, refused) =
        post(&on, "/v3/maintenance/transfer-leadership", r#"{"targetID":"99"}"#);
    assert_eq!((status, &refused["code"]), (400, &json!(9)), "{refused}");
    let mut snapshot = Stream::open(&on, "/v3/maintenance/snapshot", "{}");
    assert!(snapshot.next()["result"]["blob"].as_str().unwrap().len() > 16);
    if is_etcd() {
        return;
    }
    let status = ask(&on, "/v3/auth/status", &json!({}));
    assert_eq!(status, json!({"authRevision": "1"}));
    let (status, refused) = post(&on, "/v3/auth/user/add", r#"{"name":"u","password":"p"}"#);
    assert_eq!((status, &refused["code"]), (501, &json!(12)), "{refused}");
}
