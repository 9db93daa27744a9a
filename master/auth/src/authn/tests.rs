//! Credentials that must not pass, and those that must.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use master_api::access::Attributes;
use serde_json::{Value, json};
use store_env::clock::Clock;

use super::*;
use crate::authz::Authorizer;
use crate::fixture::{Objects, core, identity, pod};
use crate::policy::notation::rule;
use crate::tokens::{Claims, generate_pem};

const NOW_S: i64 = 1_800_000_000;

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn unix_ms(&self) -> u64 {
        u64::try_from(NOW_S).unwrap() * 1000
    }

    fn monotonic_ms(&self) -> u64 {
        0
    }
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    let mut map = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        map.append(name, value);
    }
    map
}

fn bearer(token: &str) -> HeaderMap {
    headers(&[("authorization", &format!("Bearer {token}"))])
}

fn account() -> Value {
    core("ServiceAccount", "a/runner")
}

fn authenticator(objects: &Arc<Objects>) -> Authenticator {
    let tokens = Tokens::new(generate_pem().unwrap().as_bytes(), "https://issuer", &[]).unwrap();
    Authenticator::new(Arc::new(tokens), objects.clone(), Arc::new(Fixed))
}

fn issued(authenticator: &Authenticator, bound_to: Value) -> String {
    let request = json!({ "spec": { "boundObjectRef": bound_to } });
    let reader = authenticator.reader.as_ref();
    let answer = authenticator.tokens.issue_for_token_request(
        reader,
        &account(),
        &request,
        &identity("kubelet"),
        NOW_S,
    );
    answer.unwrap()["status"]["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_bound_token_says_who_and_where() {
    let objects = Objects::with([account(), pod("a/p", "n1"), core("Node", "n1")]);
    let authenticator = authenticator(&objects);
    let token = issued(
        &authenticator,
        json!({ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "uid-of-p" }),
    );
    let found = authenticator.authenticate(None, &bearer(&token)).unwrap();
    assert_eq!(found.user, "system:serviceaccount:a:runner");
    assert_eq!(found.uid, "uid-of-runner");
    assert_eq!(
        found.groups,
        ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]
    );
    let extra = |key: &str| found.extra[&format!("authentication.kubernetes.io/{key}")][0].clone();
    assert_eq!(
        (extra("pod-name"), extra("pod-uid"), extra("node-name")),
        ("p".into(), "uid-of-p".into(), "n1".into())
    );
    assert!(extra("credential-id").starts_with("JTI="));
}

#[test]
fn a_token_dies_with_what_it_is_bound_to() {
    let bound = json!({ "apiVersion": "v1", "kind": "Pod", "name": "p" });
    let reborn = |object: &Value| {
        let mut object = object.clone();
        object["metadata"]["uid"] = json!("another");
        object
    };
    let terminating = |object: &Value, at_s: i64| {
        let mut object = object.clone();
        object["metadata"]["deletionTimestamp"] =
            json!(jiff::Timestamp::from_second(at_s).unwrap().to_string());
        object
    };
    type Change = Box<dyn Fn(&Objects)>;
    let changes: Vec<(&str, Change, bool)> = vec![
        ("nothing", Box::new(|_| ()), true),
        ("pod deleted", Box::new(|objects| objects.remove(&pod("a/p", "n1"))), false),
        ("pod reborn", Box::new(move |objects| objects.put(reborn(&pod("a/p", "n1")))), false),
        ("account deleted", Box::new(|objects| objects.remove(&account())), false),
        ("account reborn", Box::new(move |objects| objects.put(reborn(&account()))), false),
        (
            "pod ends now",
            Box::new(move |objects| objects.put(terminating(&pod("a/p", "n1"), NOW_S))),
            true,
        ),
        (
            "pod ended long ago",
            Box::new(move |objects| objects.put(terminating(&pod("a/p", "n1"), NOW_S - 61))),
            false,
        ),
    ];
    for (what, change, expected) in changes {
        let objects = Objects::with([account(), pod("a/p", "n1")]);
        let authenticator = authenticator(&objects);
        let token = issued(&authenticator, bound.clone());
        change(&objects);
        assert_eq!(authenticator.authenticate(None, &bearer(&token)).is_ok(), expected, "{what}");
    }
}

