//! Bodies in, the checked value or upstream's refusal out.

use serde_json::json;

use super::*;
use crate::schema::decode::decode;

fn deployment() -> Schema {
    Schema::builtin("io.k8s.api.apps.v1.Deployment")
}

fn decoded(body: &str, validation: FieldValidation) -> Result<(Value, Vec<String>), String> {
    let kind = r#""kind":"Deployment","apiVersion":"apps/v1","#;
    let body = body.replacen('{', &format!("{{{kind}"), 1);
    decode(body.as_bytes(), "application/json", &deployment(), validation)
        .map(|(mut value, warnings)| {
            let object = value.as_object_mut().unwrap();
            object.remove("kind");
            object.remove("apiVersion");
            (value, warnings)
        })
        .map_err(|error| error.to_string())
}

#[test]
fn wrong_types_are_refused_in_upstreams_words() {
    let prefix = "Deployment in version \"v1\" cannot be handled as a Deployment: ";
    #[rustfmt::skip]
    let cases = [
        (r#"{"spec":{"replicas":"3"}}"#,
         "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
        (r#"{"spec":{"replicas":3.5}}"#,
         "json: cannot unmarshal number 3.5 into Go struct field DeploymentSpec.spec.replicas of type int32"),
        (r#"{"spec":{"replicas":5000000000}}"#,
         "json: cannot unmarshal number 5000000000 into Go struct field DeploymentSpec.spec.replicas of type int32"),
        (r#"{"spec":[]}"#,
         "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec"),
        (r#"{"spec":{"template":{"spec":{"containers":[{"image":5}]}}}}"#,
         "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.image of type string"),
        (r#"{"metadata":{"labels":{"a":1}}}"#,
         "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"),
        (r#"{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}}}}"#,
         "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
    ];
    for (body, expected) in cases {
        let error = decoded(body, FieldValidation::Ignore).unwrap_err();
        assert_eq!(error, format!("{prefix}{expected}"), "{body}");
    }
}

#[test]
fn unknown_and_duplicate_fields_follow_the_validation_level() {
    let body = r#"{"spec":{"foo":1,"replicas":1,"replicas":2,"template":{"spec":{"containers":[{"imag":"x"}]}}}}"#;
    let kept = json!({"spec": {"replicas": 2, "template": {"spec": {"containers": [{}]}}}});
    let findings = [
        r#"unknown field "spec.foo""#,
        r#"duplicate field "spec.replicas""#,
        r#"unknown field "spec.template.spec.containers[0].imag""#,
    ];
    let (value, warnings) = decoded(body, FieldValidation::Ignore).unwrap();
    assert_eq!((value, warnings.len()), (kept.clone(), 0));
    let (value, warnings) = decoded(body, FieldValidation::Warn).unwrap();
    assert_eq!((value, warnings), (kept, findings.map(str::to_owned).to_vec()));
    let error = decoded(body, FieldValidation::Strict).unwrap_err();
    assert!(error.ends_with(&format!("strict decoding error: {}", findings.join(", "))), "{error}");
}

#[test]
fn nulls_go_and_quantities_become_canonical_text() {
    let body = r#"{"metadata":{"name":"x","labels":null},"spec":{"replicas":2.0,"strategy":{"rollingUpdate":
        {"maxSurge":"25%","maxUnavailable":1}},"template":{"spec":{"nodeSelector":{"a":null},
        "containers":[{"resources":{"limits":{"cpu":2,"memory":"1024Mi"},"requests":{"cpu":"1000m","memory":"0.5Gi"}}}]}}}}"#;
    let (value, _) = decoded(body, FieldValidation::Strict).unwrap();
    let expected = json!({"metadata": {"name": "x"}, "spec": {"replicas": 2,
        "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
        "template": {"spec": {"nodeSelector": {"a": ""},
        "containers": [{"resources": {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "512Mi"}}}]}}}});
    assert_eq!(value, expected);
}

#[test]
fn yaml_is_read_and_its_faults_name_the_line() {
    let parse = |text: &str| {
        parse(text.as_bytes(), MediaType::Yaml).map(|(value, _)| value).map_err(|e| e.to_string())
    };
    assert_eq!(
        parse("a: 1\nb: [x, 2.5, true, ~]\nc:\n  1: yes\n"),
        Ok(json!({"a": 1, "b": ["x", 2.5, true, null], "c": {"1": "yes"}}))
    );
    for (text, line) in
        [("a: b\n\tc: d\n", "line 1"), ("a: 1\nb: 2\na: 3\n", "line 3"), ("a: [1\n", "line")]
    {
        let error = parse(text).unwrap_err();
        assert!(
            error.starts_with("error converting YAML to JSON: yaml: ") && error.contains(line),
            "{error}"
        );
    }
}

#[test]
fn hostile_bodies_are_refused() {
    let deep = "[".repeat(100_000);
    assert!(parse(deep.as_bytes(), MediaType::Json).is_err());
    assert!(parse(deep.as_bytes(), MediaType::Yaml).is_err());
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let previous = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{previous}]\n"));
    }
    assert!(parse(laughs.as_bytes(), MediaType::Yaml).is_err());
    assert!(decode(b"[]", "", &deployment(), FieldValidation::Ignore).is_err());
    assert!(decode(b"{}", "text/plain", &deployment(), FieldValidation::Ignore).is_err());
}

