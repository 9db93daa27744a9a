//! Admission policies: rules and changes in CEL, compiled once and asked for each write.
//!
//! # Invariants
//! - A policy whose expressions do not compile is refused when it is written; if one is stored all the same, it fails
//!   as its `failurePolicy` says.
//! - All expressions of a policy together have one budget for each write.

use std::rc::Rc;

use master_api::access::Attributes;
use master_api::meta;
use serde_json::Value;

use super::expression::{AUTHORIZER, Expression, REQUEST_RESOURCE, Scope, Wanted};
use super::matching::Matcher;
pub use crate::cel::Authority;
use crate::cel::{Access, Budget, Val, json};

/// Steps of all expressions of a policy for one write, as upstream bounds them.
const STEPS_MAX: u64 = 10_000_000;
/// How long a message that an expression makes may be.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// What expressions may name; null where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub object: &'a Value,
    pub old: &'a Value,
    /// The AdmissionRequest.
    pub request: &'a Value,
    pub params: &'a Value,
    pub namespace: &'a Value,
    /// Who knows what others may do.
    pub authority: &'a dyn Authority,
    /// Who writes what.
    pub about: &'a Attributes,
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
    /// Whether it is asked once more when an object was changed.
    pub is_reinvoked: bool,
    is_strict: bool,
    conditions: Vec<Expression>,
    variables: Vec<(String, Expression)>,
    validations: Vec<Validation>,
    mutations: Vec<Mutation>,
    /// Whether it asks what somebody may do.
    has_checks: bool,
}

/// What a policy makes of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// An applied configuration.
    Apply(Value),
    /// A JSON patch.
    Json(Value),
}

#[derive(Debug)]
pub(super) struct Mutation {
    expression: Expression,
    is_json: bool,
}

#[derive(Debug)]
struct Validation {
    expression: Expression,
    message: String,
    message_expression: Option<Expression>,
    reason: String,
}

impl Policy {
    /// Compiles a policy as it is stored.
    pub fn compile(policy: &Value) -> Self {
        let spec = &policy["spec"];
        let (plain, scope, variables) = scopes(spec);
        let compile = |item: &Value, field: &str, wanted| {
            Expression::compile(meta::text(item, &[field]), &scope, wanted)
        };
        let conditions = meta::items(spec, &["matchConditions"]).iter();
        let validation = |item: &Value| Validation {
            expression: compile(item, "expression", Wanted::Bool),
            message: meta::text(item, &["message"]).trim().to_owned(),
            message_expression: (!meta::text(item, &["messageExpression"]).is_empty())
                .then(|| compile(item, "messageExpression", Wanted::Text)),
            reason: meta::text(item, &["reason"]).to_owned(),
        };
        let policy = Self {
            matcher: Matcher::of_policy(&spec["matchConstraints"]),
            is_reinvoked: meta::text(spec, &["reinvocationPolicy"]) == "IfNeeded",
            is_strict: meta::text(spec, &["failurePolicy"]) != "Ignore",
            conditions: conditions
                .map(|item| {
                    Expression::compile(meta::text(item, &["expression"]), &plain, Wanted::Bool)
                })
                .collect(),
            variables,
            validations: meta::items(spec, &["validations"]).iter().map(validation).collect(),
            mutations: meta::items(spec, &["mutations"])
                .iter()
                .map(|it| Mutation::compile(it, &scope))
                .collect(),
            has_checks: false,
        };
        let has_checks = policy.expressions().any(Expression::asks);
        Self { has_checks, ..policy }
    }

