//! What a container may have by the list it is in: before the others, or added to them later.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::Value;

use super::probes;
use crate::check::{self, Findings};
use crate::rules::{self, Must};

/// A container that ends before the main ones begin, unless it is a sidecar.
pub(crate) fn init(
    container: &Value,
    path: &FieldPath,
    grace_s: Option<i64>,
    errors: &mut Findings,
) {
    let is_sidecar = super::status::is_sidecar(container);
    let known = Must::BeOneOf(&["Always", "Never", "OnFailure"]);
    rules::check(container, path, &[("restartPolicy", known)], errors);
    if is_sidecar {
        probes::validate(container, path, grace_s, errors);
        return;
    }
    for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if meta::at(container, &[field]).is_some() {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(path.child(field), detail));
        }
    }
}

/// A container that comes later is there to look at the others: nothing may be built on it.
pub(crate) fn ephemeral(
    container: &Value,
    path: &FieldPath,
    others: &BTreeSet<String>,
    errors: &mut Findings,
) {
    const REFUSED: [&str; 9] = [
        "ports",
        "resources",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ];
    let detail = "cannot be set for an Ephemeral Container";
    let target = meta::text(container, &["targetContainerName"]);
    if !target.is_empty() && !others.contains(target) {
        errors.push(FieldError::not_found(path.child("targetContainerName"), target));
    }
    let refused = REFUSED.iter().filter(|field| !check::same(&container[**field], &Value::Null));
    errors.extend(refused.map(|field| FieldError::forbidden(path.child(field), detail)));
    for (at, mount) in meta::items(container, &["volumeMounts"]).iter().enumerate() {
        for field in ["subPath", "subPathExpr"] {
            if !meta::text(mount, &[field]).is_empty() {
                let path = path.child("volumeMounts").index(at).child(field);
                errors.push(FieldError::forbidden(path, detail));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// In the words of kube-apiserver 1.36.3.
    #[test]
    fn nothing_is_built_on_an_ephemeral_container() {
        let container = json!({
            "name": "e", "image": "i", "resources": {"limits": {"cpu": "1"}}, "ports": [{"containerPort": 1}],
            "targetContainerName": "none", "volumeMounts": [{"name": "v", "mountPath": "/m", "subPath": "x"}],
        });
        let path = FieldPath::new("spec.ephemeralContainers").index(0);
        let mut errors = Vec::new();
        ephemeral(&container, &path, &BTreeSet::from(["c".to_owned()]), &mut errors);
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "spec.ephemeralContainers[0].targetContainerName: Not found: \"none\"",
                "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
                "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container",
                "spec.ephemeralContainers[0].volumeMounts[0].subPath: Forbidden: cannot be set for an Ephemeral Container",
            ]
        );
        let plain = json!({"name": "e", "image": "i", "resources": {}, "targetContainerName": "c"});
        let mut errors = Vec::new();
        ephemeral(&plain, &path, &BTreeSet::from(["c".to_owned()]), &mut errors);
        assert_eq!(errors, []);
    }
}
