//! `rbac.authorization.k8s.io/v1` roles and cluster roles.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, selector};
use serde_json::Value;

use crate::plain::Plain;
use crate::table::Cell;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Created At", |role, _| meta::text(role, &["metadata", "creationTimestamp"]).into()),
];

pub const ROLES: Plain =
    Plain::bare().path_names().cells(CELLS).validate(|new, _| rules(new, true));
pub const CLUSTER_ROLES: Plain =
    Plain::bare().path_names().cells(CELLS).validate(|new, _| rules(new, false));

fn rules(role: &Value, is_namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(aggregation) = meta::at(role, &["aggregationRule"])
        && meta::items(aggregation, &["clusterRoleSelectors"]).is_empty()
    {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        let path = "aggregationRule.clusterRoleSelectors";
        errors.push(FieldError::required(path, detail));
    }
    for (at, rule) in meta::items(role, &["rules"]).iter().enumerate() {
        let path = FieldPath::new("rules").index(at);
        let is_empty = |field: &str| meta::items(rule, &[field]).is_empty();
        if is_empty("verbs") {
            let detail = "verbs must contain at least one value";
            errors.push(FieldError::required(path.child("verbs"), detail));
        }
        if !is_empty("nonResourceURLs") {
            if is_namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                let shown = rule["nonResourceURLs"].clone();
                errors.push(FieldError::invalid(path.child("nonResourceURLs"), shown, detail));
            }
            if !(is_empty("apiGroups") && is_empty("resources") && is_empty("resourceNames")) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                let shown = rule["nonResourceURLs"].clone();
                errors.push(FieldError::invalid(path.child("nonResourceURLs"), shown, detail));
            }
            continue;
        }
        if is_empty("apiGroups") {
            let detail = "resource rules must supply at least one api group";
            errors.push(FieldError::required(path.child("apiGroups"), detail));
        }
        if is_empty("resources") {
            let detail = "resource rules must supply at least one resource";
            errors.push(FieldError::required(path.child("resources"), detail));
        }
    }
    let selectors = meta::items(role, &["aggregationRule", "clusterRoleSelectors"]);
    for (at, found) in selectors.iter().enumerate() {
        let path = FieldPath::new("aggregationRule.clusterRoleSelectors").index(at);
        errors.extend(selector::validate(found, &path));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_name_verbs_groups_and_resources() {
        let fields = |rule: Value, is_namespaced: bool| -> Vec<String> {
            rules(&json!({"rules": [rule]}), is_namespaced)
                .into_iter()
                .map(|error| error.field)
                .collect()
        };
        let urls = json!({"verbs": ["get"], "nonResourceURLs": ["/x"]});
        assert_eq!(
            fields(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}), true),
            [""; 0]
        );
        assert_eq!(
            fields(json!({}), true),
            ["rules[0].verbs", "rules[0].apiGroups", "rules[0].resources"]
        );
        assert_eq!(fields(urls.clone(), true), ["rules[0].nonResourceURLs"]);
        assert_eq!(fields(urls, false), [""; 0]);
    }
}
