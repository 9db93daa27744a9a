//! What attackers try at the API: paths, bodies, floods, policies, secrets. Each of them once, from outside.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::world::{Answer, World, send};

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
pub(crate) const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
pub(crate) const JSON_PATCH: (&str, &str) = ("content-type", "application/json-patch+json");
const YAML: (&str, &str) = ("content-type", "application/yaml");
pub(crate) const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Sends a body; says with which code it was answered.
pub(crate) async fn post(client: &kube::Client, path: &str, body: Value) -> Answer {
    send(client, &format!("POST {path}"), &[JSON], body.to_string()).await
}

/// Sends a body that must be taken.
pub(crate) async fn made(client: &kube::Client, path: &str, body: Value) -> Value {
    let answer = post(client, path, body).await;
    assert_eq!(answer.code, 201, "{path}: {}", answer.text);
    answer.json
}

/// What pods of the default namespace run as; a controller makes it in a cluster.
pub(crate) async fn default_account(admin: &kube::Client) {
    let account = json!({"metadata": {"name": "default"}});
    made(admin, "/api/v1/namespaces/default/serviceaccounts", account).await;
}

/// A user who may do what `rules` say: in one namespace, or (empty) everywhere.
pub(crate) async fn user_who_may(
    world: &World,
    name: &str,
    namespace: &str,
    rules: Value,
) -> kube::Client {
    let admin = world.admin();
    let (scope, role, binding) = if namespace.is_empty() {
        (RBAC.to_owned(), "clusterroles", "clusterrolebindings")
    } else {
        (format!("{RBAC}/namespaces/{namespace}"), "roles", "rolebindings")
    };
    let kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
    made(&admin, &format!("{scope}/{role}"), json!({"metadata": {"name": name}, "rules": rules}))
        .await;
    let bound = json!({"metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}]});
    made(&admin, &format!("{scope}/{binding}"), bound).await;
    world.user(name, "people")
}

pub(crate) async fn namespaces(client: &kube::Client, names: &[&str]) {
    for name in names {
        made(client, "/api/v1/namespaces", json!({"metadata": {"name": name}})).await;
    }
}

/// Everything there is, in one namespace.
fn everything() -> Value {
    json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn cluster_wide_kinds_are_not_reached_through_a_namespace() {
    let world = World::bootstrapped().await;
    namespaces(&world.admin(), &["a"]).await;
    let owner = user_who_may(&world, "owner", "a", everything()).await;
    let groups = send(&world.admin(), "GET /apis", &[], "").await.json;
    let mut bases = vec!["/api/v1".to_owned()];
    for group in groups["groups"].as_array().unwrap() {
        let version = group["preferredVersion"]["groupVersion"].as_str().unwrap();
        bases.push(format!("/apis/{version}"));
    }
    let mut tried = 0;
    for base in bases {
        let resources = send(&world.admin(), &format!("GET {base}"), &[], "").await.json;
        for resource in resources["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            let is_read = resource["verbs"].as_array().unwrap().contains(&json!("list"));
            if resource["namespaced"] != false || !is_read {
                continue;
            }
            for path in [
                format!("{base}/namespaces/a/{name}"),
                format!("{base}/namespaces/a/{name}/x"),
                format!("{base}/{name}"),
            ] {
                let answer = send(&owner, &format!("GET {path}"), &[], "").await;
                assert!(matches!(answer.code, 403 | 404), "{path}: {}", answer.text);
                assert!(answer.json["items"].is_null(), "{path}");
                tried += 1;
            }
        }
    }
    assert!(tried > 50, "{tried} paths tried");
    world.end().await;
}

#[tokio::test]
async fn no_path_leaves_its_namespace() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    namespaces(&admin, &["a", "b"]).await;
    made(
        &admin,
        "/api/v1/namespaces/b/secrets",
        json!({"metadata": {"name": "s"}, "stringData": {"k": "hidden"}}),
    )
    .await;
    let owner = user_who_may(&world, "owner", "a", everything()).await;
    for path in [
        "/api/v1/namespaces/a/../b/secrets/s",
        "/api/v1/namespaces/a/%2e%2e/b/secrets/s",
        "/api/v1/namespaces/a/secrets/..%2f..%2fb%2fsecrets%2fs",
        "/api/v1/namespaces/a/secrets/%2e%2e",
        "/api/v1/namespaces/a%2f..%2fb/secrets/s",
        "/api/v1/namespaces/a%00b/secrets/s",
        "/api/v1/namespaces/a/secrets/b%2Fs",
        "/api/v1/namespaces/a//secrets/s",
        "/api/v1/namespaces/a/configmaps/../../b/secrets/s",
        "/api/v1//namespaces/b/secrets/s",
        "//api/v1/namespaces/b/secrets/s",
        "/api/v1/namespaces/b;a/secrets/s",
        "/API/v1/namespaces/b/secrets/s",
        "/api/v1/namespaces/a/pods/x/proxy/../../../../b/secrets/s",
        "/livez/../api/v1/namespaces/b/secrets/s",
        "/version/../api/v1/namespaces/b/secrets/s",
        "/healthz/%2e%2e/api/v1/namespaces/b/secrets/s",
    ] {
        let answer = send(&owner, &format!("GET {path}"), &[], "").await;
        assert!(
            !answer.text.contains("aGlkZGVu") && answer.json["kind"] != "Secret",
            "{path}: {}",
            answer.text
        );
    }
    world.end().await;
}

#[tokio::test]
async fn a_name_that_begins_like_another_is_another() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    namespaces(&admin, &["a", "ab", "a-b"]).await;
    for namespace in ["a", "ab", "a-b"] {
        let map = json!({"metadata": {"name": format!("of-{namespace}")}});
        made(&admin, &format!("/api/v1/namespaces/{namespace}/configmaps"), map).await;
    }
    let template = json!({"metadata": {"name": "t"}, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}});
    made(&admin, "/api/v1/namespaces/a/podtemplates", template).await;
    let owner = user_who_may(&world, "owner", "a", everything()).await;
    let maps = send(&owner, "GET /api/v1/namespaces/a/configmaps", &[], "").await.json;
    assert_eq!(names(&maps), ["of-a"]);
    // Neither does a page that begins at a forged place leave the namespace.
    use base64::Engine as _;
    let encode =
        |token: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token.to_string());
    for after in ["", "/", "a", "0", "../core/secrets"] {
        let token = encode(json!({"rv": -1, "after": after}));
        let line = format!("GET /api/v1/namespaces/a/configmaps?limit=50&continue={token}");
        let page = send(&owner, &line, &[], "").await;
        assert!(names(&page.json).iter().all(|name| *name == "of-a"), "{after}: {}", page.text);
    }
    let pods = send(&owner, "GET /api/v1/namespaces/a/pods", &[], "").await.json;
    assert_eq!(names(&pods), [""; 0], "pods are not podtemplates");
    world.end().await;
}

