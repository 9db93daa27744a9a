//! What a webhook's configuration must be.
//!
//! # Path
//! `rows.rs` → here

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use super::expression::{Expression, Scope, Wanted};
use crate::cel::asks_unknown;
use crate::check::Findings;
use crate::rules::{self, Must, Rule};

/// Versions of the review that upstream sends.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];
const EFFECTS: &[&str] = &["None", "NoneOnDryRun"];

const RULES: &[Rule] = &[
    ("webhooks[].name", Must::BeThereFormed(name)),
    ("webhooks", Must::DifferIn("name")),
    ("webhooks[].rules[].operations", Must::BeThere("")),
    (
        "webhooks[].rules[].operations[]",
        Must::BeOneOf(&["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]),
    ),
    ("webhooks[].rules[].apiGroups", Must::BeThere("")),
    ("webhooks[].rules[].apiVersions", Must::BeThere("")),
    ("webhooks[].rules[].apiVersions[]", Must::BeThere("")),
    ("webhooks[].rules[].resources", Must::BeThere("")),
    ("webhooks[].rules[].resources[]", Must::BeThere("")),
    ("webhooks[].rules[].scope", Must::BeOneOf(&["*", "Cluster", "Namespaced"])),
    ("webhooks[].failurePolicy", Must::BeOneOf(&["Fail", "Ignore"])),
    ("webhooks[].matchPolicy", Must::BeOneOf(&["Equivalent", "Exact"])),
    ("webhooks[].reinvocationPolicy", Must::BeOneOf(&["IfNeeded", "Never"])),
    ("webhooks[].sideEffects", Must::BeChosen("must specify one of None, NoneOnDryRun", EFFECTS)),
    (
        "webhooks[].timeoutSeconds",
        Must::BeWithin(1, 30, "the timeout value must be between 1 and 30 seconds"),
    ),
    ("webhooks[].namespaceSelector", Must::BeSelector),
    ("webhooks[].objectSelector", Must::BeSelector),
    ("webhooks[].matchConditions[].expression", Must::BeThere("")),
    ("webhooks[].matchConditions[].name", Must::BeThereFormed(names::qualified_name)),
    ("webhooks[].matchConditions", Must::DifferIn("name")),
];

/// The name of a webhook: a domain of three parts.
fn name(text: &str) -> Vec<String> {
    let found = names::dns1123_subdomain(text);
    if found.is_empty() && text.split('.').count() < 3 {
        return vec![
            "should be a domain with at least three segments separated by dots".to_owned(),
        ];
    }
    found
}

/// What is wrong with a configuration.
pub(crate) fn rules(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    rules::check(new, &FieldPath::default(), RULES, &mut errors);
    for (at, webhook) in meta::items(new, &["webhooks"]).iter().enumerate() {
        let path = FieldPath::new("webhooks").index(at);
        reviews(webhook, &path.child("admissionReviewVersions"), &mut errors);
        client(&webhook["clientConfig"], &path.child("clientConfig"), &mut errors);
        conditions(webhook, &path.child("matchConditions"), &mut errors);
    }
    errors
}

fn reviews(webhook: &Value, path: &FieldPath, errors: &mut Findings) {
    let versions: Vec<&str> = meta::items(webhook, &["admissionReviewVersions"])
        .iter()
        .map(|version| version.as_str().unwrap_or_default())
        .collect();
    if versions.is_empty() {
        let detail = "must specify one of v1, v1beta1";
        errors.push(FieldError::required(path.clone(), detail));
        return;
    }
    for (at, version) in versions.iter().enumerate() {
        if versions[..at].contains(version) {
            errors.push(FieldError::invalid(path.index(at), *version, "duplicate version"));
            continue;
        }
        for problem in names::dns1035_label(version) {
            errors.push(FieldError::invalid(path.index(at), *version, problem));
        }
    }
    if !versions.iter().any(|version| REVIEWS.contains(version)) {
        let detail = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(path.clone(), versions, detail));
    }
}

/// Conditions are kept for others to evaluate: what only they know is let through.
fn conditions(webhook: &Value, path: &FieldPath, errors: &mut Findings) {
    let scope = Scope::plain(false);
    for (at, condition) in meta::items(webhook, &["matchConditions"]).iter().enumerate() {
        let source = meta::text(condition, &["expression"]);
        if source.trim().is_empty() {
            continue;
        }
        let wrong = Expression::compile(source, &scope, Wanted::Bool).program.err();
        if let Some(wrong) = wrong.filter(|_| !asks_unknown(source)) {
            let path = path.index(at).child("expression");
            errors.push(FieldError::invalid(path, source.trim(), wrong));
        }
    }
}

/// Where a webhook is.
fn client(config: &Value, path: &FieldPath, errors: &mut Findings) {
    match (meta::at(config, &["url"]).and_then(Value::as_str), meta::at(config, &["service"])) {
        (None, None) | (Some(_), Some(_)) => {
            let detail = "exactly one of url or service is required";
            errors.push(FieldError::required(path.clone(), detail));
        }
        (Some(url), None) => address(url, &path.child("url"), errors),
        (None, Some(service)) => {
            let path = path.child("service");
            let rules: &[Rule] = &[
                ("name", Must::BeThere("")),
                ("namespace", Must::BeThere("")),
                ("port", rules::PORT),
            ];
            rules::check(service, &path, rules, errors);
            if let Some(text) = meta::at(service, &["path"]).and_then(Value::as_str) {
                segments(text, &path.child("path"), errors);
            }
        }
    }
}

/// An address with `https`, a host, and nothing behind the path.
fn address(url: &str, path: &FieldPath, errors: &mut Findings) {
    const FORM: &str = "; desired format: https://host[/path]";
    let mut wrong = |value: &str, detail: &str| {
        errors.push(FieldError::invalid(path.clone(), value, format!("{detail}{FORM}")));
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        wrong(scheme, "'https' is the only allowed URL scheme");
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, rest) = rest.split_at(if scheme.is_empty() { 0 } else { end });
    if host.is_empty() {
        wrong("", "host must be specified");
    }
    if let Some((user, _)) = host.rsplit_once('@') {
        wrong(user, "user information is not permitted in the URL");
    }
    let (before, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    if !fragment.is_empty() {
        wrong(fragment, "fragments are not permitted in the URL");
    }
    if let Some((_, query)) = before.split_once('?') {
        wrong(query, "query parameters are not permitted in the URL");
    }
}

/// The path of a service: segments that could be names.
fn segments(text: &str, path: &FieldPath, errors: &mut Findings) {
    if text.is_empty() || text == "/" {
        return;
    }
    if text == "//" {
        errors.push(FieldError::invalid(path.clone(), text, "segment[0] may not be empty"));
        return;
    }
    if !text.starts_with('/') {
        errors.push(FieldError::invalid(path.clone(), text, "must start with a '/'"));
    }
    let inner = text.strip_prefix('/').unwrap_or(text);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for (at, step) in inner.split('/').enumerate() {
        if step.is_empty() {
            let detail = format!("segment[{at}] may not be empty");
            errors.push(FieldError::invalid(path.clone(), text, detail));
            continue;
        }
        for problem in names::dns1123_subdomain(step) {
            let detail = format!("segment[{at}]: {problem}");
            errors.push(FieldError::invalid(path.clone(), text, detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_webhook_says_what_it_is_asked_about_and_where_it_is() {
        let good = json!({"name": "a.b.c", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"service": {"namespace": "n", "name": "s", "path": "/p", "port": 443}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]});
        let found = |field: &str, value: Value| -> Vec<String> {
            let mut webhook = good.clone();
            webhook[field] = value;
            let text = |error: FieldError| error.to_string().replace("webhooks[0].", "");
            rules(&json!({"webhooks": [webhook]}), None).into_iter().map(text).collect()
        };
        #[rustfmt::skip]
        let cases = [
            ("name", json!("a.b.c"), vec![]),
            ("name", json!("a.b"), vec!["name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots"]),
            ("sideEffects", json!("Some"), vec!["sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\""]),
            ("timeoutSeconds", json!(31), vec!["timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"]),
            ("admissionReviewVersions", json!(["v2"]), vec!["admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1"]),
            ("clientConfig", json!({}), vec!["clientConfig: Required value: exactly one of url or service is required"]),
            ("clientConfig", json!({"url": "https://a.b/c"}), vec![]),
            ("clientConfig", json!({"url": "http://a.b/c"}),
             vec!["clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]"]),
        ];
        for (field, value, expected) in cases {
            assert_eq!(found(field, value.clone()), expected, "{field} {value}");
        }
    }
}
