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
