//! Tokens that must not verify, and requests that must not be answered.

use serde_json::{Value, json};

use super::*;
use crate::fixture::{Objects, core, identity, pod};

const NOW_S: i64 = 1_800_000_000;

fn tokens() -> Tokens {
    Tokens::new(generate_pem().unwrap().as_bytes(), "https://issuer", &["api".to_owned()]).unwrap()
}

fn claims() -> Claims {
    Claims {
        aud: vec!["api".into()],
        exp: NOW_S + 600,
        iat: NOW_S,
        nbf: NOW_S,
        sub: "system:serviceaccount:a:runner".into(),
        kubernetes: Bound {
            namespace: "a".into(),
            serviceaccount: Reference { name: "runner".into(), uid: "u".into() },
            ..Bound::default()
        },
        ..Claims::default()
    }
}

/// A token with a header and claims of an attacker's choice, signed (or not) by `signature`.
fn forged(header: &Value, claims: &Claims, signature: &[u8]) -> String {
    let part = |value: Vec<u8>| URL_SAFE_NO_PAD.encode(value);
    let body = serde_json::to_vec(claims).unwrap();
    format!(
        "{}.{}.{}",
        part(serde_json::to_vec(header).unwrap()),
        part(body),
        part(signature.to_vec())
    )
}

#[test]
fn only_whole_current_tokens_of_ours_verify() {
    let tokens = tokens();
    let verify = |claims: &Claims, now_s: i64| {
        tokens.verify(&tokens.issue(claims).unwrap(), &[], now_s).is_ok()
    };
    let table = [
        ("good", claims(), NOW_S, true),
        ("at its end", claims(), NOW_S + 600, false),
        ("before its time", Claims { nbf: NOW_S + 61, ..claims() }, NOW_S, false),
        ("within the clocks' difference", Claims { nbf: NOW_S + 60, ..claims() }, NOW_S, true),
        ("issued in the future", Claims { iat: NOW_S + 3600, ..claims() }, NOW_S, false),
        ("other audience", Claims { aud: vec!["vault".into()], ..claims() }, NOW_S, false),
        ("no audience", Claims { aud: vec![], ..claims() }, NOW_S, false),
        ("no account", Claims { kubernetes: Bound::default(), ..claims() }, NOW_S, false),
    ];
    for (what, claims, now_s, expected) in table {
        assert_eq!(verify(&claims, now_s), expected, "{what}");
    }
}

#[test]
fn foreign_and_forged_tokens_are_refused() {
    let tokens = tokens();
    let good = tokens.issue(&claims()).unwrap();
    let own = Claims { iss: "https://issuer".into(), ..claims() };
    let (message, signature) = good.rsplit_once('.').unwrap();
    let tampered = {
        let (header, _) = message.split_once('.').unwrap();
        let other = Claims { sub: "system:serviceaccount:kube-system:root".into(), ..own.clone() };
        format!(
            "{header}.{}.{signature}",
            URL_SAFE_NO_PAD.encode(serde_json::to_vec(&other).unwrap())
        )
    };
    let foreign =
        Tokens::new(generate_pem().unwrap().as_bytes(), "https://issuer", &["api".to_owned()])
            .unwrap();
    let table = [
        ("alg none", forged(&json!({ "alg": "none" }), &own, b"")),
        ("alg None with a signature", forged(&json!({ "alg": "None" }), &own, b"x")),
        ("another algorithm", forged(&json!({ "alg": "HS256" }), &own, b"x")),
        ("no signature", forged(&json!({ "alg": "ES256" }), &own, b"")),
        ("another's key", foreign.issue(&claims()).unwrap()),
        ("changed claims", tampered),
        ("cut", message.to_owned()),
        ("nothing", String::new()),
        ("dots", "...".to_owned()),
        ("huge", "a.".repeat(TOKEN_BYTES_MAX)),
    ];
    assert!(tokens.verify(&good, &[], NOW_S).is_ok());
    for (what, token) in table {
        assert!(tokens.verify(&token, &[], NOW_S).is_err(), "{what}");
    }
    let elsewhere =
        Tokens::new(generate_pem().unwrap().as_bytes(), "https://other", &["api".to_owned()])
            .unwrap();
    assert!(elsewhere.verify(&elsewhere.issue(&claims()).unwrap(), &[], NOW_S).is_ok());
}

#[test]
fn an_old_key_verifies_and_the_first_signs() {
    let (old, new) = (generate_pem().unwrap(), generate_pem().unwrap());
    let before = Tokens::new(old.as_bytes(), "i", &["api".to_owned()]).unwrap();
    let both = Tokens::new(format!("{new}{old}").as_bytes(), "i", &["api".to_owned()]).unwrap();
    let after = Tokens::new(new.as_bytes(), "i", &["api".to_owned()]).unwrap();
    assert!(both.verify(&before.issue(&claims()).unwrap(), &[], NOW_S).is_ok());
    assert!(after.verify(&both.issue(&claims()).unwrap(), &[], NOW_S).is_ok());
    assert!(after.verify(&before.issue(&claims()).unwrap(), &[], NOW_S).is_err());
    assert_eq!(both.jwks()["keys"].as_array().unwrap().len(), 2);
    assert_eq!(
        both.openid_configuration()["id_token_signing_alg_values_supported"],
        json!(["ES256"])
    );
    assert!(Tokens::new(b"", "i", &[]).is_err());
}