#[tokio::test]
async fn a_selector_gives_no_more_than_the_name_that_was_allowed() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    namespaces(&admin, &["a"]).await;
    for name in ["allowed", "forbidden"] {
        let secret = json!({"metadata": {"name": name}, "stringData": {"k": name}});
        made(&admin, "/api/v1/namespaces/a/secrets", secret).await;
    }
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["allowed"],
        "verbs": ["get", "list", "watch", "deletecollection"]}]);
    let user = user_who_may(&world, "limited", "a", rules).await;
    let secrets = "/api/v1/namespaces/a/secrets";
    let allowed =
        send(&user, &format!("GET {secrets}?fieldSelector=metadata.name%3Dallowed"), &[], "").await;
    assert_eq!((allowed.code, names(&allowed.json)), (200, vec!["allowed"]));
    for selector in [
        "",
        "metadata.name!=allowed",
        "metadata.name=forbidden",
        "type!=x\\,metadata.name=allowed",
        "metadata.name=allowed,metadata.name!=allowed",
        "metadata.name=allowed,metadata.name=forbidden",
        "metadata.name==allowed,metadata.name==forbidden",
    ] {
        let encoded: String = selector.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for line in [
            format!("GET {secrets}?fieldSelector={encoded}"),
            format!("DELETE {secrets}?dryRun=All&fieldSelector={encoded}"),
        ] {
            let answer = send(&user, &line, &[], "").await;
            assert!(!names(&answer.json).contains(&"forbidden"), "{line}: {}", answer.text);
        }
    }
    world.end().await;
}

