//! Admission policies: bound, matched, judged, and refused as they say.

use super::*;

const API: &str = "admissionregistration.k8s.io/v1";

fn policy(change: Value) -> Value {
    let mut spec = json!({"failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
            "operations": ["CREATE", "DELETE"], "resources": ["configmaps"]}]},
        "validations": [{"expression": "has(object.data)", "reason": "Forbidden"}]});
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": API, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "p"}, "spec": spec})
}

fn binding(change: Value) -> Value {
    let mut spec = json!({"policyName": "p", "validationActions": ["Deny"]});
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": API, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "b"}, "spec": spec})
}

fn create(objects: &Arc<Objects>, object: &Value) -> Result<Vec<String>, String> {
    let case = Case { objects, who: identity("anna") };
    case.run("create core configmaps a/m", &mut object.clone(), None)
}

#[test]
fn a_policy_counts_once_it_is_bound() {
    let objects = cluster();
    let map = core("ConfigMap", "a/m");
    objects.put(policy(json!({})));
    assert_eq!(create(&objects, &map), Ok(Vec::new()));
    objects.put(binding(json!({})));
    let refusal = "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied \
        request: failed expression: has(object.data)";
    assert_eq!(create(&objects, &map), Err(refusal.to_owned()));
    objects.put(binding(json!({"validationActions": ["Warn", "Audit"]})));
    let warning = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: has(object.data)";
    assert_eq!(create(&objects, &map), Ok(vec![warning.to_owned()]));
    let mut full = map.clone();
    full["data"] = json!({"a": "b"});
    assert_eq!(create(&objects, &full), Ok(Vec::new()));
    objects.put(binding(
        json!({"matchResources": {"namespaceSelector": {"matchLabels": {"x": "y"}}}}),
    ));
    assert_eq!(create(&objects, &map), Ok(Vec::new()));
    objects.put(binding(json!({})));
    // A policy that changes is compiled again.
    objects.put(policy(json!({"validations": [{"expression": "true"}]})));
    assert_eq!(create(&objects, &map), Ok(Vec::new()));
}

#[test]
fn a_refusal_has_the_reason_that_the_policy_gives() {
    for (reason, code) in [("Forbidden", 403), ("Unauthorized", 401), ("Invalid", 422)] {
        let subject = master_api::status::Subject::new("", "configmaps");
        let (name, message) = ("m".to_owned(), "no".to_owned());
        let error = ApiError::Denied { subject, name, message, reason: reason.to_owned() };
        let status = error.to_status();
        assert_eq!((&status["reason"], &status["code"]), (&json!(reason), &json!(code)));
        assert_eq!(status["details"]["causes"], json!([{"message": "no"}]));
    }
}

#[test]
fn parameters_are_found_by_name_or_label_or_refused() {
    let objects = cluster();
    objects.put(policy(json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "object.metadata.name.startsWith(params.data.prefix)"}]})));
    let of = |reference: Value| {
        objects.put(binding(json!({ "paramRef": reference })));
        create(&objects, &core("ConfigMap", "a/m")).is_ok()
    };
    let by_name =
        json!({"name": "rules", "namespace": "kube-system", "parameterNotFoundAction": "Deny"});
    assert!(!of(by_name.clone()));
    assert!(of(json!({"name": "rules", "parameterNotFoundAction": "Allow"})));
    let mut rules = core("ConfigMap", "kube-system/rules");
    rules["data"] = json!({"prefix": "m"});
    rules["metadata"]["labels"] = json!({"for": "p"});
    objects.put(rules.clone());
    assert!(of(by_name.clone()));
    let by_label = json!({"namespace": "kube-system", "selector": {"matchLabels": {"for": "p"}}, "parameterNotFoundAction": "Deny"});
    assert!(of(by_label.clone()));
    rules["data"] = json!({"prefix": "x"});
    objects.put(rules);
    assert!(!of(by_name) && !of(by_label));
}

#[test]
fn a_policy_may_ask_what_the_author_or_an_account_may_do() {
    let objects = cluster();
    let grant = |subject: Value| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "g", "namespace": "a"}, "subjects": [subject],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}})
    };
    let of = |condition: &str| {
        objects.put(policy(json!({"validations": [{"expression": condition}]})));
        objects.put(binding(json!({})));
        create(&objects, &core("ConfigMap", "a/m")).is_ok()
    };
    let author = "authorizer.requestResource.check('create').allowed()";
    let elsewhere =
        "authorizer.group('').resource('configmaps').namespace('b').check('create').allowed()";
    let account = "authorizer.serviceAccount('a', 'runner').group('').resource('pods').namespace('a').check('list').allowed()";
    let user = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "anna"});
    for (subject, expected) in [
        (user, [true, false, false]),
        (
            json!({"kind": "ServiceAccount", "name": "runner", "namespace": "a"}),
            [false, false, true],
        ),
    ] {
        objects.put(grant(subject.clone()));
        assert_eq!([author, elsewhere, account].map(of), expected, "{subject}");
    }
}

#[test]
fn a_policy_that_refuses_everything_can_be_taken_away() {
    let objects = cluster();
    objects.put(policy(
        json!({"matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"],
        "operations": ["*"], "resources": ["*"]}]}, "validations": [{"expression": "false"}]}),
    ));
    objects.put(binding(json!({})));
    assert!(create(&objects, &core("ConfigMap", "a/m")).is_err());
    let case = Case { objects: &objects, who: identity("anna") };
    let line = "delete admissionregistration.k8s.io validatingadmissionpolicies p";
    assert!(case.run(line, &mut Value::Null, Some(&policy(json!({})))).is_ok());
}