#[test]
fn claims_of_somebody_else_are_refused() {
    let objects = Objects::with([account(), core("ServiceAccount", "a/admin")]);
    let authenticator = authenticator(&objects);
    let token = issued(&authenticator, Value::Null);
    let (good, _) = authenticator.tokens.verify(&token, &[], NOW_S).unwrap();
    let spoofed = Claims { sub: "system:serviceaccount:a:admin".into(), ..good };
    let token = authenticator.tokens.issue(&spoofed).unwrap();
    assert_eq!(authenticator.authenticate(None, &bearer(&token)), Err(ApiError::Unauthorized));
}

#[test]
fn headers_that_name_a_user_are_nothing() {
    let authenticator = authenticator(&Objects::with([]));
    let spoofed = headers(&[("x-remote-user", "admin"), ("x-remote-group", "system:masters")]);
    assert_eq!(authenticator.authenticate(None, &spoofed).unwrap(), anonymous());
    assert_eq!(authenticator.authenticate(None, &bearer("rubbish")), Err(ApiError::Unauthorized));
    assert_eq!(
        authenticator.authenticate(Some(b"rubbish"), &HeaderMap::new()),
        Err(ApiError::Unauthorized)
    );
}

fn bootstrap_secret(changes: &[(&str, &str)]) -> Value {
    let mut secret = core("Secret", "kube-system/bootstrap-token-abcdef");
    secret["type"] = json!("bootstrap.kubernetes.io/token");
    let defaults = [
        ("token-id", "abcdef"),
        ("token-secret", "0123456789abcdef"),
        ("usage-bootstrap-authentication", "true"),
        ("expiration", "2030-01-01T00:00:00Z"),
        ("auth-extra-groups", "system:bootstrappers:nodes"),
    ];
    for (key, value) in defaults.iter().chain(changes) {
        secret["data"][*key] = json!(STANDARD.encode(value));
    }
    secret
}

#[test]
fn bootstrap_tokens_pass_only_whole_current_and_meant() {
    type Changes = &'static [(&'static str, &'static str)];
    let table: [(&str, Changes, bool); 7] = [
        ("abcdef.0123456789abcdef", &[], true),
        ("abcdef.0123456789abcdee", &[], false),
        ("abcdeg.0123456789abcdef", &[], false),
        ("abcdef.0123456789abcdef", &[("expiration", "2020-01-01T00:00:00Z")], false),
        ("abcdef.0123456789abcdef", &[("expiration", "whenever")], false),
        ("abcdef.0123456789abcdef", &[("usage-bootstrap-authentication", "false")], false),
        ("abcdef.0123456789abcdef", &[("auth-extra-groups", "system:masters")], false),
    ];
    for (token, changes, expected) in table {
        let authenticator = authenticator(&Objects::with([bootstrap_secret(changes)]));
        let found = authenticator.authenticate(None, &bearer(token));
        assert_eq!(found.is_ok(), expected, "{token} {changes:?}");
        if let Ok(found) = found {
            assert_eq!(found.user, "system:bootstrap:abcdef");
            assert_eq!(
                found.groups,
                ["system:bootstrappers", "system:bootstrappers:nodes", "system:authenticated"]
            );
        }
    }
}

/// A request of somebody that concerns pods.
fn to_pods(who: &Identity, verb: &str) -> Attributes {
    let (identity, verb, resource) = (who.clone(), verb.into(), "pods".into());
    Attributes { identity, verb, resource, ..Attributes::default() }
}