#[tokio::test]
async fn bodies_that_grow_when_they_are_read_are_refused_at_once() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let maps = "POST /api/v1/namespaces/default/configmaps";
    let mut aliases = "metadata: {name: x}\na: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (new, old) in ["b", "c", "d", "e", "f", "g", "h", "i"]
        .iter()
        .zip(["a", "b", "c", "d", "e", "f", "g", "h"])
    {
        let many = vec![format!("*{old}"); 10].join(",");
        aliases += &format!("{new}: &{new} [{many}]\n");
    }
    let nested = |open: &str, close: &str, depth: usize| open.repeat(depth) + &close.repeat(depth);
    let deep_yaml: String = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let large = format!(
        "{{\"metadata\":{{\"name\":\"x\"}},\"data\":{{\"k\":\"{}\"}}}}",
        "x".repeat(4 << 20)
    );
    let cases = [
        (JSON, nested("[", "]", 100_000), 400),
        (JSON, nested("{\"a\":", "}", 100_000), 400),
        (
            JSON,
            format!("{{\"metadata\":{{\"name\":\"x\"}},\"z\":{}}}", nested("[", "]", 50_000)),
            400,
        ),
        (JSON, "{\"metadata\":{\"name\":\"x\"},\"z\":1e999999999}".to_owned(), 400),
        (JSON, large, 413),
        (YAML, aliases, 400),
        (YAML, nested("[", "]", 50_000), 400),
        (YAML, deep_yaml, 400),
        (YAML, "a: &a [*a]".to_owned(), 400),
    ];
    for (media, body, code) in cases {
        let head: String = body.chars().take(40).collect();
        let began = Instant::now();
        let answer = send(&admin, maps, &[media], body).await;
        assert_eq!(
            (answer.code, &answer.json["kind"]),
            (code, &json!("Status")),
            "{head}: {}",
            answer.text
        );
        assert!(began.elapsed() < Duration::from_secs(5), "{head} took {:?}", began.elapsed());
    }
    assert_eq!(send(&admin, "GET /readyz", &[], "").await.code, 200);
    world.end().await;
}

#[tokio::test]
async fn patches_that_multiply_are_refused() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let text = "x".repeat(100_000);
    let map = json!({"metadata": {"name": "m"}, "data": {"k": text}});
    made(&admin, "/api/v1/namespaces/default/configmaps", map).await;
    let line = "PATCH /api/v1/namespaces/default/configmaps/m";
    let many: Vec<Value> =
        (0..10_001).map(|_| json!({"op": "test", "path": "/kind", "value": "ConfigMap"})).collect();
    let copies: Vec<Value> = (0..9_000)
        .map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/c{n}")}))
        .collect();
    for (patch, text) in [(many, "10000"), (copies, "copy")] {
        let began = Instant::now();
        let answer = send(&admin, line, &[JSON_PATCH], Value::from(patch).to_string()).await;
        assert!(matches!(answer.code, 413 | 422), "{}", answer.text);
        assert!(answer.text.contains(text), "{}", answer.text);
        assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    }
    // What comes of a patch is bounded as what is sent is.
    let grown = json!({"data": {"a": "y".repeat(1_000_000)}}).to_string();
    assert_eq!(send(&admin, line, &[MERGE], grown).await.code, 422);
    world.end().await;
}

