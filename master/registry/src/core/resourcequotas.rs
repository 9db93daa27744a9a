//! `v1/resourcequotas`.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use crate::check::{self, Findings};
use crate::pod::containers::STANDARD;
use crate::strategy::{Shape, Strategy};
use crate::table::{Cell, tabled};

#[derive(Clone, Copy, Debug)]
pub struct ResourceQuotas;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Request", |quota, _| usage(quota, false).into()),
    Cell::text("Limit", |quota, _| usage(quota, true).into()),
    Cell::AGE,
];

/// `pods: 1/10, requests.cpu: 0/2`, or only the limits.
fn usage(quota: &Value, limits: bool) -> String {
    let amount = |list: &str, name: &str| match meta::text(quota, &["status", list, name]) {
        "" => "0".to_owned(),
        text => text.to_owned(),
    };
    let hard = meta::at(quota, &["status", "hard"]).and_then(Value::as_object);
    let names = hard.into_iter().flatten().map(|(name, _)| name);
    names
        .filter(|name| (*name == "limits" || name.starts_with("limits.")) == limits)
        .map(|name| format!("{name}: {}/{}", amount("used", name), amount("hard", name)))
        .collect::<Vec<_>>()
        .join(", ")
}

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

/// What is wrong with the name of something that is limited.
fn quota_resource(name: &str, path: &FieldPath) -> Findings {
    let mut errors: Findings = names::qualified_name(name)
        .into_iter()
        .map(|problem| FieldError::invalid(path.clone(), name, problem))
        .collect();
    let is_formed = errors.is_empty();
    let is_standard = STANDARD.contains(&name) || name.contains("hugepages-");
    if !name.contains('/') && !is_standard {
        if is_formed {
            let detail = "must be a standard resource type or fully qualified";
            errors.push(FieldError::invalid(path.clone(), name, detail));
        }
        let detail = "must be a standard resource for quota";
        errors.push(FieldError::invalid(path.clone(), name, detail));
    }
    errors
}

/// Amounts of what can be limited.
fn limits(amounts: &Value, path: &FieldPath, errors: &mut Findings) {
    for (name, amount) in amounts.as_object().into_iter().flatten() {
        errors.extend(quota_resource(name, &path.key(name)));
        check::amount(name, amount, path.key(name), errors);
    }
}

/// Scopes of which none is within the other.
const PAIRS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["NotTerminating", "Terminating"]];

/// What is limited of what is in a scope, by the names that upstream knows.
fn fits(scope: &str, name: &str) -> bool {
    let is_of_pods = name == "pods"
        || matches!(name.rsplit('.').next(), Some("cpu" | "memory"))
            && matches!(name.split('.').next(), Some("cpu" | "memory" | "requests" | "limits"));
    match scope {
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        scope if SCOPES.contains(&scope) => is_of_pods,
        _ => true,
    }
}

/// How many of the limited things a scope has nothing of.
fn misfits(spec: &Value, scope: &str) -> usize {
    let is_standard = |name: &&String| {
        (STANDARD.contains(&name.as_str()) && *name != "storage") || name.contains("hugepages-")
    };
    let hard = spec["hard"].as_object().into_iter().flatten().map(|(name, _)| name);
    hard.filter(is_standard).filter(|name| !fits(scope, name)).count()
}