    /// All that may ask what somebody may do.
    fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let variables = self.variables.iter().map(|(_, expression)| expression);
        let validations = self.validations.iter().map(|validation| &validation.expression);
        let mutations = self.mutations.iter().map(|mutation| &mutation.expression);
        self.conditions.iter().chain(variables).chain(validations).chain(mutations)
    }

    fn names<'a>(&self, input: &Input<'a>) -> Vec<(&'static str, Val<'a>)> {
        let mut names = names(input);
        if self.has_checks {
            let (authority, about) = (input.authority, input.about);
            let access = Access::of(authority, about.identity.clone());
            names.push((AUTHORIZER, Val::Access(Rc::new(access))));
            let access = Access::about(authority, about.clone());
            names.push((REQUEST_RESOURCE, Val::Access(Rc::new(access))));
        }
        names
    }

    /// Changes an object, mutation by mutation; `apply` carries one out.
    ///
    /// # Errors
    /// Why the write is refused, if the policy is strict; a lenient one leaves out what fails.
    pub fn mutate(
        &self,
        input: &Input<'_>,
        apply: &dyn Fn(&Value, Patch) -> Result<Value, String>,
    ) -> Result<Option<Value>, Denial> {
        let mut changed: Option<Value> = None;
        let mut budget = Budget::new(STEPS_MAX);
        for mutation in &self.mutations {
            let object = changed.as_ref().unwrap_or(input.object);
            let input = Input { object, ..*input };
            match self.mutated(mutation, &input, &mut budget, apply) {
                Ok(Some(new)) => changed = Some(new),
                Ok(None) => return Ok(None),
                Err(error) => match self.failed(error) {
                    Some(denial) => return Err(denial),
                    None => continue,
                },
            }
        }
        Ok(changed)
    }

    /// The object after one mutation; `None` if the policy is not for it.
    fn mutated(
        &self,
        mutation: &Mutation,
        input: &Input<'_>,
        budget: &mut Budget,
        apply: &dyn Fn(&Value, Patch) -> Result<Value, String>,
    ) -> Result<Option<Value>, String> {
        let mut names = self.names(input);
        if !self.applies(&names, budget)? {
            return Ok(None);
        }
        self.add_variables(&mut names, budget);
        let patch = mutation.expression.run(&names, budget)?.to_json()?;
        let patch = if mutation.is_json { Patch::Json(patch) } else { Patch::Apply(patch) };
        apply(input.object, patch).map(Some)
    }

    /// What the policy has against a write.
    pub fn judge(&self, input: &Input<'_>) -> Vec<Denial> {
        let mut budget = Budget::new(STEPS_MAX);
        let mut names = self.names(input);
        match self.applies(&names, &mut budget) {
            Ok(true) => {}
            Ok(false) => return Vec::new(),
            Err(error) => return self.failed(error).into_iter().collect(),
        }
        self.add_variables(&mut names, &mut budget);
        let denial = |validation| self.denial(validation, &names, &mut budget);
        self.validations.iter().filter_map(denial).collect()
    }

    /// One that cannot be evaluated is missing for those that name it, and for nobody else.
    fn add_variables<'a>(&'a self, names: &mut Vec<(&'static str, Val<'a>)>, budget: &mut Budget) {
        let outer = names.len();
        let mut variables = Rc::new(Vec::new());
        for (name, expression) in &self.variables {
            names.push(("variables", Val::Map(variables.clone())));
            let value = expression.run(names, budget);
            names.truncate(outer);
            if let Ok(value) = value {
                // Copied only if the value holds on to them.
                Rc::make_mut(&mut variables).push((Val::Text(name.as_str().into()), value));
            }
        }
        names.push(("variables", Val::Map(variables)));
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

/// What match conditions may name, what others may, and the variables with their names.
pub(super) fn scopes(spec: &Value) -> (Scope, Scope, Vec<(String, Expression)>) {
    let has_params = spec["paramKind"].is_object();
    let items = meta::items(spec, &["variables"]);
    let is_mutating = spec.get("mutations").is_some();
    let mut scope = if items.is_empty() && !is_mutating {
        Scope::plain(has_params)
    } else {
        Scope::with_variables(has_params)
    };
    let define = |item: &Value| {
        let name = meta::text(item, &["name"]);
        (name.to_owned(), scope.define(name, meta::text(item, &["expression"])))
    };
    let variables = items.iter().map(define).collect();
    (Scope::plain(has_params), scope, variables)
}

fn names<'a>(input: &Input<'a>) -> Vec<(&'static str, Val<'a>)> {
    vec![
        ("object", json(input.object, None)),
        ("oldObject", json(input.old, None)),
        ("request", json(input.request, None)),
        ("params", json(input.params, None)),
        ("namespaceObject", json(input.namespace, None)),
    ]
}

impl Mutation {
    fn compile(mutation: &Value, scope: &Scope) -> Self {
        let is_json = meta::text(mutation, &["patchType"]) == "JSONPatch";
        let (field, wanted) = Self::place(is_json);
        let source = meta::text(mutation, &[field, "expression"]);
        Self { expression: Expression::compile(source, scope, wanted), is_json }
    }

    /// Where the expression stands, and what it must come to.
    pub(super) fn place(is_json: bool) -> (&'static str, Wanted) {
        if is_json {
            ("jsonPatch", Wanted::Patches)
        } else {
            ("applyConfiguration", Wanted::Object)
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

#[cfg(test)]
mod tests;
