//! `x-kubernetes-validations`: rules in CEL, compiled with their schema and evaluated with its objects.
//!
//! # Invariants
//! - A rule that does not compile is refused with its definition, and never evaluated.
//! - All rules of an object together have one budget; when it is spent the object is refused.

use std::cell::OnceCell;
use std::sync::Arc;

use master_api::field::FieldPath;
use master_api::jsonpath::Path;
use master_api::status::{FieldError, FieldErrorKind};
use serde_json::Value;

use super::before::Before;
use super::structural::{Additional, Structural, Type as Kind};
use crate::cel::cost::Sizes;
use crate::cel::{Budget, Names, Program, Type, Val, json};

/// Steps of one rule, and of all rules of an object, as upstream bounds them.
const RULE_STEPS_MAX: u64 = 1_000_000;
const OBJECT_STEPS_MAX: u64 = 10_000_000;
/// How long a message that a rule makes may be.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

const REASONS: [(&str, FieldErrorKind); 4] = [
    ("FieldValueDuplicate", FieldErrorKind::Duplicate),
    ("FieldValueForbidden", FieldErrorKind::Forbidden),
    ("FieldValueInvalid", FieldErrorKind::Invalid),
    ("FieldValueRequired", FieldErrorKind::Required),
];

/// Field, what is wrong with it, its value, and more words.
type Problem = (&'static str, FieldErrorKind, Value, String);
type Problems = Vec<Problem>;

/// The rules at one place of a schema.
#[derive(Clone, Debug, Default)]
pub struct Rules(Arc<[Rule]>);

#[derive(Debug)]
struct Rule {
    source: String,
    /// What is wrong before anything is compiled.
    texts: Problems,
    /// Or why there is none.
    program: Result<Program, Problems>,
    message: String,
    message_program: Option<Program>,
    reason: FieldErrorKind,
    /// Below the place, as `spec.x`.
    field_path: String,
    /// The old value is an optional, and the rule holds at creation, too.
    is_old_optional: bool,
    uses_old: bool,
}

impl Rules {
    /// Compiles the rules of a schema against the shape of what they are about.
    pub fn compile(schema: &Value, shape: &Structural) -> Self {
        let rules = schema["x-kubernetes-validations"].as_array();
        Self(rules.into_iter().flatten().map(|rule| Rule::compile(rule, shape)).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rules that need an old value, with their places.
    pub fn transitions(&self) -> impl Iterator<Item = (usize, &str)> {
        let all = self.0.iter().enumerate().filter(|(_, rule)| rule.uses_old);
        all.map(|(at, rule)| (at, rule.source.as_str()))
    }

    /// What each rule costs at most when it is asked once, and what making its message does; of values of these sizes.
    pub fn costs_max(&self, shape: &Structural, sizes: &Sizes) -> Vec<(u64, Option<u64>)> {
        let of = |rule: &Rule| {
            let names = names(shape, rule.is_old_optional);
            let program = rule.program.as_ref().ok();
            let message = rule.message_program.as_ref().filter(|_| program.is_some());
            (
                program.map_or(0, |program| program.cost_max(&names, sizes)),
                message.map(|program| program.cost_max(&names, sizes)),
            )
        };
        self.0.iter().map(of).collect()
    }

    /// What is wrong with the rules before anything is compiled.
    pub fn texts(&self, path: &FieldPath) -> Vec<FieldError> {
        let texts = self.0.iter().enumerate();
        let texts = texts.flat_map(|(at, rule)| rule.texts.iter().map(move |text| (at, text)));
        texts.map(|(at, problem)| told(problem, &path.index(at))).collect()
    }

    /// What is wrong with the rules themselves.
    pub fn problems(&self, path: &FieldPath) -> Vec<FieldError> {
        let has_texts = self.0.iter().any(|rule| !rule.texts.is_empty());
        let mut errors = Vec::new();
        for (at, rule) in self.0.iter().enumerate() {
            // Expressions are told of once all the rest is right.
            let uncompiled = rule.program.as_ref().err().filter(|_| !has_texts);
            for problem in rule.texts.iter().chain(uncompiled.into_iter().flatten()) {
                errors.push(told(problem, &path.index(at)));
            }
        }
        errors
    }
}

impl Rule {
    fn compile(rule: &Value, shape: &Structural) -> Self {
        let text = |field: &str| rule[field].as_str().unwrap_or_default().trim().to_owned();
        let (source, expression, reason) =
            (text("rule"), text("messageExpression"), text("reason"));
        let is_old_optional = rule["optionalOldSelf"] == true;
        let names = names(shape, is_old_optional);
        let mut problems = Vec::new();
        let texts = texts(rule, shape);
        let whole = as_go(rule);
        let program = program((&source, &whole), &names, &mut problems);
        let message_program = (!expression.is_empty())
            .then(|| message_program((&expression, &whole), &names, &mut problems))
            .flatten();
        let set = &rule["optionalOldSelf"];
        if !set.is_null() && !program.as_ref().is_some_and(|program| program.uses("oldSelf")) {
            let detail = "may not be set if oldSelf is not used in rule".to_owned();
            problems.push(("optionalOldSelf", FieldErrorKind::Invalid, set.clone(), detail));
        }
        let known = REASONS.iter().find(|(name, _)| *name == reason);
        let place = field_place(rule["fieldPath"].as_str().unwrap_or_default(), shape);
        let uses_old = program.as_ref().is_some_and(|program| program.uses("oldSelf"));
        Self {
            source,
            program: match program {
                Some(program) if problems.is_empty() && texts.is_empty() => Ok(program),
                _ => Err(problems),
            },
            texts,
            message: text("message"),
            message_program,
            reason: known.map_or(FieldErrorKind::Invalid, |(_, kind)| *kind),
            field_path: place.unwrap_or_default(),
            is_old_optional,
            uses_old,
        }
    }

    /// Evaluates; `None` if the rule holds, or does not apply.
    fn finding(
        &self,
        schema: &Structural,
        (new, past): (&Value, Past<'_>),
        path: &FieldPath,
        budget: &mut Budget,
    ) -> Option<FieldError> {
        let Ok(program) = &self.program else { return None };
        let old = past.own.map(|old| old.value);
        if self.uses_old && old.is_none() && !self.is_old_optional {
            return None;
        }
        let before = old.map(|old| json(old, Some(schema)));
        let before = match (self.is_old_optional, before) {
            (true, before) => Val::optional(before),
            (false, before) => before.unwrap_or(Val::Null),
        };
        let names = [("self", json(new, Some(schema))), ("oldSelf", before)];
        let mut own = Budget::new(RULE_STEPS_MAX.min(budget.left()));
        let outcome = program.run(&names, &mut own);
        let spent = RULE_STEPS_MAX.min(budget.left()) - own.left();
        *budget = Budget::new(budget.left() - spent);
        let detail = match outcome {
            Ok(Val::Bool(true)) => return None,
            // What stays as it was is not held against an update, unless the rule is about the change.
            Ok(Val::Bool(false)) if !self.uses_old && past.is_same() => return None,
            Ok(Val::Bool(false)) => self.said(&names, budget),
            Ok(_) => "rule did not evaluate to bool".to_owned(),
            Err(error) => return Some(self.failed(&error, schema, path)),
        };
        let place =
            if self.field_path.is_empty() { path.clone() } else { path.child(&self.field_path) };
        Some(finding(self.reason, place, (schema, new), detail))
    }

    fn failed(&self, error: &str, of: &Structural, path: &FieldPath) -> FieldError {
        let named = if self.message.is_empty() { &self.source } else { &self.message };
        let detail = if error.starts_with("operation cancelled") {
            format!(
                "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {named}"
            )
        } else if error.starts_with("no such overload") {
            format!(
                "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {named}"
            )
        } else {
            format!("{error} evaluating rule: {named}")
        };
        // As upstream: of what could not be judged the type is named.
        let kind = of.kind.map_or("", Kind::name);
        FieldError::invalid(path.clone(), kind, detail)
    }

    /// What the rule says to whom it refuses.
    fn said(&self, names: &[(&'static str, Val<'_>)], budget: &mut Budget) -> String {
        if let Some(program) = &self.message_program
            && let Ok(Val::Text(text)) = program.run(names, budget)
            && !text.trim().is_empty()
            && !text.contains('\n')
            && text.len() <= MESSAGE_BYTES_MAX
        {
            return text.into_owned();
        }
        if self.message.is_empty() {
            return format!("failed rule: {}", self.source);
        }
        self.message.clone()
    }
}

fn told((field, kind, value, detail): &Problem, path: &FieldPath) -> FieldError {
    let error = FieldError::invalid(path.child(field), value.clone(), detail);
    FieldError { kind: *kind, ..error }
}

/// What rules may speak of.
fn names(shape: &Structural, is_old_optional: bool) -> Names<'_> {
    let own = Type::of(shape);
    let old = if is_old_optional { Type::Optional(Box::new(own.clone())) } else { own.clone() };
    Names::from([("self", own), ("oldSelf", old)])
}

/// The findings of objects and lists do not repeat them.
fn finding(
    kind: FieldErrorKind,
    path: FieldPath,
    (schema, value): (&Structural, &Value),
    detail: String,
) -> FieldError {
    let error = FieldError { kind, ..FieldError::invalid(path, value.clone(), detail) };
    if matches!(schema.kind, Some(Kind::Object | Kind::Array)) {
        return error.without_value();
    }
    error
}

/// What is wrong with a rule's texts, before anything is compiled.
fn texts(rule: &Value, shape: &Structural) -> Problems {
    let text = |field: &str| rule[field].as_str().unwrap_or_default();
    let is_blank = |text: &str| !text.is_empty() && text.trim().is_empty();
    let is_broken = |text: &str| text.contains(['\n', '\r']);
    let required =
        |field, detail: &str| (field, FieldErrorKind::Required, Value::Null, detail.to_owned());
    let invalid = |field, detail: &str| {
        (field, FieldErrorKind::Invalid, text(field).into(), detail.to_owned())
    };
    let (source, message, path) = (text("rule").trim(), text("message"), text("fieldPath"));
    let mut problems = Problems::new();
    problems.extend(if source.is_empty() {
        Some(required("rule", "rule is not specified"))
    } else if is_blank(message) {
        Some(invalid("message", "must be non-empty if specified"))
    } else if is_broken(message.trim()) {
        Some(invalid("message", "must not contain line breaks"))
    } else if is_broken(source) && message.is_empty() {
        Some(required("message", "message must be specified if rule contains line breaks"))
    } else {
        None
    });
    if is_blank(text("messageExpression")) {
        let detail = "messageExpression must be non-empty if specified";
        problems.push(required("messageExpression", detail));
    }
    let is_known = REASONS.iter().any(|(name, _)| *name == text("reason"));
    if !is_known && !rule["reason"].is_null() {
        let names = REASONS.map(|(name, _)| name);
        let error = FieldError::not_supported("", text("reason"), &names);
        problems.push(("reason", error.kind, error.bad_value, error.detail));
    }
    for (is_wrong, detail) in [
        (is_blank(path), "must be non-empty if specified"),
        (is_broken(path), "must not contain line breaks"),
        (field_place(path, shape).is_none(), "must be a valid path"),
    ] {
        problems.extend(is_wrong.then(|| invalid("fieldPath", detail)));
    }
    problems
}

/// A rule as upstream shows it where one of its expressions is wrong: with Go's names of its fields.
fn as_go(rule: &Value) -> Value {
    let text = |name: &str| rule[name].as_str().unwrap_or_default();
    serde_json::json!({
        "Rule": text("rule"), "Message": text("message"), "MessageExpression": text("messageExpression"),
        "Reason": rule["reason"], "FieldPath": text("fieldPath"), "OptionalOldSelf": rule["optionalOldSelf"],
    })
}

fn program(
    (source, whole): (&str, &Value),
    names: &Names<'_>,
    problems: &mut Problems,
) -> Option<Program> {
    match Program::compile(source, names) {
        Ok((program, Type::Bool | Type::Dyn)) => Some(program),
        Ok(_) => {
            let detail = "cel expression must evaluate to a bool";
            problems.push(("rule", FieldErrorKind::Invalid, whole.clone(), detail.to_owned()));
            None
        }
        Err(error) => {
            problems.push((
                "rule",
                FieldErrorKind::Invalid,
                whole.clone(),
                format!("compilation failed: {error}"),
            ));
            None
        }
    }
}

fn message_program(
    (source, whole): (&str, &Value),
    names: &Names<'_>,
    problems: &mut Problems,
) -> Option<Program> {
    let field = "messageExpression";
    match Program::compile(source, names) {
        Ok((program, Type::Text | Type::Dyn)) => Some(program),
        Ok(_) => {
            let detail = "messageExpression must evaluate to a string";
            problems.push((field, FieldErrorKind::Invalid, whole.clone(), detail.to_owned()));
            None
        }
        Err(error) => {
            let detail = format!("messageExpression compilation failed: {error}");
            problems.push((field, FieldErrorKind::Invalid, whole.clone(), detail));
            None
        }
    }
}

/// A `fieldPath` as messages show it; `None` if it leads nowhere.
fn field_place(text: &str, shape: &Structural) -> Option<String> {
    if text.is_empty() {
        return Some(String::new());
    }
    let path = Path::parse(text).ok()?;
    let names = path.fields()?;
    let mut place = String::new();
    let mut schema = shape;
    for name in names {
        let is_entry = !schema.properties.contains_key(name);
        schema = schema.field(name)?;
        if is_entry {
            place.push_str(&format!("[{name}]"));
        } else {
            if !place.is_empty() {
                place.push('.');
            }
            place.push_str(name);
        }
    }
    Some(place)
}

/// What a value was before an update.
#[derive(Clone, Copy, Debug, Default)]
struct Past<'a> {
    own: Option<Before<'a>>,
    /// Its own change or, where its past cannot be told, that of the nearest around it whose past can.
    change: Option<&'a Change<'a>>,
}

/// What something was and is.
#[derive(Debug)]
struct Change<'a> {
    before: Before<'a>,
    now: &'a Value,
    /// Many rules may ask, of each item within a list.
    is_same: OnceCell<bool>,
}

impl Past<'_> {
    fn is_same(self) -> bool {
        self.change.is_some_and(|it| *it.is_same.get_or_init(|| it.before.is_same(it.now)))
    }
}