#[tokio::test]
async fn floods_of_headers_end_their_own_connection_only() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let long = "x".repeat(2_000_000);
    let request = http::Request::get("/livez").header("x-flood", &long);
    let flooded = admin.send(request.body(kube::client::Body::empty()).unwrap()).await;
    let is_refused = flooded.map_or(true, |answer| answer.status().as_u16() == 431);
    assert!(is_refused, "two megabytes of headers were taken");
    assert_eq!(send(&world.admin(), "GET /livez", &[], "").await.code, 200);
    world.end().await;
}

#[tokio::test]
async fn pod_security_holds_for_every_way_to_change_a_pod() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    made(&admin, "/api/v1/namespaces", json!({"metadata": {"name": "safe", "labels": labels}}))
        .await;
    made(
        &admin,
        "/api/v1/namespaces/safe/serviceaccounts",
        json!({"metadata": {"name": "default"}}),
    )
    .await;
    let context = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let pod = |extra: Value| {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "image": "i", "securityContext": context}]}});
        for (key, value) in extra.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        pod
    };
    let pods = "/api/v1/namespaces/safe/pods";
    let privileged = json!({"name": "evil", "image": "i", "securityContext": {"privileged": true}});
    for extra in [
        json!({"hostPID": true}),
        json!({"hostNetwork": true}),
        json!({"initContainers": [privileged]}),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
        json!({"securityContext": {"runAsNonRoot": true, "sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}),
    ] {
        let answer = post(&admin, pods, pod(extra.clone())).await;
        assert_eq!(answer.code, 403, "{extra}: {}", answer.text);
    }
    made(&admin, pods, pod(json!({}))).await;
    let ephemeral = json!({"spec": {"ephemeralContainers": [privileged]}}).to_string();
    let strategic = ("content-type", "application/strategic-merge-patch+json");
    let line = format!("PATCH {pods}/p/ephemeralcontainers");
    let answer = send(&admin, &line, &[strategic], ephemeral.clone()).await;
    assert_eq!(answer.code, 403, "{}", answer.text);
    // Through the pod itself they do not come in at all.
    send(&admin, &format!("PATCH {pods}/p"), &[strategic], ephemeral).await;
    let kept = send(&admin, &format!("GET {pods}/p"), &[], "").await.json;
    assert_eq!(kept["spec"]["ephemeralContainers"], Value::Null);
    let resize = json!({"spec": {"containers": [{"name": "c", "securityContext": {"privileged": true}, "resources": {"limits": {"cpu": "1"}}}]}});
    send(&admin, &format!("PATCH {pods}/p/resize"), &[strategic], resize.to_string()).await;
    let status = json!({"spec": {"hostPID": true}, "status": {"phase": "Running"}});
    send(&admin, &format!("PATCH {pods}/p/status"), &[MERGE], status.to_string()).await;
    let kept = send(&admin, &format!("GET {pods}/p"), &[], "").await.json;
    assert_eq!(kept["spec"]["containers"][0]["securityContext"], context);
    assert_eq!(kept["spec"]["hostPID"], Value::Null);
    world.end().await;
}

#[tokio::test]
async fn no_refusal_repeats_a_secret() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let secrets = "/api/v1/namespaces/default/secrets";
    let hidden = "hunter2-hunter2";
    let encoded = "aHVudGVyMi1odW50ZXIy";
    let of = |name: &str, fields: Value| {
        let mut secret = json!({"metadata": {"name": name}});
        secret.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        secret
    };
    let kept = of("s", json!({"immutable": true, "data": {"k": encoded}}));
    made(&admin, secrets, kept).await;
    let other = format!("{hidden}-and-more");
    let changed = of("s", json!({"immutable": true, "stringData": {"k": other}}));
    let bodies = [
        (format!("POST {secrets}"), of("x", json!({"data": {"k": format!("{hidden}!!")}}))),
        (format!("POST {secrets}"), of("x", json!({"data": {hidden: 5}}))),
        (
            format!("POST {secrets}"),
            of("x", json!({"type": "kubernetes.io/tls", "stringData": {"tls.crt": hidden}})),
        ),
        (
            format!("POST {secrets}"),
            of(
                "x",
                json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": encoded}}),
            ),
        ),
        (format!("POST {secrets}"), of("s", json!({"data": {"k": encoded}}))),
        (format!("PUT {secrets}/s"), changed),
        (format!("POST {secrets}"), of("x", json!({"data": {"k": encoded.repeat(100_000)}}))),
    ];
    for (line, body) in bodies {
        let answer = send(&admin, &line, &[JSON], body.to_string()).await;
        assert!(answer.code >= 400, "{line}: {}", answer.text);
        let repeated = answer.text.contains(&encoded[..10])
            || (answer.text.contains(hidden)
                && !body["data"].to_string().starts_with("{\"hunter2"));
        assert!(!repeated, "{line}: {}", answer.text);
    }
    let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let rows = send(&admin, &format!("GET {secrets}"), &[table], "").await;
    assert!(!rows.text.contains(encoded), "a table shows how many, not what");
    world.end().await;
}

#[tokio::test]
async fn nothing_is_proxied_to_the_masters_own_machine() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    default_account(&admin).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}});
    made(&admin, pods, pod).await;
    for address in [
        "127.0.0.1",
        "127.8.8.8",
        "169.254.169.254",
        "0.0.0.0",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "fe80::1",
        "224.0.0.1",
    ] {
        let status = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}}).to_string();
        let patched = send(&admin, &format!("PATCH {pods}/p/status"), &[MERGE], status).await;
        if patched.code != 200 {
            continue;
        }
        let answer = send(&admin, &format!("GET {pods}/p:1/proxy/latest/meta-data"), &[], "").await;
        assert_eq!(answer.code, 400, "{address}: {}", answer.text);
        assert!(answer.text.contains("address not allowed"), "{address}: {}", answer.text);
    }
    world.end().await;
}