#[test]
fn impersonation_needs_a_permission_for_each_part() {
    let authorizer = Authorizer::new(Objects::of_a_new_cluster());
    let wanted = |pairs: &[(&str, &str)]| impersonation::requested(&headers(pairs));
    assert_eq!(wanted(&[]).unwrap(), None);
    assert!(wanted(&[("impersonate-group", "system:masters")]).is_err(), "a group without a user");
    for name in ["impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-a"]
    {
        let mut sent = headers(&[("impersonate-user", "jane")]);
        let name = HeaderName::from_static(name);
        sent.insert(name.clone(), HeaderValue::from_bytes("jürgen".as_bytes()).unwrap());
        let read = impersonation::requested(&sent).unwrap().unwrap();
        let mut values = [&read.user, &read.uid]
            .into_iter()
            .chain(&read.groups)
            .chain(read.extra.values().flatten());
        assert!(values.any(|value| value == "jürgen"), "{name}: {read:?}");
        sent.insert(name, HeaderValue::from_bytes(b"j\xfcrgen").unwrap());
        assert!(impersonation::requested(&sent).is_err(), "never as whoever sent it");
    }
    let jane = wanted(&[
        ("impersonate-user", "jane"),
        ("impersonate-group", "g"),
        ("impersonate-extra-a%2fb", "c"),
        ("impersonate-extra-a%2fb%+1", "d"),
    ])
    .unwrap()
    .unwrap();
    assert_eq!(jane.extra["a/b"], ["c"]);
    assert_eq!(jane.extra["a%2fb%+1"], ["d"]);
    let as_whom = |who: &str, wanted: &Identity| {
        let request = to_pods(&identity(who), "list");
        impersonation::evaluate(&authorizer, &request, wanted)
    };
    let acting = as_whom("root system:masters", &jane).unwrap();
    assert_eq!(acting.groups, ["g", "system:authenticated"]);
    let error = as_whom("joe system:authenticated", &jane).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"pods is forbidden: User "joe" cannot impersonate-on:user-info:list resource "pods" in API group "" at the cluster scope"#
    );
    let robot = wanted(&[("impersonate-user", "system:serviceaccount:a:robot")]).unwrap().unwrap();
    let acting = as_whom("root system:masters", &robot).unwrap();
    assert_eq!(
        acting.groups,
        ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]
    );
}

/// KEP-5284, in the order and with the names of kube-apiserver 1.36.3.
#[test]
fn impersonation_may_be_granted_for_single_verbs() {
    let role = |name: &str, rules: &str| {
        let rules: Vec<Value> = rules.split(';').map(|line| rule(line).to_value()).collect();
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": name }, "rules": rules })
    };
    let bind = |name: &str, user: &str| {
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": name }, "roleRef": { "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "User", "name": user }] })
    };
    let agent = "system:serviceaccount:a:agent";
    let authorizer = Authorizer::new(Objects::with([
        role(
            "jane",
            "impersonate:user-info | authentication.k8s.io | users | jane;\
             impersonate:user-info | authentication.k8s.io | groups | devs,system:masters;\
             impersonate-on:user-info:list | core | pods",
        ),
        bind("jane", "joe"),
        role(
            "node",
            "impersonate:associated-node | authentication.k8s.io | nodes;\
             impersonate-on:associated-node:get | core | pods",
        ),
        bind("node", agent),
    ]));
    let act = |who: &Identity, verb: &str, pairs: &[(&str, &str)]| {
        let wanted = impersonation::requested(&headers(pairs)).unwrap().unwrap();
        let request = to_pods(who, verb);
        impersonation::evaluate(&authorizer, &request, &wanted).map(|acting| acting.groups)
    };
    let joe = identity("joe system:authenticated");
    let jane = ("impersonate-user", "jane");
    let everyone = "system:authenticated".to_owned();
    assert_eq!(act(&joe, "list", &[jane]), Ok(vec![everyone.clone()]));
    let as_dev = act(&joe, "list", &[jane, ("impersonate-group", "devs")]);
    assert_eq!(as_dev, Ok(vec!["devs".to_owned(), everyone.clone()]));
    let as_stranger = act(&joe, "list", &[jane, ("impersonate-group", "system:unauthenticated")]);
    assert!(as_stranger.is_err());
    assert!(act(&joe, "get", &[jane]).is_err(), "another verb");
    assert!(act(&joe, "list", &[("impersonate-user", "jack")]).is_err(), "another user");
    assert!(act(&joe, "list", &[jane, ("impersonate-group", "system:masters")]).is_err());
    assert!(act(&joe, "list", &[("impersonate-user", "system:node:n1")]).is_err());

    let mut pod = Identity { user: agent.into(), ..Identity::default() };
    pod.extra.insert("authentication.kubernetes.io/node-name".into(), vec!["n1".into()]);
    let node = |name| [("impersonate-user", name)];
    let as_own = act(&pod, "get", &node("system:node:n1"));
    assert_eq!(as_own, Ok(vec!["system:nodes".to_owned(), everyone]));
    assert!(act(&pod, "get", &node("system:node:n2")).is_err(), "another node");
}