/// What the rules of a schema find in an object; `old` is what it was before an update.
pub fn check(schema: &Structural, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut found = Vec::new();
    let mut budget = Budget::new(OBJECT_STEPS_MAX);
    let past = Past { own: old.map(|old| Before::new(schema, old)), change: None };
    walk(schema, (new, past), &FieldPath::default(), &mut budget, &mut found);
    found
}

/// What the rules of a schema find in its default, as a value that stays and as one that comes.
pub fn check_default(schema: &Structural, value: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut found = Vec::new();
    let stays = Past { own: Some(Before::new(schema, value)), change: None };
    for past in [stays, Past::default()] {
        let mut budget = Budget::new(OBJECT_STEPS_MAX);
        walk(schema, (value, past), path, &mut budget, &mut found);
    }
    found
}

fn walk<'a>(
    schema: &Structural,
    (new, past): (&'a Value, Past<'a>),
    path: &FieldPath,
    budget: &mut Budget,
    found: &mut Vec<FieldError>,
) {
    if !schema.has_rules || new.is_null() {
        return;
    }
    let change = past.own.map(|before| Change { before, now: new, is_same: OnceCell::new() });
    let past = Past { own: past.own, change: change.as_ref().or(past.change) };
    for rule in schema.rules.0.iter() {
        if budget.left() == 0 {
            let detail = "validation failed due to running out of cost budget, no further validation rules will be run";
            let kind = schema.kind.map_or("", Kind::name);
            found.push(FieldError::invalid(path.clone(), kind, detail));
            return;
        }
        found.extend(rule.finding(schema, (new, past), path, budget));
    }
    match new {
        Value::Object(fields) => {
            for (name, value) in fields {
                let past = Past { own: past.own.and_then(|before| before.field(name)), ..past };
                match (schema.properties.get(name), &schema.additional) {
                    (Some(property), _) => {
                        walk(property, (value, past), &path.child(name), budget, found);
                    }
                    (None, Additional::Of(values)) => {
                        walk(values, (value, past), &path.key(name), budget, found);
                    }
                    (None, Additional::None | Additional::Any) => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(of_items) = &schema.items else { return };
            let before = past.own.map(|before| before.items());
            for (at, item) in items.iter().enumerate() {
                let own = before.as_ref().and_then(|before| before.find(at, item));
                let past = Past { own, ..past };
                walk(of_items, (item, past), &path.index(at), budget, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::before::LOOKS;
    use super::*;

    fn schema(spec: &Value, rules: Value) -> Structural {
        Structural::compile(&json!({"type": "object", "properties": {"spec": {
            "type": "object", "properties": spec, "x-kubernetes-validations": rules}}}))
    }

    fn counts() -> Value {
        json!({"min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string"}})
    }

    fn findings(schema: &Structural, new: Value, old: Option<Value>) -> Vec<String> {
        let old = old.map(|old| json!({ "spec": old }));
        let found = check(schema, &json!({ "spec": new }), old.as_ref());
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_broken_rule_says_what_it_has_to() {
        #[rustfmt::skip]
        let cases = [
            (json!({"rule": "self.min <= self.max"}),
             "spec: Invalid value: failed rule: self.min <= self.max"),
            (json!({"rule": "self.min <= self.max", "message": "min above max"}),
             "spec: Invalid value: min above max"),
            (json!({"rule": "self.min <= self.max", "messageExpression": "'max is ' + string(self.max)"}),
             "spec: Invalid value: max is 1"),
            (json!({"rule": "self.min <= self.max", "message": "m", "reason": "FieldValueForbidden", "fieldPath": ".min"}),
             "spec.min: Forbidden: m"),
            (json!({"rule": "self.name == 'x'", "message": "m"}),
             "spec: Invalid value: \"object\": no such key: name evaluating rule: m"),
        ];
        for (rule, expected) in cases {
            let schema = schema(&counts(), json!([rule]));
            assert_eq!(findings(&schema, json!({"min": 2, "max": 1}), None), [expected]);
        }
    }

    #[test]
    fn transitions_are_judged_only_where_there_was_something() {
        let rules = json!([{"rule": "self.max >= oldSelf.max", "message": "may only grow"}]);
        let grows = schema(&counts(), rules);
        let refused = ["spec: Invalid value: may only grow"];
        assert_eq!(findings(&grows, json!({"max": 1}), None), [""; 0]);
        assert_eq!(findings(&grows, json!({"max": 2}), Some(json!({"max": 1}))), [""; 0]);
        assert_eq!(findings(&grows, json!({"max": 1}), Some(json!({"max": 2}))), refused);
        let rules = json!([{"rule": "oldSelf.hasValue() || self.max == 1", "message": "begins at 1", "optionalOldSelf": true}]);
        let begins = schema(&counts(), rules);
        assert_eq!(
            findings(&begins, json!({"max": 2}), None),
            ["spec: Invalid value: begins at 1"]
        );
        assert_eq!(findings(&begins, json!({"max": 2}), Some(json!({"max": 1}))), [""; 0]);
    }

    #[test]
    fn what_stays_as_it_was_is_not_judged_again() {
        let limits = schema(&counts(), json!([{"rule": "self.min <= self.max"}]));
        let wrong = json!({"min": 2, "max": 1});
        assert_eq!(findings(&limits, wrong.clone(), Some(wrong)), [""; 0]);
    }

    #[test]
    fn what_a_rule_cannot_judge_is_told_however_old_it_is() {
        let named = schema(&counts(), json!([{"rule": "self.name == 'x'"}]));
        let found = findings(&named, json!({"min": 1}), Some(json!({"min": 1})));
        assert_eq!(
            found,
            [
                "spec: Invalid value: \"object\": no such key: name evaluating rule: self.name == 'x'"
            ]
        );
    }

    #[test]
    fn items_without_keys_stay_as_they_were_if_their_list_does() {
        let item = json!({"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer",
            "x-kubernetes-validations": [{"rule": "self < 2", "message": "few"}]}}});
        let with = |kind: &str| {
            let list = json!({"type": "array", "items": item, "x-kubernetes-list-type": kind, "x-kubernetes-list-map-keys": ["k"]});
            schema(&json!({"l": list, "other": {"type": "string"}}), json!([]))
        };
        let wrong = json!([{"k": "a", "v": 5}]);
        let (old, same) = (json!({"l": wrong, "other": "x"}), json!({"l": wrong, "other": "y"}));
        let more = json!({"l": [{"k": "a", "v": 5}, {"k": "b", "v": 1}]});
        for kind in ["atomic", "set", "map"] {
            assert_eq!(findings(&with(kind), same.clone(), Some(old.clone())), [""; 0]);
            let found = findings(&with(kind), more.clone(), Some(old.clone()));
            let expected: &[&str] =
                if kind == "map" { &[] } else { &["spec.l[0].v: Invalid value: 5: few"] };
            assert_eq!(found, expected, "{kind}");
        }
    }

    #[test]
    fn a_list_that_stays_is_compared_once() {
        let item = json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self < 0"}]});
        let schema = schema(&json!({"l": {"type": "array", "items": item}, "n": {}}), json!([]));
        let spec = |n: u32| json!({"l": (0..1_000).collect::<Value>(), "n": n});
        LOOKS.set(0);
        assert_eq!(findings(&schema, spec(2), Some(spec(1))), [""; 0]);
        assert_eq!(LOOKS.get(), 1);
    }

    #[test]
    fn wrong_rules_are_named_by_their_field() {
        #[rustfmt::skip]
        let cases = [
            (json!({"rule": ""}), "r[0].rule: Required value: rule is not specified"),
            (json!({"rule": "self.none > 1"}),
             "r[0].rule: Invalid value: {\"Rule\":\"self.none \\u003e 1\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: compilation failed: ERROR: <input>:1:5: undefined field 'none'\n | self.none > 1\n | ....^"),
            (json!({"rule": "true", "optionalOldSelf": true}),
             "r[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"),
            (json!({"rule": "self.min", "reason": "FieldValueInvalid"}),
             "r[0].rule: Invalid value: {\"Rule\":\"self.min\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":\"FieldValueInvalid\",\"FieldPath\":\"\",\"OptionalOldSelf\":null}: cel expression must evaluate to a bool"),
            (json!({"rule": "true", "messageExpression": "1"}),
             "r[0].messageExpression: Invalid value: {\"Rule\":\"true\",\"Message\":\"\",\"MessageExpression\":\"1\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: messageExpression must evaluate to a string"),
            (json!({"rule": "true", "message": " "}), "r[0].message: Invalid value: \" \": must be non-empty if specified"),
            (json!({"rule": "true", "message": "a\nb"}), "r[0].message: Invalid value: \"a\\nb\": must not contain line breaks"),
            (json!({"rule": "true ||\nfalse"}), "r[0].message: Required value: message must be specified if rule contains line breaks"),
            (json!({"rule": "true", "messageExpression": " "}), "r[0].messageExpression: Required value: messageExpression must be non-empty if specified"),
            (json!({"rule": "true", "fieldPath": ".none"}),
             "r[0].fieldPath: Invalid value: \".none\": must be a valid path"),
        ];
        for (rule, expected) in cases {
            let schema = schema(&counts(), json!([rule]));
            let problems = schema.properties["spec"].rules.problems(&FieldPath::new("r"));
            assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        }
    }

    #[test]
    fn a_bomb_ends_with_an_error() {
        let list = json!({"list": {"type": "array", "items": {"type": "integer"}}});
        let rule = "self.list.all(a, self.list.all(b, self.list.all(c, a + b + c > 0)))";
        let bomb = schema(&list, json!([{"rule": rule}]));
        let items: Vec<i64> = (1..=1000).collect();
        let found = findings(&bomb, json!({"list": items}), None);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("call cost exceeds limit"), "{}", found[0]);
    }
}
