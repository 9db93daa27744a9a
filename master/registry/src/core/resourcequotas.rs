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

/// Which pods a quota is about.
fn scopes(spec: &Value, errors: &mut Findings) {
    let scopes = meta::items(spec, &["scopes"]);
    let is_known = |scope: &str| SCOPES.contains(&scope);
    if !scopes.iter().all(|scope| is_known(scope.as_str().unwrap_or_default())) {
        errors.push(FieldError::invalid("spec.scopes", scopes.to_vec(), "unsupported scope"));
    }
    // Upstream does not say which one of the list is wrong.
    let path = FieldPath::new("spec.scopeSelector.matchExpressions");
    for requirement in meta::items(spec, &["scopeSelector", "matchExpressions"]) {
        let scope = meta::text(requirement, &["scopeName"]);
        if !is_known(scope) {
            errors.push(FieldError::invalid(path.child("scopeName"), scope, "unsupported scope"));
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
