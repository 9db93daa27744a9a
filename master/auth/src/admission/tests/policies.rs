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
