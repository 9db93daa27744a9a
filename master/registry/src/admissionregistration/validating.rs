//! `ValidatingAdmissionPolicy`: rules in CEL about writes, compiled once and asked for each write.
//!
//! # Invariants
//! - A policy whose expressions do not compile is refused when it is written; if one is stored all the same, it fails
//!   as its `failurePolicy` says.
//! - All expressions of a policy together have one budget for each write.

use std::rc::Rc;

use master_api::field::FieldPath;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::Value;

use super::matching::Matcher;
use crate::cel::{Budget, Names, Program, Type, Val, json};
use crate::check::{self, Findings};

/// Steps of all expressions of a policy for one write, as upstream bounds them.
const STEPS_MAX: u64 = 10_000_000;
/// How long a message that an expression makes may be.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];

/// What expressions may name; null where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub object: &'a Value,
    pub old: &'a Value,
    /// The AdmissionRequest.
    pub request: &'a Value,
    pub params: &'a Value,
    pub namespace: &'a Value,
}

/// Why a write is not wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub message: String,
    pub reason: String,
}

/// A compiled policy.
#[derive(Debug)]
pub struct Policy {
    /// What it is about, or what is wrong with that.
    pub matcher: Result<Matcher, String>,
    is_strict: bool,
    conditions: Vec<Expression>,
    variables: Vec<(String, Expression)>,
    validations: Vec<Validation>,
}

#[derive(Debug)]
struct Validation {
    expression: Expression,
    message: String,
    message_expression: Option<Expression>,
    reason: String,
}

/// An expression, or what is wrong with it.
#[derive(Debug)]
struct Expression {
    source: String,
    program: Result<Program, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Bool,
    Text,
    Any,
}

impl Expression {
    fn compile(source: &str, has_variables: bool, wanted: Wanted) -> Self {
        let source = source.trim().to_owned();
        let mut names: Names<'_> = ["object", "oldObject", "request", "params", "namespaceObject"]
            .map(|name| (name, Type::Dyn))
            .into();
        if has_variables {
            names.insert("variables", Type::Dyn);
        }
        let program = match (Program::compile(&source, &names), wanted) {
            (Ok((program, _)), Wanted::Any)
            | (Ok((program, Type::Bool | Type::Dyn)), Wanted::Bool)
            | (Ok((program, Type::Text | Type::Dyn)), Wanted::Text) => Ok(program),
            (Ok(_), Wanted::Text) => Err("must evaluate to string".to_owned()),
            (Ok(_), _) => Err("must evaluate to bool".to_owned()),
            (Err(error), _) => Err(format!("compilation failed: {error}")),
        };
        Self { source, program }
    }

    fn run<'a>(
        &'a self,
        names: &[(&'static str, Val<'a>)],
        budget: &mut Budget,
    ) -> Result<Val<'a>, String> {
        let outcome = match &self.program {
            Ok(program) => program.run(names, budget),
            Err(error) => Err(error.clone()),
        };
        outcome.map_err(|error| format!("expression '{}' resulted in error: {error}", self.source))
    }
}

impl Policy {
    /// Compiles a policy as it is stored.
    pub fn compile(policy: &Value) -> Self {
        let spec = &policy["spec"];
        let compile = |item: &Value, field: &str, has_variables, wanted| {
            Expression::compile(meta::text(item, &[field]), has_variables, wanted)
        };
        let conditions = meta::items(spec, &["matchConditions"]).iter();
        let variables = meta::items(spec, &["variables"]).iter();
        let validation = |item: &Value| Validation {
            expression: compile(item, "expression", true, Wanted::Bool),
            message: meta::text(item, &["message"]).trim().to_owned(),
            message_expression: (!meta::text(item, &["messageExpression"]).is_empty())
                .then(|| compile(item, "messageExpression", true, Wanted::Text)),
            reason: meta::text(item, &["reason"]).to_owned(),
        };
        Self {
            matcher: Matcher::of_policy(&spec["matchConstraints"]),
            is_strict: meta::text(spec, &["failurePolicy"]) != "Ignore",
            conditions: conditions
                .map(|item| compile(item, "expression", false, Wanted::Bool))
                .collect(),
            variables: variables
                .map(|item| {
                    let name = meta::text(item, &["name"]).to_owned();
                    (name, compile(item, "expression", true, Wanted::Any))
                })
                .collect(),
            validations: meta::items(spec, &["validations"]).iter().map(validation).collect(),
        }
    }