#[test]
fn types_divide_as_upstream_declares() {
    use master_api::fields::{Atom, Shape};
    // A path's steps lead into items, too; `|` shows how the last type divides.
    let check = |kind: &str, path: &str, expected: &str| {
        let schema = Schema::builtin(format!("io.k8s.api.{kind}"));
        let mut shape = schema.divided().unwrap();
        for step in path.split('.') {
            let inner = if step == "[]" { shape.item() } else { shape.field(step) };
            shape = inner.unwrap_or_else(|| panic!("{kind} {path}: {step}"));
        }
        let found = match shape.atom() {
            Atom::Keyed(keys) => keys
                .iter()
                .map(|key| {
                    let default = key.default.as_ref().map(|value| format!("={value}"));
                    format!("{}{}", key.name, default.unwrap_or_default())
                })
                .collect::<Vec<_>>()
                .join(","),
            Atom::Struct { .. } => "struct".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        assert_eq!(found, expected, "{kind} {path}");
    };
    check("core.v1.Pod", "metadata.finalizers", "set");
    check("core.v1.Pod", "metadata.labels", "map");
    check("core.v1.Pod", "metadata.ownerReferences", "uid=\"\"");
    check("core.v1.Pod", "metadata.ownerReferences.[]", "leaf");
    check("core.v1.Pod", "spec.containers", "name=\"\"");
    check("core.v1.Pod", "spec.containers.[].ports", "containerPort=0,protocol=\"TCP\"");
    check("core.v1.Pod", "spec.containers.[].args", "leaf");
    check("core.v1.Pod", "spec.containers.[].resources.limits", "map");
    check("core.v1.Pod", "spec.nodeSelector", "leaf");
    check("core.v1.Pod", "spec.tolerations", "leaf");
    check("core.v1.Pod", "status.startTime", "leaf");
    check("core.v1.Service", "spec.ports", "port=0,protocol=\"TCP\"");
    check("core.v1.Service", "spec.selector", "leaf");
    check("apps.v1.Deployment", "spec.selector", "leaf");
    check("apps.v1.Deployment", "spec.strategy.rollingUpdate.maxSurge", "leaf");
    check("apps.v1.ControllerRevision", "data", "any");
    check("core.v1.PersistentVolume", "spec.claimRef", "struct");
    check("core.v1.Event", "involvedObject", "leaf");
    check("rbac.v1.Role", "rules", "leaf");
}

/// In the words of kube-apiserver 1.36.3.
#[test]
fn schemas_within_schemas_are_read_like_schemas() {
    let schema = Schema::builtin(
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    );
    let refused = |inner: Value| {
        let mut definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "spec": {"versions": [{"schema": {"openAPIV3Schema": {"properties": {"l": inner}}}}]}});
        let outcome = check(&mut definition, &schema, FieldValidation::Strict);
        outcome.err().map_or(String::new(), |error| {
            error.to_string().split_once(": ").map_or(String::new(), |(_, why)| why.to_owned())
        })
    };
    let place = "Go struct field JSONSchemaProps.spec.versions.schema.openAPIV3Schema.properties";
    #[rustfmt::skip]
    let cases = [
        (json!({"items": {"type": "string"}, "additionalProperties": false}), String::new()),
        (json!({"items": {"type": 5}}), format!("json: cannot unmarshal number into {place}.items.type of type string")),
        (json!({"items": {"properties": {"k": "x"}}}), format!("json: cannot unmarshal string into {place}.items.properties of type v1.JSONSchemaProps")),
        // Upstream decodes these in a way that does not see what it does not know.
        (json!({"items": {"wrong": 1}}), String::new()),
        (json!({"additionalProperties": "x"}), "boolean or JSON schema expected".into()),
    ];
    for (inner, expected) in cases {
        assert_eq!(refused(inner.clone()), expected, "{inner}");
    }
}

/// In the words of kube-apiserver 1.36.3, which calls types as Go does.
#[test]
fn what_does_not_fit_is_told_with_gos_names() {
    let schema = Schema::builtin("io.k8s.api.core.v1.Pod");
    let refused = |spec: Value| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": spec});
        let error = check(&mut pod, &schema, FieldValidation::Ignore).expect_err("it does not fit");
        error.to_string().split_once("Go struct field ").expect("a field").1.to_owned()
    };
    #[rustfmt::skip]
    let cases = [
        (json!({"restartPolicy": 5}), "PodSpec.spec.restartPolicy of type v1.RestartPolicy"),
        (json!({"nodeName": 5}), "PodSpec.spec.nodeName of type string"),
        (json!({"volumes": [{"emptyDir": {"medium": 5}}]}), "EmptyDirVolumeSource.spec.volumes.VolumeSource.emptyDir.medium of type v1.StorageMedium"),
        (json!({"containers": [{"livenessProbe": {"httpGet": "x"}}]}), "Probe.spec.containers.livenessProbe.ProbeHandler.httpGet of type v1.HTTPGetAction"),
        (json!({"containers": [{"securityContext": {"capabilities": {"add": {}}}}]}), "Capabilities.spec.containers.securityContext.capabilities.add of type []v1.Capability"),
        (json!({"containers": [{"securityContext": {"capabilities": {"add": [5]}}}]}), "Capabilities.spec.containers.securityContext.capabilities.add of type v1.Capability"),
        (json!({"containers": [{"envFrom": [{"configMapRef": {"name": 5}}]}]}), "ConfigMapEnvSource.spec.containers.envFrom.configMapRef.LocalObjectReference.name of type string"),
    ];
    for (spec, expected) in cases {
        assert_eq!(refused(spec.clone()), expected, "{spec}");
    }
}