#[tokio::test]
async fn endpoints_do_not_point_at_whoever_reads_them() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    for (family, address) in [
        ("IPv4", "127.0.0.1"),
        ("IPv4", "169.254.169.254"),
        ("IPv4", "0.0.0.0"),
        ("IPv4", "localhost"),
        ("IPv6", "::1"),
        ("IPv6", "fe80::1"),
        ("IPv6", "::ffff:127.0.0.1"),
        ("IPv6", "::ffff:169.254.169.254"),
    ] {
        let slice = json!({"metadata": {"name": "s"}, "addressType": family,
            "endpoints": [{"addresses": [address]}], "ports": [{"port": 80}]});
        let answer =
            post(&admin, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice)
                .await;
        assert_eq!(answer.code, 422, "{address}: {}", answer.text);
        let endpoints = json!({"metadata": {"name": "e"}, "subsets": [{"addresses": [{"ip": address}], "ports": [{"port": 80}]}]});
        let answer = post(&admin, "/api/v1/namespaces/default/endpoints", endpoints).await;
        assert_eq!(answer.code, 422, "{address}: {}", answer.text);
    }
    world.end().await;
}

#[tokio::test]
async fn streams_that_are_reset_at_once_do_not_stop_the_server() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let began = Instant::now();
    // Each is dropped before its answer comes: a reset on the wire.
    for _ in 0..3_000 {
        let request = http::Request::get("/api/v1/namespaces").body(kube::client::Body::empty());
        let sent = tokio::time::timeout(Duration::from_micros(50), admin.send(request.unwrap()));
        drop(sent.await);
    }
    let answer = send(&world.admin(), "GET /api/v1/namespaces", &[], "").await;
    assert_eq!(answer.code, 200);
    assert!(began.elapsed() < Duration::from_secs(30), "took {:?}", began.elapsed());
    world.end().await;
}