#[test]
fn requests_are_answered_for_what_exists() {
    let mut other = pod("a/other", "n1");
    other["spec"]["serviceAccountName"] = json!("somebody");
    let objects =
        Objects::with([pod("a/p", "n1"), core("Node", "n1"), core("Secret", "a/s"), other]);
    let bound = |kind: &str, name: &str, uid: &str| json!({ "spec": { "boundObjectRef": { "apiVersion": "v1", "kind": kind, "name": name, "uid": uid } } });
    let table = [
        (json!({}), 0),
        (json!({ "spec": { "expirationSeconds": 3607, "audiences": ["vault"] } }), 0),
        (json!({ "spec": { "expirationSeconds": 599 } }), 422),
        (json!({ "spec": { "expirationSeconds": 1_i64 << 33 } }), 422),
        (json!({ "metadata": { "name": "root" } }), 422),
        (json!({ "metadata": { "namespace": "b" } }), 400),
        (json!({ "metadata": { "uid": "uid-of-runner" } }), 0),
        (json!({ "metadata": { "uid": "another" } }), 409),
        (bound("Pod", "p", "uid-of-p"), 0),
        (bound("Pod", "p", "stale"), 409),
        (bound("Pod", "gone", ""), 404),
        (bound("Pod", "other", ""), 400),
        (bound("Secret", "s", ""), 0),
        (bound("Node", "n1", ""), 0),
        (bound("ConfigMap", "c", ""), 400),
    ];
    let tokens = tokens();
    let account = core("ServiceAccount", "a/runner");
    for (request, code) in table {
        let answer = tokens.issue_for_token_request(
            objects.as_ref(),
            &account,
            &request,
            &identity("kubelet"),
            NOW_S,
        );
        assert_eq!(
            answer.as_ref().map_or_else(master_api::status::ApiError::code, |_| 0),
            code,
            "{request}"
        );
    }
}

/// As upstream: many clients read a mounted token once, when they start.
#[test]
fn a_mounted_token_is_good_for_longer_than_it_says() {
    let objects = Objects::with([pod("a/p", "n1"), core("Node", "n1")]);
    let account = core("ServiceAccount", "a/runner");
    let tokens = tokens();
    let claims = |lifetime_s: i64, audiences: Value, is_bound: bool| {
        let mut request =
            json!({ "spec": { "expirationSeconds": lifetime_s, "audiences": audiences } });
        if is_bound {
            request["spec"]["boundObjectRef"] =
                json!({ "apiVersion": "v1", "kind": "Pod", "name": "p" });
        }
        let who = identity("kubelet");
        let reader = objects.as_ref();
        let answer = tokens.issue_for_token_request(reader, &account, &request, &who, NOW_S);
        let answer = answer.unwrap();
        let ends = answer["status"]["expirationTimestamp"].as_str().unwrap();
        assert_eq!(ends.parse::<jiff::Timestamp>().unwrap().as_second(), NOW_S + lifetime_s);
        let token = answer["status"]["token"].as_str().unwrap();
        let body = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Claims = serde_json::from_slice(&body).unwrap();
        (claims.exp - NOW_S, claims.kubernetes.warnafter.map(|at| at - NOW_S))
    };
    let year_s = 365 * 24 * 3600;
    assert_eq!(claims(3607, json!([]), true), (year_s, Some(3607)));
    assert_eq!(claims(3607, json!(["api"]), true), (year_s, Some(3607)));
    assert_eq!(claims(3607, json!(["api", "vault"]), true), (3607, None));
    assert_eq!(claims(3600, json!([]), true), (3600, None));
    assert_eq!(claims(3607, json!([]), false), (3607, None));
}

#[test]
fn a_node_gets_tokens_for_its_own_pods_only() {
    let objects = Objects::with([pod("a/mine", "n1"), pod("a/other", "n2")]);
    let account = core("ServiceAccount", "a/runner");
    let bound = |name: &str| json!({ "spec": { "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": name, "uid": format!("uid-of-{name}") } } });
    let tokens = tokens();
    let node = crate::fixture::node("n1");
    for (request, code) in [(bound("mine"), 0), (bound("other"), 403), (json!({}), 403)] {
        let answer =
            tokens.issue_for_token_request(objects.as_ref(), &account, &request, &node, NOW_S);
        assert_eq!(
            answer.as_ref().map_or_else(master_api::status::ApiError::code, |_| 0),
            code,
            "{request}"
        );
    }
}