    /// What the policy has against a write.
    pub fn judge(&self, input: &Input<'_>) -> Vec<Denial> {
        let mut budget = Budget::new(STEPS_MAX);
        let mut names = vec![
            ("object", json(input.object, None)),
            ("oldObject", json(input.old, None)),
            ("request", json(input.request, None)),
            ("params", json(input.params, None)),
            ("namespaceObject", json(input.namespace, None)),
        ];
        match self.applies(&names, &mut budget) {
            Ok(true) => {}
            Ok(false) => return Vec::new(),
            Err(error) => return self.failed(error).into_iter().collect(),
        }
        // One that cannot be evaluated is missing for those that name it, and for nobody else.
        let mut variables = Vec::new();
        for (name, expression) in &self.variables {
            let mut names = names.clone();
            names.push(("variables", Val::Map(Rc::new(variables.clone()))));
            if let Ok(value) = expression.run(&names, &mut budget) {
                variables.push((Val::Text(name.as_str().into()), value));
            }
        }
        names.push(("variables", Val::Map(Rc::new(variables))));
        let denial = |validation| self.denial(validation, &names, &mut budget);
        self.validations.iter().filter_map(denial).collect()
    }

    /// What becomes of a write that could not be judged.
    pub fn failed(&self, message: String) -> Option<Denial> {
        self.is_strict.then(|| Denial { message, reason: "Invalid".to_owned() })
    }

