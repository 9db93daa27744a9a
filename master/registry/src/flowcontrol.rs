//! `flowcontrol.apiserver.k8s.io/v1`: defaults, rules and tables of priority and fairness.
//!
//! Kept for clients; what bounds requests here is `filter/in_flight.rs` of the API server.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::{Map, Value};

use crate::check::{self, Findings};
use crate::fill::{absent, made, object};
use crate::plain::Plain;
use crate::rules::{self, Must, Rule};
use crate::statuses;
use crate::table::{Cell, or};

pub const FLOW_SCHEMAS: Plain = Plain::bare()
    .status()
    .generation()
    .default(flow_schema)
    .validate(flow_schema_rules)
    .validate_status(statuses::flow_control)
    .cells(&[
        Cell::NAME,
        Cell::text("PriorityLevel", |schema, _| {
            or(schema, &["spec", "priorityLevelConfiguration", "name"], "")
        }),
        Cell::text("MatchingPrecedence", |schema, _| {
            let number = meta::number(schema, &["spec", "matchingPrecedence"]);
            number.unwrap_or_default().to_string().into()
        }),
        Cell::text("DistinguisherMethod", |schema, _| {
            or(schema, &["spec", "distinguisherMethod", "type"], "<none>")
        }),
        Cell::AGE,
        Cell::text("MissingPL", |schema, _| dangling(schema).into()),
    ]);

pub const PRIORITY_LEVELS: Plain = Plain::bare()
    .status()
    .generation()
    .default(priority_level)
    .validate(priority_level_rules)
    .validate_status(statuses::flow_control)
    .cells(&[
        Cell::NAME,
        Cell::text("Type", |level, _| or(level, &["spec", "type"], "")),
        Cell::text("NominalConcurrencyShares", |level, _| {
            let shares = meta::number(level, &["spec", "limited", "nominalConcurrencyShares"]);
            let exempt = meta::number(level, &["spec", "exempt", "nominalConcurrencyShares"]);
            shown(shares.or(exempt))
        }),
        Cell::text("Queues", |level, _| queuing(level, "queues")),
        Cell::text("HandSize", |level, _| queuing(level, "handSize")),
        Cell::text("QueueLengthLimit", |level, _| queuing(level, "queueLengthLimit")),
        Cell::AGE,
    ]);

fn shown(number: Option<i64>) -> Value {
    number.map_or("<none>".into(), Value::from)
}

fn queuing(level: &Value, field: &str) -> Value {
    shown(meta::number(level, &["spec", "limited", "limitResponse", "queuing", field]))
}

fn dangling(schema: &Value) -> &str {
    let conditions = meta::items(schema, &["status", "conditions"]).iter();
    let mut found = conditions.filter(|condition| condition["type"] == "Dangling");
    found.next().map_or("?", |condition| meta::text(condition, &["status"]))
}

fn flow_schema(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    crate::fill::zero(made(fields, "spec"), "matchingPrecedence", 1000);
}

fn priority_level(level: &mut Value) {
    let Some(fields) = level.as_object_mut() else { return };
    let spec = made(fields, "spec");
    match spec.get("type").and_then(Value::as_str) {
        Some("Exempt") => {
            let exempt = made(spec, "exempt");
            absent(exempt, "nominalConcurrencyShares", 0);
            absent(exempt, "lendablePercent", 0);
        }
        _ => {
            let Some(limited) = object(spec, "limited") else { return };
            absent(limited, "nominalConcurrencyShares", 30);
            absent(limited, "lendablePercent", 0);
            if let Some(queuing) =
                object(limited, "limitResponse").and_then(|response| object(response, "queuing"))
            {
                queues(queuing);
            }
        }
    }
}

fn queues(queuing: &mut Map<String, Value>) {
    for (field, number) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
        crate::fill::zero(queuing, field, number);
    }
}

const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
const NO_VERB: &str = "verbs must contain at least one value";
const NO_GROUP: &str = "resource rules must supply at least one api group";
const NO_RESOURCE: &str = "resource rules must supply at least one resource";
const NO_URL: &str = "nonResourceURLs must contain at least one value";

const FLOW_RULES: &[Rule] = &[
    ("spec.rules[].subjects", Must::BeThere("subjects must contain at least one value")),
    ("spec.rules[].resourceRules[].verbs", Must::BeThere(NO_VERB)),
    ("spec.rules[].resourceRules[].apiGroups", Must::BeThere(NO_GROUP)),
    ("spec.rules[].resourceRules[].resources", Must::BeThere(NO_RESOURCE)),
    ("spec.rules[].resourceRules[].namespaces[]", Must::BeFormed(namespace)),
    ("spec.rules[].nonResourceRules[].verbs", Must::BeThere(NO_VERB)),
    ("spec.rules[].nonResourceRules[].nonResourceURLs", Must::BeThere(NO_URL)),
    ("spec.rules[].nonResourceRules[].nonResourceURLs[]", Must::BeFormed(url)),
];