/// Which pods a quota is about.
fn scopes(spec: &Value, errors: &mut Findings) {
    let scopes = meta::items(spec, &["scopes"]);
    let is_known = |scope: &str| SCOPES.contains(&scope);
    let mut wrong = |path: &str, shown: Value, detail: &str| {
        errors.push(FieldError::invalid(path, shown, detail));
    };
    let shown = || Value::from(scopes.to_vec());
    for scope in scopes.iter().map(|scope| scope.as_str().unwrap_or_default()) {
        if !is_known(scope) {
            wrong("spec.scopes", shown(), "unsupported scope");
        }
        for _ in 0..misfits(spec, scope) {
            wrong("spec.scopes", shown(), "unsupported scope applied to resource");
        }
    }
    for pair in PAIRS {
        if pair.iter().all(|one| scopes.iter().any(|scope| scope == one)) {
            wrong("spec.scopes", shown(), "conflicting scopes");
        }
    }
    // Upstream does not say which one of the list is wrong.
    let path = FieldPath::new("spec.scopeSelector.matchExpressions");
    for requirement in meta::items(spec, &["scopeSelector", "matchExpressions"]) {
        let scope = meta::text(requirement, &["scopeName"]);
        if !is_known(scope) {
            errors.push(FieldError::invalid(path.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in 0..misfits(spec, scope) {
            let shown = spec["scopeSelector"].clone();
            let detail = "unsupported scope applied to resource";
            errors.push(FieldError::invalid(path.clone(), shown, detail));
        }
        let is_plain =
            !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && is_known(scope);
        let operator = meta::text(requirement, &["operator"]);
        if is_plain && operator != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(FieldError::invalid(path.child("operator"), operator, detail));
        }
        let values = meta::items(requirement, &["values"]).len();
        match meta::text(requirement, &["operator"]) {
            "In" | "NotIn" if values == 0 => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                let shown = requirement["values"].clone();
                errors.push(FieldError::invalid(path.child("values"), shown, detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid(path.child("operator"), other, detail));
            }
        }
    }
}

/// The scopes, each once.
fn set(quota: &Value) -> std::collections::BTreeSet<&str> {
    meta::items(quota, &["spec", "scopes"]).iter().filter_map(Value::as_str).collect()
}

impl Strategy for ResourceQuotas {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: false }
    }

    fn validate_status(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for list in ["hard", "used"] {
            let path = FieldPath::new("status").child(list);
            limits(&new["status"][list], &path, &mut errors);
        }
        errors
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        limits(&new["spec"]["hard"], &FieldPath::new("spec").child("hard"), &mut errors);
        scopes(&new["spec"], &mut errors);
        if let Some(old) = old
            && set(new) != set(old)
        {
            let shown = new["spec"]["scopes"].clone();
            errors.push(FieldError::invalid("spec.scopes", shown, "field is immutable"));
        }
        errors
    }

    tabled!(CELLS);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// In the words of kube-apiserver 1.36.3.
    #[test]
    fn scopes_fit_what_is_limited_and_each_other() {
        let findings = |hard: &[&str], scopes: &[&str], selected: Value| {
            let hard: Value = hard.iter().map(|name| ((*name).to_owned(), json!("1"))).collect();
            let quota = json!({"spec": {"hard": hard, "scopes": scopes,
                "scopeSelector": {"matchExpressions": selected}}});
            let found = ResourceQuotas.validate(&quota, None);
            let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
            shown
                .iter()
                .filter_map(|text| text.rsplit(": ").next().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let misfit = "unsupported scope applied to resource";
        let plain = |hard: &[&str], scopes: &[&str]| findings(hard, scopes, json!([]));
        assert_eq!(plain(&["pods"], &["BestEffort"]), [""; 0]);
        assert_eq!(plain(&["cpu"], &["BestEffort"]), [misfit]);
        assert_eq!(plain(&["cpu", "limits.memory"], &["Terminating"]), [""; 0]);
        assert_eq!(
            plain(&["secrets", "requests.ephemeral-storage"], &["Terminating"]),
            [misfit; 2]
        );
        assert_eq!(
            plain(&["count/jobs.batch", "requests.example.com/x"], &["Terminating"]),
            [""; 0]
        );
        assert_eq!(plain(&["requests.storage"], &["VolumeAttributesClass"]), [""; 0]);
        let both = ["BestEffort", "NotBestEffort"];
        assert_eq!(plain(&["pods"], &both), ["conflicting scopes"]);
        let one = |scope: &str, operator: &str| json!([{"scopeName": scope, "operator": operator}]);
        assert_eq!(findings(&["pods"], &[], one("PriorityClass", "Exists")), [""; 0]);
        assert_eq!(findings(&["secrets"], &[], one("PriorityClass", "Exists")), [misfit]);
        assert_eq!(findings(&["pods"], &[], one("Terminating", "DoesNotExist")).len(), 1);
    }

    #[test]
    fn rows_show_what_is_used_of_what() {
        let quota =
            json!({"status": {"hard": {"pods": "10", "limits.cpu": "4"}, "used": {"pods": "3"}}});
        assert_eq!(
            (usage(&quota, false), usage(&quota, true)),
            ("pods: 3/10".into(), "limits.cpu: 0/4".into())
        );
    }
}
