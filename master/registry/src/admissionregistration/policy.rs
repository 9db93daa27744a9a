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

use super::matching::Matcher;
pub use crate::cel::Authority;
use crate::cel::{Access, Budget, Names, Program, Type, Val, json};

/// Steps of all expressions of a policy for one write, as upstream bounds them.
const STEPS_MAX: u64 = 10_000_000;
const AUTHORIZER: &str = "authorizer";
const REQUEST_RESOURCE: &str = "authorizer.requestResource";
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

/// An expression, or what is wrong with it.
#[derive(Debug)]
pub(super) struct Expression {
    source: String,
    pub(super) program: Result<Program, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Bool,
    Text,
    Any,
    /// An object, made in place.
    Object,
    /// A list of `JSONPatch`.
    Patches,
}

impl Expression {
    pub(super) fn compile(source: &str, has_variables: bool, wanted: Wanted) -> Self {
        let source = source.trim().to_owned();
        let mut names = typed_names(&Type::Dyn, &Type::Dyn);
        if has_variables {
            names.insert("variables", Type::Dyn);
        }
        if wanted == Wanted::Text {
            names.retain(|name, _| !name.starts_with(AUTHORIZER));
        }
        match wanted {
            Wanted::Object => drop(names.insert("Object", Type::Type)),
            Wanted::Patches => {
                names.insert("Object", Type::Type);
                names.insert("JSONPatch", Type::Type);
            }
            Wanted::Bool | Wanted::Text | Wanted::Any => {}
        }
        let program = match (Program::compile(&source, &names), wanted) {
            (Ok((program, _)), Wanted::Any)
            | (Ok((program, Type::Bool | Type::Dyn)), Wanted::Bool)
            | (Ok((program, Type::Text | Type::Dyn)), Wanted::Text)
            | (Ok((program, Type::Map(_) | Type::Dyn)), Wanted::Object)
            | (Ok((program, Type::List(_) | Type::Dyn)), Wanted::Patches) => Ok(program),
            (Ok(_), Wanted::Text) => Err("must evaluate to string".to_owned()),
            (Ok(_), Wanted::Object) => Err("must evaluate to Object".to_owned()),
            (Ok(_), Wanted::Patches) => Err("must evaluate to list(JSONPatch)".to_owned()),
            (Ok(_), _) => Err("must evaluate to bool".to_owned()),
            (Err(error), _) => Err(format!("compilation failed: {error}")),
        };
        Self { source, program }
    }

    fn asks(&self) -> bool {
        self.program.as_ref().is_ok_and(|program| program.uses(AUTHORIZER))
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
        let policy = Self {
            matcher: Matcher::of_policy(&spec["matchConstraints"]),
            is_reinvoked: meta::text(spec, &["reinvocationPolicy"]) == "IfNeeded",
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
            mutations: meta::items(spec, &["mutations"]).iter().map(Mutation::compile).collect(),
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
        let mut variables = Vec::new();
        for (name, expression) in &self.variables {
            let mut names = names.clone();
            names.push(("variables", Val::Map(Rc::new(variables.clone()))));
            if let Ok(value) = expression.run(&names, budget) {
                variables.push((Val::Text(name.as_str().into()), value));
            }
        }
        names.push(("variables", Val::Map(Rc::new(variables))));
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

/// The names that expressions may use, with what is known of them.
pub(super) fn typed_names<'a>(object: &Type<'a>, params: &Type<'a>) -> Names<'a> {
    [
        ("object", object.clone()),
        ("oldObject", object.clone()),
        ("request", request_type()),
        ("params", params.clone()),
        ("namespaceObject", namespace_type()),
        (AUTHORIZER, Type::Authorizer),
        (REQUEST_RESOURCE, Type::ResourceCheck),
    ]
    .into()
}

fn made<'a>(fields: &[(&str, Type<'a>)]) -> Type<'a> {
    let fields = fields.iter().map(|(name, kind)| ((*name).to_owned(), kind.clone()));
    Type::Made(Rc::new(fields.collect()))
}

