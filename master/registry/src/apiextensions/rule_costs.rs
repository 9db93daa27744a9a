//! Rules of a schema (`x-kubernetes-validations`): that they compile, find the old values that they speak of, and cost
//! no more than upstream allows, by its estimate.
//!
//! # Invariants
//! - A rule is estimated as often as its value can be in one object: by the bounds around it or, without them, by what
//!   a request can hold.

use master_api::field::FieldPath;
use master_api::status::FieldError;

use crate::cel::cost::Sizes;
use crate::check::Findings;
use crate::custom::structural::{Additional, ListType, Structural, Type};

/// What one rule may cost, and all of a schema's together.
const RULE_COST_MAX: u64 = 10_000_000;
const SCHEMA_COST_MAX: u64 = 100_000_000;
/// So many are named of those that make a schema too costly.
const NAMED_MAX: usize = 4;

/// Checks the rules of a version's schema, which is otherwise right.
pub(super) fn rules(compiled: &Structural, path: &FieldPath, errors: &mut Findings) {
    let mut total = Total::default();
    let mut judge = Judge { total: &mut total, errors };
    judge.walk(compiled, path, &Around { times: Some(1), lost: None, is_root: true });
    total.tell(path, errors);
}

/// What a schema is within.
#[derive(Clone, Debug)]
struct Around {
    /// How often its value can be in one object; `None` if nothing bounds it.
    times: Option<u64>,
    /// The place below which no value can be found again after an update.
    lost: Option<FieldPath>,
    is_root: bool,
}

impl Around {
    /// What the schemas of a schema's values are within, each of which there can be `times_max` of.
    fn below(&self, times_max: Option<u64>) -> Self {
        let times = self.times.zip(times_max).map(|(times, more)| times.saturating_mul(more));
        Self { times, is_root: false, ..self.clone() }
    }
}

/// What all rules cost, and the most costly of them, the first first.
#[derive(Debug, Default)]
struct Total {
    cost: u64,
    most: Vec<(FieldPath, u64)>,
}

impl Total {
    fn add(&mut self, place: FieldPath, cost: u64) {
        self.cost = self.cost.saturating_add(cost);
        if cost >= SCHEMA_COST_MAX / 100 {
            self.most.push((place, cost));
            self.most.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.most.truncate(NAMED_MAX);
        }
    }

    fn tell(&self, path: &FieldPath, errors: &mut Findings) {
        if self.cost <= SCHEMA_COST_MAX {
            return;
        }
        for (place, _) in &self.most {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError::forbidden(place.clone(), detail));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        let detail = too_costly(what, self.cost, SCHEMA_COST_MAX);
        errors.push(FieldError::forbidden(path.clone(), detail));
    }
}

struct Judge<'j> {
    total: &'j mut Total,
    errors: &'j mut Findings,
}

