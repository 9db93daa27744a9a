//! What stock kubectl looks for in the documents.

use super::*;
use crate::builtin;

fn served(path: &str) -> Value {
    let document = OpenApi::new(builtin()).v3(path).expect("served");
    serde_json::from_slice(&document.bytes).unwrap()
}

#[test]
fn the_index_names_every_group_version_with_its_hash() {
    let api = OpenApi::new(builtin());
    let index = api.v3_index();
    for path in ["api/v1", "apis/apps/v1", "apis/rbac.authorization.k8s.io/v1"] {
        let url = index["paths"][path]["serverRelativeURL"].as_str().unwrap();
        let hash = api.v3(path).unwrap().hash;
        assert_eq!(url, format!("/openapi/v3/{path}?hash={hash}"));
    }
    assert!(api.v3("apis/none/v1").is_none());
}

#[test]
fn explain_finds_kinds_by_path_and_types_by_kind() {
    let apps = served("apis/apps/v1");
    let gvk = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    let list = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"]["get"];
    assert_eq!(list["x-kubernetes-group-version-kind"], gvk);
    assert_eq!(list["operationId"], "listAppsV1NamespacedDeployment");
    let kind = &apps["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(kind["x-kubernetes-group-version-kind"], json!([gvk]));
    assert_eq!(kind["required"], Value::Null);
    let spec = "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec";
    assert_eq!(kind["properties"]["spec"]["allOf"], json!([{ "$ref": spec }]));
}

#[test]
fn apply_finds_merge_keys_and_validation_finds_its_parameter() {
    let core = served("api/v1");
    let containers =
        &core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    let patch = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    let names: Vec<&str> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|parameter| parameter["in"] == "query")
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
}

#[test]
fn the_older_document_has_the_same_types_in_its_own_notation() {
    let document: Value =
        serde_json::from_slice(&OpenApi::new(builtin()).v2("v1.36.0").bytes).unwrap();
    let text = document.to_string();
    assert!(!text.contains("#/components/"), "references point to definitions");
    let definitions = document["definitions"].as_object().unwrap();
    let pod = &definitions["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["properties"]["spec"]["$ref"], "#/definitions/io.k8s.api.core.v1.PodSpec");
    let gvk = json!([{"group": "", "version": "v1", "kind": "Pod"}]);
    assert_eq!(pod["x-kubernetes-group-version-kind"], gvk);
    let containers = &definitions["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    let quantity = &definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"];
    assert_eq!(quantity["type"], "string");
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    let body = patch["parameters"].as_array().unwrap().last().unwrap();
    assert_eq!((&body["in"], &body["name"]), (&json!("body"), &json!("body")));
    assert_eq!(patch["responses"]["200"]["schema"]["$ref"], "#/definitions/io.k8s.api.core.v1.Pod");
    let mut needed = BTreeSet::new();
    collect(&document["paths"], definitions, &mut needed);
    for name in needed {
        assert!(definitions.contains_key(&name), "{name}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let api = OpenApi::new(builtin());
    for (path, document) in api.documents() {
        let value: Value = serde_json::from_slice(&document.bytes).unwrap();
        let schemas = value["components"]["schemas"].as_object().unwrap();
        let mut needed = BTreeSet::new();
        collect(&value["paths"], schemas, &mut needed);
        for name in needed {
            assert!(schemas.contains_key(&name), "{path}: {name}");
        }
    }
}
