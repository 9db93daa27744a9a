//! Admission policies, as a client writes and meets them.

use serde_json::{Value, json};

use crate::world::{World, send};

const JSON: (&str, &str) = ("content-type", "application/json");
const API: &str = "/apis/admissionregistration.k8s.io/v1";

#[tokio::test]
async fn a_policy_in_cel_is_kept_from_its_binding_on() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let post = async |path: &str, body: Value| {
        send(&admin, &format!("POST {path}"), &[JSON], body.to_string()).await
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = |name: &str, data: Value| json!({"metadata": {"name": name}, "data": data});
    let policy = |expression: &str| {
        json!({"metadata": {"name": "small"}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}]},
            "variables": [{"name": "size", "expression": "size(object.data)"}],
            "validations": [{"expression": expression, "messageExpression": "string(variables.size) + ' are too many'"}]}})
    };
    let refused =
        post(&format!("{API}/validatingadmissionpolicies"), policy("variables.size <")).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    let made =
        post(&format!("{API}/validatingadmissionpolicies"), policy("variables.size < 2")).await;
    assert_eq!(made.code, 201, "{}", made.text);
    assert_eq!(post(maps, map("a", json!({"a": "1", "b": "2"}))).await.code, 201);
    let binding = json!({"metadata": {"name": "small"}, "spec": {"policyName": "small", "validationActions": ["Deny"]}});
    let bound = post(&format!("{API}/validatingadmissionpolicybindings"), binding).await;
    assert_eq!(bound.code, 201, "{}", bound.text);
    let refused = post(maps, map("b", json!({"a": "1", "b": "2"}))).await;
    assert_eq!((refused.code, &refused.json["reason"]), (422, &json!("Invalid")));
    let message = "configmaps \"b\" is forbidden: ValidatingAdmissionPolicy 'small' with binding 'small' denied \
        request: 2 are too many";
    assert_eq!(refused.json["message"], message);
    assert_eq!(post(maps, map("b", json!({"a": "1"}))).await.code, 201);
    let merge = ("content-type", "application/merge-patch+json");
    let grown = json!({"data": {"c": "3"}}).to_string();
    let refused = send(&admin, &format!("PATCH {maps}/b"), &[merge], grown.clone()).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    let line = format!("DELETE {API}/validatingadmissionpolicybindings/small");
    assert_eq!(send(&admin, &line, &[], "").await.code, 200);
    let taken = send(&admin, &format!("PATCH {maps}/b"), &[merge], grown).await;
    assert_eq!(taken.code, 200, "{}", taken.text);
    world.end().await;
}

#[tokio::test]
async fn a_policys_status_says_what_it_gets_wrong_about_its_kinds() {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    let definition = json!({"metadata": {"name": "widgets.acme.io"}, "spec": {"group": "acme.io", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
            "properties": {"spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}}}}]}});
    let definitions = "POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(send(&admin, definitions, &[JSON], definition.to_string()).await.code, 201);
    let policies = format!("{API}/validatingadmissionpolicies");
    let spec = |group: &str, resource: &str, expression: &str| {
        json!({"matchConstraints": {"resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"],
            "operations": ["CREATE"], "resources": [resource]}]}, "validations": [{"expression": expression}]})
    };
    for (name, group, resource, kind) in [
        ("a", "apps", "deployments", "apps/v1, Kind=Deployment"),
        ("b", "acme.io", "widgets", "acme.io/v1, Kind=Widget"),
    ] {
        let right = spec(group, resource, "object.spec.replicas > 1");
        let body = json!({"metadata": {"name": name}, "spec": right}).to_string();
        let made = send(&admin, &format!("POST {policies}"), &[JSON], body).await;
        assert_eq!(made.code, 201, "{}", made.text);
        assert_eq!(made.json["status"], json!({"observedGeneration": 1, "typeChecking": {}}));
        let mut wrong = made.json.clone();
        wrong["spec"] = spec(group, resource, "object.spec.replicas > '1'");
        let line = format!("PUT {policies}/{name}");
        let changed = send(&admin, &line, &[JSON], wrong.to_string()).await;
        let place = "object.spec.replicas > '1'\n | .....................^\n";
        let warning = format!(
            "{kind}: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | {place}"
        );
        let told = json!([{"fieldRef": "spec.validations[0].expression", "warning": warning}]);
        let expected =
            json!({"observedGeneration": 2, "typeChecking": {"expressionWarnings": told}});
        assert_eq!(changed.json["status"], expected, "{}", changed.text);
    }
    world.end().await;
}