fn namespace(text: &str) -> Vec<String> {
    let wrong = if text == "*" { vec![] } else { names::dns1123_label(text) };
    let told =
        |problem| format!("each member of this list must be '*' or a DNS-1123 label; {problem}");
    wrong.into_iter().map(told).collect()
}

/// A path, or all paths below one.
fn url(text: &str) -> Vec<String> {
    let wrong = if text.is_empty() {
        "must not be empty"
    } else if text == "/" || text == "*" {
        return Vec::new();
    } else if !text.starts_with('/') {
        "must start with slash"
    } else if text.contains(' ') {
        "must not contain white-space"
    } else if text.contains("//") {
        "must not contain double slash"
    } else if text.strip_suffix("/*").unwrap_or(text).contains('*') {
        "wildcard can only do suffix matching"
    } else {
        return Vec::new();
    };
    vec![wrong.to_owned()]
}

/// Whom a rule is about, and which verbs; what else a rule has is data ([`FLOW_RULES`]).
fn subjects(schema: &Value, errors: &mut Findings) {
    for (at, rule) in meta::items(schema, &["spec", "rules"]).iter().enumerate() {
        let path = FieldPath::new("spec.rules").index(at);
        for list in ["resourceRules", "nonResourceRules"] {
            for (at, rule) in meta::items(rule, &[list]).iter().enumerate() {
                let verbs = meta::items(rule, &["verbs"]);
                let is_known = |verb: &Value| VERBS.iter().any(|known| verb == known);
                let is_all = verbs.len() == 1 && verbs[0] == "*";
                if !is_all && !verbs.iter().all(is_known) {
                    let path = path.child(list).index(at).child("verbs");
                    errors.push(FieldError::not_supported(path, verbs.to_vec(), &VERBS));
                }
            }
        }
        for (at, subject) in meta::items(rule, &["subjects"]).iter().enumerate() {
            subject_rules(subject, &path.child("subjects").index(at), errors);
        }
    }
}

fn subject_rules(subject: &Value, path: &FieldPath, errors: &mut Findings) {
    const NO_NAMESPACE: &str = "must specify namespace for service account";
    const KINDS: [&str; 3] = ["Group", "ServiceAccount", "User"];
    let account: &[Rule] = &[
        ("name", Must::BeThere("")),
        ("namespace", Must::BeThere(NO_NAMESPACE)),
        ("namespace", Must::BeFormedIfAny(names::dns1123_label)),
    ];
    let named: &[Rule] = &[("name", Must::BeThere(""))];
    let (field, rules, missing) = match meta::text(subject, &["kind"]) {
        "User" => ("user", named, "user is required when subject kind is 'User'"),
        "Group" => ("group", named, "group is required when subject kind is 'Group'"),
        "ServiceAccount" => (
            "serviceAccount",
            account,
            "serviceAccount is required when subject kind is 'ServiceAccount'",
        ),
        other => {
            errors.push(FieldError::not_supported(path.child("kind"), other, &KINDS));
            return;
        }
    };
    let path = path.child(field);
    match meta::at(subject, &[field]) {
        None => errors.push(FieldError::required(path, missing)),
        Some(found) => {
            rules::check(found, &path, rules, errors);
            let name = meta::text(found, &["name"]);
            if field == "serviceAccount" && !matches!(name, "" | "*") {
                for problem in names::dns1123_subdomain(name) {
                    errors.push(FieldError::invalid(path.child("name"), name, problem));
                }
            }
        }
    }
}

fn flow_schema_rules(new: &Value, _old: Option<&Value>) -> Findings {
    let mut errors = Vec::new();
    let path = FieldPath::new("spec");
    let precedence = meta::number(new, &["spec", "matchingPrecedence"]).unwrap_or_default();
    if !(1..=10_000).contains(&precedence) {
        let field = path.child("matchingPrecedence");
        let detail = if precedence < 1 {
            "must be a positive value"
        } else {
            "must not be greater than 10000"
        };
        errors.push(FieldError::invalid(field, precedence, detail));
    }
    rules::check(new, &FieldPath::default(), FLOW_RULES, &mut errors);
    subjects(new, &mut errors);
    let level = path.child("priorityLevelConfiguration");
    let named = ("name", Must::BeThereFormed(names::dns1123_subdomain));
    rules::check(&new["spec"]["priorityLevelConfiguration"], &level, &[named], &mut errors);
    if let Some(method) = meta::at(new, &["spec", "distinguisherMethod"]) {
        let place = path.child("distinguisherMethod");
        check::required_one_of(method, "type", &place, &["ByNamespace", "ByUser"], &mut errors);
    }
    errors
}

