//! `apps/v1/statefulsets`.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use super::deployments::ready;
use crate::check::same;
use crate::core::persistentvolumeclaims as claims;
use crate::fill::{absent, made, objects, zero};
use crate::pod::{defaults, warnings};
use crate::rules::{self, Must, Rule};
use crate::strategy::{Shape, Strategy};
use crate::table::{Cell, tabled};
use crate::workload::{self, CONTAINERS, IMAGES};

#[derive(Clone, Copy, Debug)]
pub struct StatefulSets;

/// What of the specification may change.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Ready", |object, _| ready(object).into()),
    Cell::AGE,
    CONTAINERS,
    IMAGES,
];

/// What there is to say of fields by themselves.
const RULES: &[Rule] = &[
    ("spec.podManagementPolicy", Must::BeGivenFormed(management)),
    ("spec.updateStrategy.rollingUpdate.partition", Must::NotBeNegative),
    (
        "spec.persistentVolumeClaimRetentionPolicy.whenDeleted",
        Must::BeGivenOneOf(&["Retain", "Delete"]),
    ),
    (
        "spec.persistentVolumeClaimRetentionPolicy.whenScaled",
        Must::BeGivenOneOf(&["Retain", "Delete"]),
    ),
    ("spec.replicas", Must::NotBeNegative),
    ("spec.minReadySeconds", Must::NotBeNegative),
    ("spec.ordinals.start", Must::NotBeNegative),
    ("spec.serviceName", Must::BeFormedIfAny(names::dns1123_label)),
];

fn management(policy: &str) -> Vec<String> {
    match policy {
        "OrderedReady" | "Parallel" => Vec::new(),
        _ => vec!["must be 'OrderedReady' or 'Parallel'".to_owned()],
    }
}

/// How pods are replaced, and the claims that each has.
fn parts(spec: &Value, errors: &mut Vec<FieldError>) {
    let path = FieldPath::new("spec");
    let strategy = &spec["updateStrategy"];
    if !matches!(meta::text(strategy, &["type"]), "RollingUpdate" | "OnDelete") {
        let detail = "must be 'RollingUpdate' or 'OnDelete'";
        errors.push(FieldError::invalid(path.child("updateStrategy"), strategy.clone(), detail));
    }
    for (at, claim) in meta::items(spec, &["volumeClaimTemplates"]).iter().enumerate() {
        let path = path.child("volumeClaimTemplates").index(at).child("spec");
        claims::spec(&claim["spec"], &path, errors);
        // Each is a volume of the pods, and told where that is.
        let name = meta::text(claim, &["metadata", "name"]);
        let path = FieldPath::new("spec.template.spec.volumes").index(at);
        if name.is_empty() {
            let claim = path.child("persistentVolumeClaim").child("claimName");
            errors.push(FieldError::required(claim, ""));
            errors.push(FieldError::required(path.child("name"), ""));
        }
        let problems = names::dns1123_label(name).into_iter().filter(|_| !name.is_empty());
        errors.extend(problems.map(|it| FieldError::invalid(path.child("name"), name, it)));
    }
}

impl Strategy for StatefulSets {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: true }
    }

    fn name_problems(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }

    fn default(&self, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        let spec = made(fields, "spec");
        defaults::template(spec);
        zero(spec, "podManagementPolicy", "OrderedReady");
        absent(spec, "replicas", 1);
        absent(spec, "revisionHistoryLimit", 10);
        let strategy = made(spec, "updateStrategy");
        if strategy.get("type").is_none_or(|kind| kind == "") {
            strategy.insert("type".into(), "RollingUpdate".into());
            made(strategy, "rollingUpdate");
        }
        if let Some(rolling) = crate::fill::object(strategy, "rollingUpdate") {
            absent(rolling, "partition", 0);
        }
        let retention = made(spec, "persistentVolumeClaimRetentionPolicy");
        zero(retention, "whenDeleted", "Retain");
        zero(retention, "whenScaled", "Retain");
        for claim in objects(spec, "volumeClaimTemplates") {
            absent(claim, "kind", "PersistentVolumeClaim");
            absent(claim, "apiVersion", "v1");
            absent(made(claim, "spec"), "volumeMode", "Filesystem");
            absent(made(claim, "status"), "phase", "Pending");
        }
    }

    fn validate_status(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let counts = [
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ];
        let mut errors = workload::status_counts(new, &counts);
        let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        let than_ready = "cannot be greater than status.readyReplicas";
        workload::status_parts(new, &parts, than_ready, &mut errors);
        errors
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        rules::check(new, &FieldPath::default(), RULES, &mut errors);
        parts(&new["spec"], &mut errors);
        if new["spec"]["updateStrategy"]["type"] == "OnDelete"
            && meta::at(new, &["spec", "updateStrategy", "rollingUpdate"]).is_some()
        {
            let path = FieldPath::new("spec.updateStrategy").child("rollingUpdate");
            let shown = new["spec"]["updateStrategy"]["rollingUpdate"].clone();
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(FieldError::invalid(path, shown, detail));
        }
        workload::selector(new, workload::OF_STATEFUL_SETS, &mut errors);
        workload::lasting_template(new, &mut errors);
        if let Some(old) = old {
            let mut allowed = new["spec"].clone();
            for field in CHANGEABLE {
                allowed[field] = old["spec"][field].clone();
            }
            if !same(&allowed, &old["spec"]) {
                let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
                errors.push(FieldError::forbidden("spec", detail));
            }
        }
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut found = warnings::of_template(new, old, &["spec", "template"]);
        if meta::number(new, &["spec", "revisionHistoryLimit"]).is_some_and(|limit| limit < 0) {
            let text = "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended";
            found.push(text.to_owned());
        }
        found
    }

    tabled!(CELLS);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_some_fields_may_change() {
        let set = |service: &str, replicas: i64| {
            let mut object = json!({"metadata": {"name": "s"}, "spec": {
                "serviceName": service, "replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}});
            StatefulSets.default(&mut object);
            object
        };
        assert!(StatefulSets.validate(&set("x", 1), None).is_empty());
        assert!(StatefulSets.validate(&set("x", 2), Some(&set("x", 1))).is_empty());
        assert_eq!(StatefulSets.validate(&set("y", 1), Some(&set("x", 1)))[0].field, "spec");
    }
}
