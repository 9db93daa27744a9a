//! What attackers try at the API: paths, bodies, identities, escalation. Each of them once, from outside.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::world::{Answer, World, send};

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
pub(crate) const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const JSON_PATCH: (&str, &str) = ("content-type", "application/json-patch+json");
const YAML: (&str, &str) = ("content-type", "application/yaml");
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

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

/// A user who may do what `rules` say: in one namespace, or (empty) everywhere.
async fn user_who_may(world: &World, name: &str, namespace: &str, rules: Value) -> kube::Client {
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

async fn namespaces(client: &kube::Client, names: &[&str]) {
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
async fn identity_is_what_was_proven_not_what_headers_say() {
    let world = World::bootstrapped().await;
    let user = world.user("nobody-special", "people");
    let forged = [
        ("x-remote-user", "kubernetes-admin"),
        ("x-remote-group", "system:masters"),
        ("x-remote-extra-scopes", "all"),
        ("x-forwarded-user", "kubernetes-admin"),
        ("x-forwarded-client-cert", "Subject=\"O=system:masters\""),
        ("x-ssl-client-s-dn", "O=system:masters,CN=kubernetes-admin"),
        ("forwarded", "for=127.0.0.1"),
    ];
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let headers: Vec<(&str, &str)> = forged.iter().copied().chain([JSON]).collect();
    let me = send(&user, &format!("POST {who}"), &headers, "{}").await.json;
    assert_eq!(me["status"]["userInfo"]["username"], "nobody-special");
    assert_eq!(me["status"]["userInfo"]["groups"], json!(["people", "system:authenticated"]));
    assert_eq!(send(&user, "GET /api/v1/secrets", &headers, "").await.code, 403);
    world.end().await;
}

#[tokio::test]
async fn nobody_acts_as_somebody_else_without_leave() {
    let world = World::bootstrapped().await;
    let plain = world.user("plain", "people");
    let rules = json!([{"apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"], "verbs": ["impersonate"]}]);
    let friend = user_who_may(&world, "friend", "", rules).await;
    let attempts: [&[(&str, &str)]; 7] = [
        &[("impersonate-user", "kubernetes-admin")],
        &[("impersonate-user", "bob"), ("impersonate-group", "system:masters")],
        &[("impersonate-user", "bob"), ("impersonate-extra-scopes", "all")],
        &[("impersonate-user", "bob"), ("impersonate-uid", "1")],
        &[("impersonate-user", "system:serviceaccount:kube-system:x")],
        &[("impersonate-user", "system:node:n")],
        &[("impersonate-group", "system:masters")],
    ];
    for headers in attempts {
        for client in [&plain, &friend] {
            let answer = send(client, "GET /version", headers, "").await;
            let answer = if answer.code == 200 {
                send(client, "GET /api/v1/nodes", headers, "").await
            } else {
                answer
            };
            assert!(
                matches!(answer.code, 400 | 403),
                "{headers:?}: {} {}",
                answer.code,
                answer.text
            );
        }
    }
    let review = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
    let bob = send(&friend, review, &[JSON, ("impersonate-user", "bob")], "{}").await.json;
    assert_eq!(bob["status"]["userInfo"]["username"], "bob");
    world.end().await;
}

#[tokio::test]
async fn tokens_that_are_not_ours_are_nobodys() {
    use base64::Engine as _;
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    made(&admin, accounts, json!({"metadata": {"name": "robot"}})).await;
    let token = |answer: Value| answer["status"]["token"].as_str().unwrap().to_owned();
    let path = format!("{accounts}/robot/token");
    let good = token(made(&admin, &path, json!({"spec": {}})).await);
    let elsewhere = token(made(&admin, &path, json!({"spec": {"audiences": ["vault"]}})).await);
    let parts: Vec<&str> = good.split('.').collect();
    let encode = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let decode = |text: &str| {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    let (header, claims) = (decode(parts[0]), decode(parts[1]));
    let with = |field: &str, value: Value| {
        let mut claims = claims.clone();
        claims[field] = value;
        encode(claims.to_string())
    };
    let headed = |alg: &str| {
        let mut header = header.clone();
        header["alg"] = alg.into();
        encode(header.to_string())
    };
    // Another cluster's key, with our issuer.
    let pem = master_auth::tokens::generate_pem().unwrap();
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let foreign = master_auth::tokens::Tokens::new(pem.as_bytes(), issuer, &[]).unwrap();
    let foreign_claims = serde_json::from_value(claims.clone());
    let mut bad = vec![
        ("another audience", elsewhere),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("alg none", format!("{}.{}.", headed("none"), parts[1])),
        ("alg None with signature", format!("{}.{}.{}", headed("None"), parts[1], parts[2])),
        ("symmetric with the public key", format!("{}.{}.{}", headed("HS256"), parts[1], parts[2])),
        (
            "another subject",
            format!(
                "{}.{}.{}",
                parts[0],
                with("sub", json!("system:serviceaccount:kube-system:root")),
                parts[2]
            ),
        ),
        (
            "lives longer",
            format!("{}.{}.{}", parts[0], with("exp", json!(99_999_999_999_i64)), parts[2]),
        ),
        ("cut", good[..good.len() - 6].to_owned()),
        ("two in one", format!("{good}.{good}")),
        ("empty parts", "..".to_owned()),
    ];
    if let Ok(claims) = foreign_claims {
        bad.push(("foreign key", foreign.issue(&claims).unwrap()));
    }
    let who = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
    let seen = send(&world.bearer(Some(&good)), who, &[JSON], "{}").await;
    assert_eq!(seen.code, 201, "{}", seen.text);
    for (name, token) in bad {
        let answer = send(&world.bearer(Some(&token)), who, &[JSON], "{}").await;
        assert_eq!(answer.code, 401, "{name}: {}", answer.text);
        assert!(!answer.text.contains(&token), "{name}: the token is not repeated");
    }
    world.end().await;
}

#[tokio::test]
async fn a_token_dies_with_the_pod_it_is_bound_to() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    made(
        &admin,
        "/api/v1/namespaces/default/serviceaccounts",
        json!({"metadata": {"name": "default"}}),
    )
    .await;
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pod = made(&admin, "/api/v1/namespaces/default/pods", pod).await;
    let asked = json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"]}}});
    let token =
        made(&admin, "/api/v1/namespaces/default/serviceaccounts/default/token", asked).await;
    let holder = world.bearer(token["status"]["token"].as_str());
    let who = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
    assert_eq!(send(&holder, who, &[JSON], "{}").await.code, 201);
    send(&admin, "DELETE /api/v1/namespaces/default/pods/p?gracePeriodSeconds=0", &[], "").await;
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    made(&admin, "/api/v1/namespaces/default/pods", pod).await;
    // A pod of the same name is another one.
    assert_eq!(send(&holder, who, &[JSON], "{}").await.code, 401);
    world.end().await;
}

#[tokio::test]
async fn nobody_hands_out_more_than_they_hold() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    namespaces(&admin, &["a"]).await;
    let rules = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create", "update", "patch", "get"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
    ]);
    let user = user_who_may(&world, "climber", "a", rules).await;
    let scope = format!("{RBAC}/namespaces/a");
    let role = |verbs: Value| json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]});
    made(&user, &format!("{scope}/roles"), role(json!(["get"]))).await;
    let greedy = role(json!(["get", "delete"]));
    let merge = json!({"rules": greedy["rules"]}).to_string();
    let add = json!([{"op": "add", "path": "/rules/0/verbs/-", "value": "*"}]).to_string();
    let other = json!({"metadata": {"name": "new"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    let bind = |name: &str, kind: &str, to: &str| {
        json!({"metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": to},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "climber"}]})
    };
    made(&user, &format!("{scope}/rolebindings"), bind("own", "Role", "r")).await;
    let cases = [
        (format!("PUT {scope}/roles/r"), JSON, greedy.to_string()),
        (format!("PATCH {scope}/roles/r"), MERGE, merge),
        (format!("PATCH {scope}/roles/r"), JSON_PATCH, add),
        (format!("POST {scope}/roles"), JSON, other.to_string()),
        // An update that creates is a creation.
        (format!("PUT {scope}/roles/new"), JSON, other.to_string()),
        (
            format!("POST {scope}/rolebindings"),
            JSON,
            bind("up", "ClusterRole", "cluster-admin").to_string(),
        ),
        (
            format!("PUT {scope}/rolebindings/up"),
            JSON,
            bind("up", "ClusterRole", "edit").to_string(),
        ),
        (
            format!("POST {RBAC}/clusterrolebindings"),
            JSON,
            bind("up", "ClusterRole", "cluster-admin").to_string(),
        ),
    ];
    for (line, media, body) in cases {
        let answer = send(&user, &line, &[media], body).await;
        assert_eq!(answer.code, 403, "{line}: {}", answer.text);
    }
    // The role is what it was.
    let kept = send(&user, &format!("GET {scope}/roles/r"), &[], "").await.json;
    assert_eq!(kept["rules"][0]["verbs"], json!(["get"]));
    world.end().await;
}

#[tokio::test]
async fn a_label_does_not_lift_a_role_into_another() {
    let world = World::bootstrapped().await;
    let rules = json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["create", "patch", "update", "get"]}]);
    let user = user_who_may(&world, "labeller", "", rules).await;
    let label = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let role = json!({"metadata": {"name": "sneaky", "labels": label},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}]});
    assert_eq!(post(&user, &format!("{RBAC}/clusterroles"), role).await.code, 403);
    let aggregated = json!({"metadata": {"name": "all"}, "aggregationRule": {"clusterRoleSelectors": [{"matchExpressions": []}]}, "rules": []});
    assert_eq!(post(&user, &format!("{RBAC}/clusterroles"), aggregated).await.code, 403);
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
    made(
        &admin,
        "/api/v1/namespaces/default/serviceaccounts",
        json!({"metadata": {"name": "default"}}),
    )
    .await;
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
        assert!(answer.text.contains("is not allowed as a backend"), "{address}: {}", answer.text);
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