#[test]
fn a_policy_changes_what_it_is_bound_to_and_nothing_else() {
    let objects = cluster();
    let with = |mutations: Value| {
        let mut changing = policy(json!({"mutations": mutations, "reinvocationPolicy": "Never"}));
        changing["kind"] = json!("MutatingAdmissionPolicy");
        changing
    };
    let apply = |source: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": source}});
    objects.put(with(json!([
        apply("Object{metadata: Object.metadata{name: 'other', labels: {'by': request.userInfo.username}}}"),
        {"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'add', path: '/data', value: {'n': string(size(object.metadata.labels))}}]"}},
    ])));
    let case = Case { objects: &objects, who: identity("anna") };
    let line = "create core configmaps a/m";
    let mut map = core("ConfigMap", "a/m");
    let before = map.clone();
    case.run(line, &mut map, None).unwrap();
    assert_eq!(map, before);
    let mut bound = binding(json!({}));
    bound["kind"] = json!("MutatingAdmissionPolicyBinding");
    objects.put(bound);
    case.run(line, &mut map, None).unwrap();
    let mut expected = before.clone();
    expected["metadata"]["labels"] = json!({"by": "anna"});
    expected["data"] = json!({"n": "1"});
    assert_eq!(map, expected);
    // What it makes must fit the kind.
    objects.put(with(json!([apply("Object{dada: 1}")])));
    let refusal = case.run(line, &mut before.clone(), None).unwrap_err();
    assert!(
        refusal.contains("MutatingAdmissionPolicy 'p' with binding 'b' denied request"),
        "{refusal}"
    );
    assert!(refusal.contains("unknown field \"dada\""), "{refusal}");
}

/// How often each is asked, as kube-apiserver v1.36 does.
#[test]
fn policies_that_wish_to_be_are_asked_once_more_after_a_change() {
    let check = |wishes: [&str; 3], expected: Value| {
        let objects = cluster();
        for (at, wish) in wishes.iter().enumerate() {
            let name = format!("m{at}");
            let patch = format!(
                "[JSONPatch{{op: 'add', path: '/data/{name}', \
                 value: string(int(object.data[?'{name}'].orValue('0')) + 1)}}]"
            );
            let mut changing = policy(json!({"reinvocationPolicy": wish, "mutations":
                [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}]}));
            let mut bound = binding(json!({ "policyName": name }));
            changing["kind"] = json!("MutatingAdmissionPolicy");
            bound["kind"] = json!("MutatingAdmissionPolicyBinding");
            for mut object in [changing, bound] {
                object["metadata"]["name"] = json!(name);
                objects.put(object);
            }
        }
        let mut map = core("ConfigMap", "a/m");
        map["data"] = json!({"a": "b"});
        let case = Case { objects: &objects, who: identity("anna") };
        case.run("create core configmaps a/m", &mut map, None).unwrap();
        map["data"].as_object_mut().unwrap().remove("a");
        assert_eq!(map["data"], expected, "{wishes:?}");
    };
    check(["IfNeeded", "IfNeeded", "Never"], json!({"m0": "2", "m1": "2", "m2": "1"}));
    check(["IfNeeded", "Never", "Never"], json!({"m0": "2", "m1": "1", "m2": "1"}));
    check(["Never", "Never", "IfNeeded"], json!({"m0": "1", "m1": "1", "m2": "2"}));
    check(["Never", "Never", "Never"], json!({"m0": "1", "m1": "1", "m2": "1"}));
}

#[test]
fn a_policy_merges_lists_by_their_keys() {
    let objects = cluster();
    let mut changing = policy(
        json!({"mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
        "Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'proxy', image: 'p'}], \
         containers: [Object.spec.containers{name: 'c', image: 'new'}]}}"}}]}),
    );
    changing["kind"] = json!("MutatingAdmissionPolicy");
    changing["spec"]["matchConstraints"]["resourceRules"][0]["resources"] = json!(["pods"]);
    objects.put(changing);
    let mut bound = binding(json!({}));
    bound["kind"] = json!("MutatingAdmissionPolicyBinding");
    objects.put(bound);
    let case = Case { objects: &objects, who: identity("anna") };
    let mut made = pod("a/p", "");
    made["spec"]["containers"] =
        json!([{"name": "c", "image": "old"}, {"name": "d", "image": "d"}]);
    case.run("create core pods a/p", &mut made, None).unwrap();
    let images = |list: &str| {
        let items = made["spec"][list].as_array().unwrap().iter();
        items.map(|item| item["image"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(images("containers"), ["new", "d"]);
    assert_eq!(images("initContainers"), ["p"]);
}

#[test]
fn a_policy_that_moves_a_specification_moves_its_generation_and_leaves_the_status() {
    let objects = cluster();
    let source = "Object{spec: Object.spec{replicas: 7}, status: Object.status{replicas: 7}}";
    let mut changing = policy(
        json!({"mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": source}}]}),
    );
    changing["kind"] = json!("MutatingAdmissionPolicy");
    changing["spec"]["matchConstraints"]["resourceRules"] = json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}]);
    objects.put(changing);
    let mut bound = binding(json!({}));
    bound["kind"] = json!("MutatingAdmissionPolicyBinding");
    objects.put(bound);
    let case = Case { objects: &objects, who: identity("anna") };
    let old = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "a", "generation": 4}, "spec": {"replicas": 1}, "status": {"replicas": 1}});
    let mut new = old.clone();
    case.run("update apps deployments a/d", &mut new, Some(&old)).unwrap();
    assert_eq!((&new["spec"]["replicas"], &new["metadata"]["generation"]), (&json!(7), &json!(5)));
    assert_eq!(new["status"], json!({"replicas": 1}));
}
