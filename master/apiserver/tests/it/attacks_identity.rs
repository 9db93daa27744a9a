//! What attackers try at who they are and what they may: headers, tokens, impersonation, escalation.

use serde_json::{Value, json};

use crate::attacks::{
    JSON, JSON_PATCH, MERGE, RBAC, default_account, made, namespaces, post, user_who_may,
};
use crate::world::{World, send};

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
    default_account(&admin).await;
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

/// The claims of a token that is asked for, and the token.
async fn token_of(admin: &kube::Client, account: &str) -> (master_auth::tokens::Claims, String) {
    use base64::Engine as _;
    let path = format!("/api/v1/namespaces/default/serviceaccounts/{account}/token");
    let answer = made(admin, &path, json!({"spec": {}})).await;
    let token = answer["status"]["token"].as_str().unwrap().to_owned();
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    (serde_json::from_slice(&claims).unwrap(), token)
}

#[tokio::test]
async fn a_token_dies_with_its_account() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    made(&admin, accounts, json!({"metadata": {"name": "robot"}})).await;
    let (_, token) = token_of(&admin, "robot").await;
    let robot = world.bearer(Some(&token));
    let who = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
    assert_eq!(send(&robot, who, &[JSON], "{}").await.code, 201);
    send(&admin, &format!("DELETE {accounts}/robot"), &[], "").await;
    assert_eq!(send(&robot, who, &[JSON], "{}").await.code, 401);
    // An account of the same name is another one.
    made(&admin, accounts, json!({"metadata": {"name": "robot"}})).await;
    assert_eq!(send(&robot, who, &[JSON], "{}").await.code, 401);
    world.end().await;
}

#[tokio::test]
async fn a_token_is_good_from_its_first_second_to_its_last() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    made(&admin, accounts, json!({"metadata": {"name": "robot"}})).await;
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let ours = master_auth::tokens::Tokens::new(world.keys_pem.as_bytes(), issuer, &[]).unwrap();
    let (claims, _) = token_of(&admin, "robot").await;
    let hour = 3600;
    #[rustfmt::skip]
    let cases = [
        // not before              until                    code
        (claims.nbf,               claims.exp,              201),
        (claims.nbf - 2 * hour,    claims.nbf - hour,       401),
        (claims.nbf + hour,        claims.exp + hour,       401),
    ];
    for (nbf, exp, code) in cases {
        let token =
            ours.issue(&master_auth::tokens::Claims { nbf, exp, ..claims.clone() }).unwrap();
        let who = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
        let answer = send(&world.bearer(Some(&token)), who, &[JSON], "{}").await;
        assert_eq!(answer.code, code, "{nbf} to {exp}: {}", answer.text);
    }
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