impl Judge<'_> {
    fn walk(&mut self, compiled: &Structural, path: &FieldPath, around: &Around) {
        if !compiled.has_rules {
            return;
        }
        let checks = &compiled.checks;
        if let Additional::Of(values) = &compiled.additional {
            let around = around.below(checks.properties_max);
            self.walk(values, &path.child("additionalProperties"), &around);
        }
        for (name, property) in &compiled.properties {
            let times = match (compiled.kind, &compiled.additional) {
                (Some(Type::Object), Additional::Any) => checks.properties_max,
                _ => Some(1),
            };
            self.walk(property, &path.child("properties").key(name), &around.below(times));
        }
        if let Some(items) = &compiled.items {
            let mut around = around.below(checks.items_max);
            if !matches!(compiled.list_type, ListType::Map(_)) {
                around.lost = around.lost.or_else(|| Some(path.clone()));
            }
            self.walk(items, &path.child("items"), &around);
        }
        if !compiled.rules.is_empty() {
            self.rules(compiled, &path.child("x-kubernetes-validations"), around);
        }
    }

    fn rules(&mut self, compiled: &Structural, path: &FieldPath, around: &Around) {
        let problems = compiled.rules.problems(path);
        let Some(sizes) = Sizes::of(compiled, around.is_root || compiled.embedded) else {
            self.errors.extend(problems);
            let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
            self.errors.push(FieldError::internal(path.clone(), detail));
            return;
        };
        let times = around.times.unwrap_or_else(|| sizes.times_max());
        for (at, (once, message)) in
            compiled.rules.costs_max(compiled, &sizes).into_iter().enumerate()
        {
            let cost = once.saturating_mul(times);
            self.cost("estimated rule cost", path.index(at).child("rule"), cost);
            if let Some(cost) = message {
                let place = path.index(at).child("messageExpression");
                self.cost("estimated messageExpression cost", place, cost);
            }
        }
        self.errors.extend(problems);
        // What an old value cannot be found for cannot be compared with it.
        let Some(lost) = &around.lost else { return };
        for (at, source) in compiled.rules.transitions() {
            let detail = format!(
                "oldSelf cannot be used on the uncorrelatable portion of the schema within {lost}"
            );
            let place = path.index(at).child("rule");
            self.errors.push(FieldError::invalid(place, source, detail));
        }
    }

    fn cost(&mut self, what: &str, place: FieldPath, cost: u64) {
        if cost > RULE_COST_MAX {
            let detail = too_costly(what, cost, RULE_COST_MAX);
            self.errors.push(FieldError::forbidden(place.clone(), detail));
        }
        self.total.add(place, cost);
    }
}

fn too_costly(what: &str, cost: u64, max: u64) -> String {
    let factor = cost as f64 / max as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(spec: Value) -> Vec<String> {
        let schema = json!({"type": "object", "properties": {"s": spec}});
        let mut errors = Vec::new();
        rules(&Structural::compile_root(&schema), &FieldPath::new("schema"), &mut errors);
        let shorten = |text: String| {
            let text = text.replace("schema.properties[s]", "s");
            let text = text.replace("x-kubernetes-validations", "v");
            text.replace(" (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)", "")
        };
        errors.iter().map(|error| shorten(error.to_string())).collect()
    }

    #[test]
    fn a_rule_is_counted_as_often_as_its_value_can_be_there() {
        let each = |more: Value| {
            let mut list = json!({"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self.contains('abc')"}]}});
            list.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            list
        };
        let text = |max: u64| {
            json!({"type": "array", "maxItems": 1000, "items": {"type": "string", "maxLength": max,
            "x-kubernetes-validations": [{"rule": "self.contains('abcdefghijkl')"}]}})
        };
        #[rustfmt::skip]
        let cases = [
            (each(json!({})), vec!["s.items.v[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x",
                "s.items.v[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
                "schema: Forbidden: v estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x"]),
            (each(json!({"maxItems": 31})), vec![]),
            (text(10), vec![]),
            (text(15_000), vec!["s.items.v[0].rule: Forbidden: estimated rule cost exceeds budget by factor of 1.200100x"]),
            (text(30_000), vec!["s.items.v[0].rule: Forbidden: estimated rule cost exceeds budget by factor of 2.4x"]),
        ];
        for (schema, expected) in cases {
            assert_eq!(told(schema.clone()), expected, "{schema}");
        }
    }

    #[test]
    fn a_message_is_counted_once_by_itself() {
        let schema = json!({"type": "array", "maxItems": 3, "items": {"type": "string", "x-kubernetes-validations": [
            {"rule": "true", "messageExpression": "self.matches('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa') ? 'a' : 'b'"}]}});
        assert_eq!(told(schema), [""; 0]);
    }

    #[test]
    fn old_values_are_found_by_keys_only() {
        let list = |kind: &str| {
            let rule = json!([{"rule": "self == oldSelf"}]);
            json!({"type": "array", "maxItems": 9, "x-kubernetes-list-type": kind, "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string", "maxLength": 9, "x-kubernetes-validations": rule}}}})
        };
        assert_eq!(told(list("map")), [""; 0]);
        for kind in ["atomic", "set"] {
            assert_eq!(
                told(list(kind)),
                [
                    "s.items.properties[k].v[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within s"
                ]
            );
        }
    }
}