#[test]
fn whoever_is_acted_as_has_the_groups_of_everybody() {
    let authorizer = Authorizer::new(Objects::of_a_new_cluster());
    #[rustfmt::skip]
    let cases = [
        // who                           groups asked for            groups
        ("jane",                         vec![],                     vec!["system:authenticated"]),
        ("jane",                         vec!["system:authenticated"], vec!["system:authenticated"]),
        ("jane",                         vec!["system:unauthenticated"], vec!["system:unauthenticated"]),
        ("system:anonymous",             vec![],                     vec!["system:unauthenticated"]),
        ("system:anonymous",             vec!["g"],                  vec!["g", "system:unauthenticated"]),
        ("system:anonymous",             vec!["system:authenticated"], vec!["system:authenticated", "system:unauthenticated"]),
        ("system:node:n",                vec![],                     vec!["system:nodes", "system:authenticated"]),
        ("system:node:n",                vec!["g"],                  vec!["g", "system:authenticated"]),
        ("system:serviceaccount:a:b",    vec!["g"],                  vec!["g", "system:authenticated"]),
    ];
    for (user, groups, expected) in cases {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let wanted = Identity { user: user.into(), groups, ..Identity::default() };
        let request = to_pods(&identity("root system:masters"), "list");
        let acting = impersonation::evaluate(&authorizer, &request, &wanted).unwrap();
        assert_eq!(acting.groups, expected, "{wanted:?}");
    }
}

#[test]
fn many_groups_and_facts_may_be_granted_all_at_once_and_few_one_by_one() {
    let rules = [
        "impersonate:user-info | authentication.k8s.io | users | jane",
        "impersonate:user-info | authentication.k8s.io | groups | *",
        "impersonate:user-info | authentication.k8s.io | userextras/* | *",
        "impersonate-on:user-info:list | core | pods",
    ];
    let rules: Vec<Value> = rules.iter().map(|line| rule(line).to_value()).collect();
    let authorizer = Authorizer::new(Objects::with([
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": "many" }, "rules": rules }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": "many" }, "roleRef": { "kind": "ClusterRole", "name": "many" },
            "subjects": [{ "kind": "User", "name": "joe" }] }),
    ]));
    let may = |groups: usize, facts: usize| {
        let groups = (0..groups).map(|at| format!("g{at}")).collect();
        let fact = |at: usize| (format!("example.com/{at}"), vec!["v".to_owned()]);
        let extra = (0..facts).map(fact).collect();
        let wanted = Identity { user: "jane".into(), groups, extra, ..Identity::default() };
        let request = to_pods(&identity("joe system:authenticated"), "list");
        impersonation::evaluate(&authorizer, &request, &wanted).is_ok()
    };
    let cases = [
        (0, 0, true),
        (3, 0, false),
        (4, 0, true),
        (0, 3, false),
        (0, 4, true),
        (4, 3, false),
        (5, 5, true),
    ];
    for (groups, facts, expected) in cases {
        assert_eq!(may(groups, facts), expected, "{groups} groups and {facts} facts");
    }
}

/// A self-signed client certificate in DER, valid for a year around now unless changed.
fn certificate(change: impl Fn(&mut rcgen::CertificateParams)) -> Vec<u8> {
    let at = |offset_s: i64| time_at(NOW_S + offset_s);
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "jane");
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "devs");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (at(-3600), at(3600));
    change(&mut params);
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

fn time_at(unix_s: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(unix_s).unwrap()
}

#[test]
fn certificates_name_user_and_groups_while_valid_and_meant_for_clients() {
    let authenticator = authenticator(&Objects::with([]));
    let authenticate = |der: &[u8]| authenticator.authenticate(Some(der), &HeaderMap::new());
    let jane = authenticate(&certificate(|_| ())).unwrap();
    assert_eq!(
        (jane.user.as_str(), jane.groups),
        ("jane", vec!["devs".to_owned(), "system:authenticated".to_owned()])
    );
    assert!(jane.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
    type Change = fn(&mut rcgen::CertificateParams);
    let table: [(&str, Change); 5] = [
        ("expired", |params| params.not_after = time_at(NOW_S - 1)),
        ("not yet valid", |params| params.not_before = time_at(NOW_S + 1)),
        ("for servers", |params| {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth]
        }),
        ("for nothing", |params| params.extended_key_usages = vec![]),
        ("nameless", |params| params.distinguished_name = rcgen::DistinguishedName::new()),
    ];
    for (what, change) in table {
        assert_eq!(authenticate(&certificate(change)), Err(ApiError::Unauthorized), "{what}");
    }
}