const PERCENT: &str = "must be between 0 and 100, inclusive";
const NOT_LESS: &str = "must be a non-negative integer";
const LIMITED_RULES: &[Rule] = &[
    ("nominalConcurrencyShares", Must::BeWithin(0, i64::MAX, NOT_LESS)),
    ("lendablePercent", Must::BeWithin(0, 100, PERCENT)),
    (
        "borrowingLimitPercent",
        Must::BeWithin(0, i64::MAX, "if specified, must be a non-negative integer"),
    ),
];

/// Where requests wait: enough queues, and a hand of them.
fn queuing_rules(limited: &Value, path: &FieldPath, errors: &mut Findings) {
    const QUEUES_MAX: i64 = 10_000_000;
    let path = path.child("limitResponse").child("queuing");
    if limited["limitResponse"]["type"] != "Queue" {
        return;
    }
    let Some(queuing) = meta::at(limited, &["limitResponse", "queuing"]) else {
        let detail = "must not be empty if limited.limitResponse.type is Limited";
        errors.push(FieldError::required(path, detail));
        return;
    };
    let number = |field: &str| meta::number(queuing, &[field]).unwrap_or_default();
    let (queues, hand) = (number("queues"), number("handSize"));
    for field in ["queueLengthLimit", "queues", "handSize"] {
        if number(field) <= 0 {
            errors.push(FieldError::invalid(path.child(field), number(field), "must be positive"));
        }
    }
    if queues > QUEUES_MAX {
        let detail = format!("must not be greater than {QUEUES_MAX}");
        errors.push(FieldError::invalid(path.child("queues"), queues, detail));
    }
    if hand > queues {
        let detail = format!("should not be greater than queues ({queues})");
        errors.push(FieldError::invalid(path.child("handSize"), hand, detail));
    }
}

fn priority_level_rules(new: &Value, _old: Option<&Value>) -> Findings {
    let mut errors = Vec::new();
    let path = FieldPath::new("spec");
    let spec = &new["spec"];
    check::required_one_of(spec, "type", &path, &["Exempt", "Limited"], &mut errors);
    let has = |field: &str| meta::at(spec, &[field]).is_some();
    match meta::text(spec, &["type"]) {
        "Exempt" if has("limited") => {
            let detail = "must be nil if the type is not Limited";
            errors.push(FieldError::forbidden(path.child("limited"), detail));
        }
        "Limited" if has("exempt") => {
            let detail = "must be nil if the type is Limited";
            errors.push(FieldError::forbidden(path.child("exempt"), detail));
        }
        "Limited" if !has("limited") => {
            let detail = "must not be empty when type is Limited";
            errors.push(FieldError::required(path.child("limited"), detail));
        }
        "Limited" => {
            rules::check(&spec["limited"], &path.child("limited"), LIMITED_RULES, &mut errors);
            queuing_rules(&spec["limited"], &path.child("limited"), &mut errors);
            let response = &spec["limited"]["limitResponse"];
            let place = path.child("limited").child("limitResponse");
            check::required_one_of(response, "type", &place, &["Queue", "Reject"], &mut errors);
        }
        _ => {}
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::strategy::Strategy;

    #[test]
    fn a_limited_level_has_shares_and_queues() {
        let mut level = json!({"metadata": {"name": "l"}, "spec": {"type": "Limited",
            "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 16}}}}});
        Strategy::default(&PRIORITY_LEVELS, &mut level);
        assert_eq!(level["spec"]["limited"]["nominalConcurrencyShares"], 30);
        let queuing = json!({"queues": 16, "handSize": 8, "queueLengthLimit": 50});
        assert_eq!(level["spec"]["limited"]["limitResponse"]["queuing"], queuing);
        assert_eq!(Strategy::validate(&PRIORITY_LEVELS, &level, None), []);
        level["spec"]["type"] = "Exempt".into();
        assert_eq!(Strategy::validate(&PRIORITY_LEVELS, &level, None)[0].field, "spec.limited");
    }

    #[test]
    fn a_flow_schema_names_its_level() {
        let mut schema = json!({"metadata": {"name": "f"}, "spec": {}});
        Strategy::default(&FLOW_SCHEMAS, &mut schema);
        assert_eq!(schema["spec"]["matchingPrecedence"], 1000);
        let field = "spec.priorityLevelConfiguration.name";
        assert_eq!(Strategy::validate(&FLOW_SCHEMAS, &schema, None)[0].field, field);
    }
}
