//! Policies are compiled, asked, and change what they are asked about.

use master_api::access::Identity;
use serde_json::json;

use super::*;

/// Allows what the reason says, and tells what was asked in the reason.
#[derive(Debug)]
struct Eve;

impl Authority for Eve {
    fn decide(&self, request: &Attributes, field_selector: &str) -> (bool, String) {
        let who = format!("{} {}", request.identity.user, request.identity.groups.join(","));
        let Attributes { verb, group, version, resource, subresource, .. } = request;
        let Attributes { namespace, name, path, .. } = request;
        let what =
            [group, version, resource, subresource, namespace, name, path].map(String::as_str);
        let asked = format!("{} {verb} {} {field_selector}", who.trim(), what.join("/"));
        (request.identity.user == "eve", asked.trim().to_owned())
    }
}

fn judged(spec: Value, object: Value) -> Vec<(String, String)> {
    let policy = Policy::compile(&json!({ "spec": spec }));
    let request = json!({"operation": "CREATE", "userInfo": {"username": "anna"}});
    let params = json!({"data": {"max": "3"}});
    let namespace = json!({"metadata": {"name": "default", "labels": {"team": "a"}}});
    let text = str::to_owned;
    let about = Attributes {
        identity: Identity { user: text("eve"), ..Identity::default() },
        resource: text("pods"),
        namespace: text("a"),
        ..Attributes::default()
    };
    let input = Input {
        object: &object,
        old: &Value::Null,
        request: &request,
        params: &params,
        namespace: &namespace,
        authority: &Eve,
        about: &about,
    };
    policy.judge(&input).into_iter().map(|denial| (denial.message, denial.reason)).collect()
}

fn said(message: &str, reason: &str) -> (String, String) {
    (message.to_owned(), reason.to_owned())
}

#[test]
fn expressions_see_the_write_and_the_variables_before_them() {
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "variables": [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
            {"name": "broken", "expression": "object.spec.absent"},
        ],
        "validations": [
            {"expression": "variables.replicas > 1"},
            {"expression": "variables.oddReplicas", "message": "odd, please", "reason": "Forbidden"},
            {"expression": "variables.replicas <= int(params.data.max)",
             "messageExpression": "'at most ' + params.data.max + ' for ' + request.userInfo.username"},
            {"expression": "oldObject == null && namespaceObject.metadata.labels.team == 'a'"},
        ],
    });
    let of = |replicas: i64| judged(spec.clone(), json!({"spec": {"replicas": replicas}}));
    assert_eq!(of(3), []);
    assert_eq!(of(1), [said("failed expression: variables.replicas > 1", "Invalid")]);
    let four = [said("odd, please", "Forbidden"), said("at most 3 for anna", "Invalid")];
    assert_eq!(of(4), four);
}

#[test]
fn what_cannot_be_evaluated_fails_as_the_policy_says() {
    let spec = |failure: &str| json!({"failurePolicy": failure, "validations": [{"expression": "object.spec.absent > 1"}]});
    let error = "expression 'object.spec.absent > 1' resulted in error: no such key: absent";
    assert_eq!(judged(spec("Fail"), json!({"spec": {}})), [said(error, "Invalid")]);
    assert_eq!(judged(spec("Ignore"), json!({"spec": {}})), []);
}

#[test]
fn policies_ask_what_somebody_may_do() {
    #[rustfmt::skip]
    let cases = [
        ("authorizer.requestResource.check('create')",                          "eve create /*/pods//a// "),
        ("authorizer.path('/healthz').check('get')",                            "eve get ///////healthz"),
        ("authorizer.group('apps').resource('deployments').check('list')",      "eve list apps/*/deployments////"),
        ("authorizer.group('').resource('pods').subresource('log').namespace('b').name('c').fieldSelector('x=y').labelSelector('z').check('get')",
                                                                                "eve get /*/pods/log/b/c/ x=y"),
        ("authorizer.serviceAccount('a', 'robot').group('').resource('pods').check('get')",
            "system:serviceaccount:a:robot system:serviceaccounts,system:serviceaccounts:a get /*/pods////"),
    ];
    for (source, asked) in cases {
        let spec = json!({"variables": [{"name": "said", "expression": source}],
            "validations": [{"expression": format!("{source}.allowed()"), "message": "not allowed"},
                {"expression": "false", "messageExpression": "variables.said.reason()"},
                {"expression": "!variables.said.errored() && variables.said.error() == ''"}]});
        let mut expected = vec![said(asked.trim(), "Invalid")];
        if source.contains("serviceAccount") {
            expected.insert(0, said("not allowed", "Invalid"));
        }
        assert_eq!(judged(spec, json!({})), expected, "{source}");
    }
}