/// An AdmissionRequest. Its options are those of any write.
fn request_type<'a>() -> Type<'a> {
    let texts = || Type::List(Box::new(Type::Text));
    let kind = |name| made(&[("group", Type::Text), ("version", Type::Text), (name, Type::Text)]);
    let user = made(&[
        ("username", Type::Text),
        ("uid", Type::Text),
        ("groups", texts()),
        ("extra", Type::Map(Box::new(texts()))),
    ]);
    made(&[
        ("kind", kind("kind")),
        ("resource", kind("resource")),
        ("subResource", Type::Text),
        ("requestKind", kind("kind")),
        ("requestResource", kind("resource")),
        ("requestSubResource", Type::Text),
        ("name", Type::Text),
        ("namespace", Type::Text),
        ("operation", Type::Text),
        ("userInfo", user),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ])
}

/// What is shown of a namespace. Times are known when it is looked at.
fn namespace_type<'a>() -> Type<'a> {
    let texts = || Type::List(Box::new(Type::Text));
    let map = || Type::Map(Box::new(Type::Text));
    let metadata = made(&[
        ("name", Type::Text),
        ("generateName", Type::Text),
        ("namespace", Type::Text),
        ("labels", map()),
        ("annotations", map()),
        ("UID", Type::Text),
        ("creationTimestamp", Type::Dyn),
        ("deletionGracePeriodSeconds", Type::Int),
        ("deletionTimestamp", Type::Dyn),
        ("generation", Type::Int),
        ("resourceVersion", Type::Text),
        ("finalizers", texts()),
    ]);
    made(&[
        ("metadata", metadata),
        ("spec", made(&[("finalizers", texts())])),
        ("status", made(&[("phase", Type::Text)])),
    ])
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
    fn compile(mutation: &Value) -> Self {
        let is_json = meta::text(mutation, &["patchType"]) == "JSONPatch";
        let (field, wanted) = Self::place(is_json);
        let source = meta::text(mutation, &[field, "expression"]);
        Self { expression: Expression::compile(source, true, wanted), is_json }
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
mod tests {
    use master_api::access::Identity;
    use serde_json::json;

    use super::*;

    /// Allows what the reason says, and tells what was asked in the reason.
    #[derive(Debug)]
    struct Eve;

    impl Authority for Eve {
        fn decide(&self, request: &Attributes, field_selector: &str) -> (bool, String) {
            let who = format!("{} {}", request.identity.user, request.identity.groups.join(","));
            let Attributes { verb, group, version, resource, subresource, .. } = request;
            let Attributes { namespace, name, path, .. } = request;
            let what =
                [group, version, resource, subresource, namespace, name, path].map(String::as_str);
            let asked = format!("{} {verb} {} {field_selector}", who.trim(), what.join("/"));
            (request.identity.user == "eve", asked.trim().to_owned())
        }
    }

    fn judged(spec: Value, object: Value) -> Vec<(String, String)> {
        let policy = Policy::compile(&json!({ "spec": spec }));
        let request = json!({"operation": "CREATE", "userInfo": {"username": "anna"}});
        let params = json!({"data": {"max": "3"}});
        let namespace = json!({"metadata": {"name": "default", "labels": {"team": "a"}}});
        let text = str::to_owned;
        let about = Attributes {
            identity: Identity { user: text("eve"), ..Identity::default() },
            resource: text("pods"),
            namespace: text("a"),
            ..Attributes::default()
        };
        let input = Input {
            object: &object,
            old: &Value::Null,
            request: &request,
            params: &params,
            namespace: &namespace,
            authority: &Eve,
            about: &about,
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
    fn policies_ask_what_somebody_may_do() {
        #[rustfmt::skip]
        let cases = [
            ("authorizer.requestResource.check('create')",                          "eve create /*/pods//a// "),
            ("authorizer.path('/healthz').check('get')",                            "eve get ///////healthz"),
            ("authorizer.group('apps').resource('deployments').check('list')",      "eve list apps/*/deployments////"),
            ("authorizer.group('').resource('pods').subresource('log').namespace('b').name('c').fieldSelector('x=y').labelSelector('z').check('get')",
                                                                                    "eve get /*/pods/log/b/c/ x=y"),
            ("authorizer.serviceAccount('a', 'robot').group('').resource('pods').check('get')",
                "system:serviceaccount:a:robot system:serviceaccounts,system:serviceaccounts:a get /*/pods////"),
        ];
        for (source, asked) in cases {
            let spec = json!({"variables": [{"name": "said", "expression": source}],
                "validations": [{"expression": format!("{source}.allowed()"), "message": "not allowed"},
                    {"expression": "false", "messageExpression": "variables.said.reason()"},
                    {"expression": "!variables.said.errored() && variables.said.error() == ''"}]});
            let mut expected = vec![said(asked.trim(), "Invalid")];
            if source.contains("serviceAccount") {
                expected.insert(0, said("not allowed", "Invalid"));
            }
            assert_eq!(judged(spec, json!({})), expected, "{source}");
        }
    }

    #[test]
    fn checks_are_put_together_in_order_and_cost() {
        let compiled =
            |source: &str, wanted| Expression::compile(source, true, wanted).program.err();
        for wrong in [
            "authorizer.resource('pods')",
            "authorizer.group('').check('get')",
            "authorizer.group('').resource('pods').allowed()",
            "authorizer.serviceAccount('a', 'b').requestResource",
        ] {
            assert!(compiled(wrong, Wanted::Any).is_some(), "{wrong}");
        }
        let check = "authorizer.path('/x').check('get').reason()";
        assert!(compiled(check, Wanted::Any).is_none());
        assert!(compiled(check, Wanted::Text).is_some(), "no message asks");
        let refused = |source: &str| {
            let spec = json!({"validations": [{"expression": source}]});
            judged(spec, json!({}))[0].0.clone()
        };
        let often = "[1, 2, 3, 4, 5, 6].all(a, [1, 2, 3, 4, 5].all(b, authorizer.path('/x').check('get').allowed()))";
        assert!(refused(often).ends_with("actual cost limit exceeded"), "{}", refused(often));
        let nobody = "authorizer.serviceAccount('a', 'No!').path('/').check('get').allowed()";
        assert!(refused(nobody).ends_with("Invalid service account name"), "{}", refused(nobody));
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
    fn mutations_make_patches_one_upon_the_other() {
        let spec = json!({
            "variables": [{"name": "team", "expression": "object.metadata.labels['acme.io/team']"}],
            "mutations": [
                {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
                    "Object{metadata: Object.metadata{annotations: {'team': variables.team}}, \
                     spec: Object.spec{replicas: object.spec.replicas + 1, ?paused: optional.none()}}"}},
                {"patchType": "JSONPatch", "jsonPatch": {"expression":
                    "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('acme.io/n'), \
                     value: string(object.spec.replicas)}]"}},
            ],
        });
        let policy = Policy::compile(&json!({ "spec": spec }));
        let object =
            json!({"metadata": {"labels": {"acme.io/team": "a"}}, "spec": {"replicas": 1}});
        let input = Input {
            object: &object,
            old: &Value::Null,
            request: &Value::Null,
            params: &Value::Null,
            namespace: &Value::Null,
            authority: &Eve,
            about: &Attributes::default(),
        };
        let apply = |object: &Value, patch: Patch| match patch {
            Patch::Apply(patch) => Ok(master_api::patch::merge_patch(object.clone(), &patch)),
            Patch::Json(patch) => master_api::patch::json_patch(object.clone(), &patch)
                .map_err(|error| error.to_string()),
        };
        let expected = json!({"metadata": {"annotations": {"team": "a"},
            "labels": {"acme.io/team": "a", "acme.io/n": "2"}}, "spec": {"replicas": 2}});
        assert_eq!(policy.mutate(&input, &apply), Ok(Some(expected)));
        let refused = policy.mutate(&Input { object: &json!({}), ..input }, &apply).unwrap_err();
        assert!(refused.message.ends_with("no such key: team"), "{}", refused.message);
    }
}