    fn applies<'a>(
        &'a self,
        names: &[(&'static str, Val<'a>)],
        budget: &mut Budget,
    ) -> Result<bool, String> {
        let mut outcome = Ok(true);
        for condition in &self.conditions {
            match condition.run(names, budget) {
                Ok(Val::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    fn denial<'a>(
        &'a self,
        validation: &'a Validation,
        names: &[(&'static str, Val<'a>)],
        budget: &mut Budget,
    ) -> Option<Denial> {
        match validation.expression.run(names, budget) {
            Ok(Val::Bool(true)) => None,
            Ok(_) => Some(Denial {
                message: validation.said(names, budget),
                reason: match validation.reason.as_str() {
                    "" => "Invalid".to_owned(),
                    reason => reason.to_owned(),
                },
            }),
            Err(error) => self.failed(error),
        }
    }
}

impl Validation {
    fn said<'a>(&'a self, names: &[(&'static str, Val<'a>)], budget: &mut Budget) -> String {
        if let Some(expression) = &self.message_expression
            && let Ok(Val::Text(text)) = expression.run(names, budget)
            && !text.trim().is_empty()
            && !text.trim().contains('\n')
            && text.len() <= MESSAGE_BYTES_MAX
        {
            return text.trim().to_owned();
        }
        if self.message.is_empty() {
            return format!("failed expression: {}", self.expression.source);
        }
        self.message.clone()
    }
}

/// Rules of the kind. Expressions that are as they were are not compiled again.
pub(crate) fn policy_rules(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let (mut errors, path) = (Vec::new(), FieldPath::new("spec"));
    let spec = &new["spec"];
    check::one_of(spec, "failurePolicy", &path, &["Fail", "Ignore"], &mut errors);
    if spec["paramKind"].is_object() {
        let path = path.child("paramKind");
        check::required(&spec["paramKind"], "apiVersion", &path, &mut errors);
        check::required(&spec["paramKind"], "kind", &path, &mut errors);
    }
    let constraints = path.child("matchConstraints");
    if !spec["matchConstraints"].is_object() {
        errors.push(FieldError::required(constraints, ""));
    } else if meta::items(spec, &["matchConstraints", "resourceRules"]).is_empty() {
        errors.push(FieldError::required(constraints.child("resourceRules"), ""));
    } else if let Err(error) = Matcher::of_policy(&spec["matchConstraints"]) {
        errors.push(FieldError::invalid(constraints, Value::Null, error));
    }
    let count = |field: &str| meta::items(spec, &[field]).len();
    if count("validations") + count("auditAnnotations") == 0 {
        let detail = "validations or auditAnnotations must contain at least one item";
        for field in ["validations", "auditAnnotations"] {
            errors.push(FieldError::required(path.child(field), detail));
        }
    }
    if old.is_some_and(|old| old["spec"] == *spec) {
        return errors;
    }
    for (list, field, has_variables, wanted) in [
        ("matchConditions", "expression", false, Wanted::Bool),
        ("variables", "expression", true, Wanted::Any),
        ("validations", "expression", true, Wanted::Bool),
        ("validations", "messageExpression", true, Wanted::Text),
        ("auditAnnotations", "valueExpression", true, Wanted::Any),
    ] {
        for (at, item) in meta::items(spec, &[list]).iter().enumerate() {
            let path = path.child(list).index(at);
            if field == "expression" || field == "valueExpression" {
                check::required(item, field, &path, &mut errors);
            }
            let source = meta::text(item, &[field]);
            if source.is_empty() {
                continue;
            }
            if let Err(error) = Expression::compile(source, has_variables, wanted).program {
                errors.push(FieldError::invalid(path.child(field), source, error));
            }
        }
    }
    for (at, validation) in meta::items(spec, &["validations"]).iter().enumerate() {
        let path = path.child("validations").index(at);
        check::one_of(validation, "reason", &path, &REASONS, &mut errors);
    }
    errors
}

/// Rules of bindings.
pub(crate) fn binding_rules(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let (mut errors, path): (Findings, _) = (Vec::new(), FieldPath::new("spec"));
    let spec = &new["spec"];
    check::required(spec, "policyName", &path, &mut errors);
    let place = path.child("validationActions");
    let actions: Vec<&str> = meta::items(spec, &["validationActions"])
        .iter()
        .map(|action| action.as_str().unwrap_or_default())
        .collect();
    if actions.is_empty() {
        let detail = "at least one validation action is required";
        errors.push(FieldError::required(place.clone(), detail));
    }
    for (at, action) in actions.iter().enumerate() {
        if !["Audit", "Deny", "Warn"].contains(action) {
            let known = ["Audit", "Deny", "Warn"];
            errors.push(FieldError::not_supported(place.index(at), *action, &known));
        } else if actions[..at].contains(action) {
            errors.push(FieldError::duplicate(place.index(at), *action));
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure \
            information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid(place, actions.join(", "), detail));
    }
    if let Err(error) = Matcher::of_binding(&spec["matchResources"]) {
        errors.push(FieldError::invalid(path.child("matchResources"), Value::Null, error));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(spec: Value, object: Value) -> Vec<(String, String)> {
        let policy = Policy::compile(&json!({ "spec": spec }));
        let request = json!({"operation": "CREATE", "userInfo": {"username": "anna"}});
        let params = json!({"data": {"max": "3"}});
        let namespace = json!({"metadata": {"name": "default", "labels": {"team": "a"}}});
        let input = Input {
            object: &object,
            old: &Value::Null,
            request: &request,
            params: &params,
            namespace: &namespace,
        };
        policy.judge(&input).into_iter().map(|denial| (denial.message, denial.reason)).collect()
    }

    fn said(message: &str, reason: &str) -> (String, String) {
        (message.to_owned(), reason.to_owned())
    }

    #[test]
    fn expressions_see_the_write_and_the_variables_before_them() {
        let spec = json!({
            "variables": [
                {"name": "replicas", "expression": "object.spec.replicas"},
                {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
                {"name": "broken", "expression": "object.spec.absent"},
            ],
            "validations": [
                {"expression": "variables.replicas > 1"},
                {"expression": "variables.oddReplicas", "message": "odd, please", "reason": "Forbidden"},
                {"expression": "variables.replicas <= int(params.data.max)",
                 "messageExpression": "'at most ' + params.data.max + ' for ' + request.userInfo.username"},
                {"expression": "oldObject == null && namespaceObject.metadata.labels.team == 'a'"},
            ],
        });
        let of = |replicas: i64| judged(spec.clone(), json!({"spec": {"replicas": replicas}}));
        assert_eq!(of(3), []);
        assert_eq!(of(1), [said("failed expression: variables.replicas > 1", "Invalid")]);
        let four = [said("odd, please", "Forbidden"), said("at most 3 for anna", "Invalid")];
        assert_eq!(of(4), four);
    }

    #[test]
    fn what_cannot_be_evaluated_fails_as_the_policy_says() {
        let spec = |failure: &str| json!({"failurePolicy": failure, "validations": [{"expression": "object.spec.absent > 1"}]});
        let error = "expression 'object.spec.absent > 1' resulted in error: no such key: absent";
        assert_eq!(judged(spec("Fail"), json!({"spec": {}})), [said(error, "Invalid")]);
        assert_eq!(judged(spec("Ignore"), json!({"spec": {}})), []);
    }

    #[test]
    fn conditions_say_whether_a_policy_applies() {
        let spec = |condition: &str| {
            json!({"matchConditions": [{"name": "c", "expression": condition}],
            "validations": [{"expression": "false"}]})
        };
        let of =
            |condition: &str| judged(spec(condition), json!({"metadata": {"name": "x"}})).len();
        assert_eq!(of("object.metadata.name == 'y'"), 0);
        assert_eq!(of("object.metadata.name == 'x'"), 1);
        assert_eq!(of("object.spec.absent"), 1);
    }

    #[test]
    fn policies_that_make_no_sense_are_refused() {
        let rules = json!({"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]});
        let findings = |change: Value| {
            let mut spec = json!({"failurePolicy": "Fail", "matchConstraints": rules, "validations": [{"expression": "true"}]});
            for (key, value) in change.as_object().unwrap() {
                spec[key] = value.clone();
            }
            let found = policy_rules(&json!({ "spec": spec }), None);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(findings(json!({})), [""; 0]);
        for (change, start) in [
            (json!({"matchConstraints": null}), "spec.matchConstraints: Required value"),
            (json!({"validations": []}), "spec.validations: Required value"),
            (
                json!({"validations": [{"expression": "1 +"}]}),
                "spec.validations[0].expression: Invalid value: \"1 +\": compilation failed",
            ),
            (
                json!({"validations": [{"expression": "1"}]}),
                "spec.validations[0].expression: Invalid value: \"1\": must evaluate to bool",
            ),
            (
                json!({"matchConditions": [{"expression": "variables.x"}]}),
                "spec.matchConditions[0].expression: Invalid value",
            ),
            (
                json!({"paramKind": {"kind": "ConfigMap"}}),
                "spec.paramKind.apiVersion: Required value",
            ),
        ] {
            let found = findings(change);
            assert!(found.first().is_some_and(|one| one.starts_with(start)), "{start}: {found:?}");
        }
    }

    #[test]
    fn bindings_say_what_a_failed_rule_comes_to() {
        let findings = |actions: Value| {
            let binding = json!({"spec": {"policyName": "p", "validationActions": actions}});
            binding_rules(&binding, None).len()
        };
        assert_eq!(findings(json!(["Deny", "Audit"])), 0);
        assert_eq!(findings(json!(["Deny", "Warn"])), 1);
        assert_eq!(findings(json!([])), 1);
        assert_eq!(findings(json!(["Refuse"])), 1);
        assert_eq!(findings(json!(["Deny", "Deny"])), 1);
    }
}
