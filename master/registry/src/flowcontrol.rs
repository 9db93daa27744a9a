//! `flowcontrol.apiserver.k8s.io/v1`: defaults, rules and tables of priority and fairness.
//!
//! Kept for clients; what bounds requests here is `filter/in_flight.rs` of the API server.

use master_api::field::FieldPath;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::{Map, Value};

use crate::check::{self, Findings};
use crate::fill::{absent, made, object};
use crate::plain::Plain;
use crate::table::{Cell, or};

pub const FLOW_SCHEMAS: Plain = Plain::bare()
    .path_names()
    .status()
    .generation()
    .default(flow_schema)
    .validate(flow_schema_rules)
    .cells(&[
        Cell::NAME,
        Cell::text("PriorityLevel", |schema, _| {
            or(schema, &["spec", "priorityLevelConfiguration", "name"], "")
        }),
        Cell::integer("MatchingPrecedence", |schema, _| {
            meta::number(schema, &["spec", "matchingPrecedence"]).unwrap_or_default().into()
        }),
        Cell::text("DistinguisherMethod", |schema, _| {
            or(schema, &["spec", "distinguisherMethod", "type"], "<none>")
        }),
        Cell::AGE,
        Cell::text("MissingPL", |schema, _| dangling(schema).into()),
    ]);

pub const PRIORITY_LEVELS: Plain = Plain::bare()
    .path_names()
    .status()
    .generation()
    .default(priority_level)
    .validate(priority_level_rules)
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
    number.map_or("<none>".into(), |number| number.to_string().into())
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
    let level = path.child("priorityLevelConfiguration");
    check::required(&new["spec"]["priorityLevelConfiguration"], "name", &level, &mut errors);
    if let Some(method) = meta::at(new, &["spec", "distinguisherMethod"]) {
        let place = path.child("distinguisherMethod");
        check::required_one_of(method, "type", &place, &["ByNamespace", "ByUser"], &mut errors);
    }
    errors
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