#[test]
fn checks_are_put_together_in_order_and_cost() {
    let compiled = |source: &str, wanted| {
        Expression::compile(source, &Scope::with_variables(true), wanted).program.err()
    };
    for wrong in [
        "authorizer.resource('pods')",
        "authorizer.group('').check('get')",
        "authorizer.group('').resource('pods').allowed()",
        "authorizer.serviceAccount('a', 'b').requestResource",
    ] {
        assert!(compiled(wrong, Wanted::Any).is_some(), "{wrong}");
    }
    let check = "authorizer.path('/x').check('get').reason()";
    assert!(compiled(check, Wanted::Any).is_none());
    assert!(compiled(check, Wanted::Text).is_some(), "no message asks");
    let refused = |source: &str| {
        let spec = json!({"validations": [{"expression": source}]});
        judged(spec, json!({}))[0].0.clone()
    };
    let often = "[1, 2, 3, 4, 5, 6].all(a, [1, 2, 3, 4, 5].all(b, authorizer.path('/x').check('get').allowed()))";
    assert!(refused(often).ends_with("actual cost limit exceeded"), "{}", refused(often));
    let nobody = "authorizer.serviceAccount('a', 'No!').path('/').check('get').allowed()";
    assert!(refused(nobody).ends_with("Invalid service account name"), "{}", refused(nobody));
}

#[test]
fn conditions_say_whether_a_policy_applies() {
    let spec = |condition: &str| {
        json!({"matchConditions": [{"name": "c", "expression": condition}],
        "validations": [{"expression": "false"}]})
    };
    let of = |condition: &str| judged(spec(condition), json!({"metadata": {"name": "x"}})).len();
    assert_eq!(of("object.metadata.name == 'y'"), 0);
    assert_eq!(of("object.metadata.name == 'x'"), 1);
    assert_eq!(of("object.spec.absent"), 1);
}

#[test]
fn mutations_make_patches_one_upon_the_other() {
    let spec = json!({
        "variables": [{"name": "team", "expression": "object.metadata.labels['acme.io/team']"}],
        "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
                "Object{metadata: Object.metadata{annotations: {'team': variables.team}}, \
                 spec: Object.spec{replicas: object.spec.replicas + 1, ?paused: optional.none()}}"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression":
                "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('acme.io/n'), \
                 value: string(object.spec.replicas)}]"}},
        ],
    });
    let policy = Policy::compile(&json!({ "spec": spec }));
    let object = json!({"metadata": {"labels": {"acme.io/team": "a"}}, "spec": {"replicas": 1}});
    let input = Input {
        object: &object,
        old: &Value::Null,
        request: &Value::Null,
        params: &Value::Null,
        namespace: &Value::Null,
        authority: &Eve,
        about: &Attributes::default(),
    };
    let apply = |object: &Value, patch: Patch| match patch {
        Patch::Apply(patch) => Ok(master_api::patch::merge_patch(object.clone(), &patch)),
        Patch::Json(patch) => {
            master_api::patch::json_patch(object.clone(), &patch).map_err(|error| error.to_string())
        }
    };
    let expected = json!({"metadata": {"annotations": {"team": "a"},
        "labels": {"acme.io/team": "a", "acme.io/n": "2"}}, "spec": {"replicas": 2}});
    assert_eq!(policy.mutate(&input, &apply), Ok(Some(expected)));
    let refused = policy.mutate(&Input { object: &json!({}), ..input }, &apply).unwrap_err();
    assert!(refused.message.ends_with("no such key: team"), "{}", refused.message);
}
