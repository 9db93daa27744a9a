//! What policies and bindings must be to be stored.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use super::expression::{Expression, Scope, Wanted};
use super::matching::Matcher;
use super::policy::{Mutation, scopes};
use crate::cel::KEYWORDS;
use crate::check::{self, Findings};
use crate::rules::{self, Must, Rule};

const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];

/// Of a ValidatingAdmissionPolicy. Expressions that are as they were are not compiled again.
pub(crate) fn policy_rules(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let (mut errors, path) = (Vec::new(), FieldPath::new("spec"));
    let spec = &new["spec"];
    common_rules(spec, &path, &mut errors);
    annotations(new, &mut errors);
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
    let scope = declarations(spec, &path, &mut errors);
    expressions(
        spec,
        &path,
        &scope,
        &[
            ("validations", "expression", Wanted::Bool),
            ("validations", "messageExpression", Wanted::Text),
            ("auditAnnotations", "valueExpression", Wanted::Any),
        ],
        &mut errors,
    );
    for (at, validation) in meta::items(spec, &["validations"]).iter().enumerate() {
        let path = path.child("validations").index(at);
        rules::check(validation, &path, &[("reason", Must::BeOneOf(&REASONS))], &mut errors);
    }
    errors
}

/// Of a MutatingAdmissionPolicy.
pub(crate) fn mutating_rules(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let (mut errors, path) = (Vec::new(), FieldPath::new("spec"));
    let spec = &new["spec"];
    common_rules(spec, &path, &mut errors);
    check::required_one_of(spec, "reinvocationPolicy", &path, &["IfNeeded", "Never"], &mut errors);
    only_changes(spec, &path, &mut errors);
    let mutations = meta::items(spec, &["mutations"]);
    if mutations.is_empty() {
        let detail = "mutations must contain at least one item";
        errors.push(FieldError::required(path.child("mutations"), detail));
    }
    let is_as_it_was = old.is_some_and(|old| old["spec"] == *spec);
    let scope =
        if is_as_it_was { Scope::default() } else { declarations(spec, &path, &mut errors) };
    for (at, mutation) in mutations.iter().enumerate() {
        let place = path.child("mutations").index(at);
        let kinds = ["ApplyConfiguration", "JSONPatch"];
        check::required_one_of(mutation, "patchType", &place, &kinds, &mut errors);
        let (field, wanted) = Mutation::place(mutation["patchType"] == "JSONPatch");
        let place = place.child(field);
        let source = meta::text(mutation, &[field, "expression"]);
        if source.is_empty() {
            errors.push(FieldError::required(place.child("expression"), ""));
        } else if !is_as_it_was
            && let Err(error) = Expression::compile(source, &scope, wanted).program
        {
            errors.push(FieldError::invalid(place.child("expression"), source, error));
        }
    }
    errors
}

/// Of a MutatingAdmissionPolicyBinding.
pub(crate) fn mutating_binding_rules(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    binding_parts(&new["spec"], &FieldPath::new("spec"), &mut errors);
    errors
}

/// What all bindings have.
const BINDING: &[Rule] = &[
    ("policyName", Must::BeThereFormed(names::dns1123_subdomain)),
    ("paramRef.parameterNotFoundAction", Must::BeChosen("", &["Deny", "Allow"])),
    ("paramRef.selector", Must::BeSelector),
    ("matchResources.namespaceSelector", Must::BeSelector),
    ("matchResources.objectSelector", Must::BeSelector),
];

fn binding_parts(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    if let Some(reference) = meta::at(spec, &["paramRef"]) {
        let has = |field: &str| meta::at(reference, &[field]).is_some_and(|value| value != "");
        let path = path.child("paramRef");
        match (has("name"), has("selector")) {
            (false, false) => {
                let detail = "one of name or selector must be specified";
                errors.push(FieldError::required(path, detail));
            }
            (true, true) => {
                let detail = "name and selector are mutually exclusive";
                errors.push(FieldError::forbidden(path.child("name"), detail));
            }
            _ => {}
        }
    }
    rules::check(spec, path, BINDING, errors);
}

/// What all policies have.
const POLICY: &[Rule] = &[
    ("failurePolicy", Must::BeOneOf(&["Fail", "Ignore"])),
    ("paramKind.apiVersion", Must::BeThereFormed(group_version)),
    ("paramKind.kind", Must::BeThereFormed(kind)),
    ("matchConstraints.matchPolicy", Must::BeOneOf(&["Equivalent", "Exact"])),
    ("matchConstraints.namespaceSelector", Must::BeSelector),
    ("matchConstraints.objectSelector", Must::BeSelector),
    ("matchConstraints.resourceRules[].operations", Must::BeThere("")),
    ("matchConstraints.resourceRules[].operations[]", Must::BeOneOf(&OPERATIONS)),
    ("matchConstraints.resourceRules[].apiGroups", Must::BeThere("")),
    ("matchConstraints.resourceRules[].apiVersions", Must::BeThere("")),
    ("matchConstraints.resourceRules[].apiVersions[]", Must::BeThere("")),
    ("matchConstraints.resourceRules[].resources", Must::BeThere("")),
    ("matchConstraints.resourceRules[].resources[]", Must::BeThere("")),
    ("matchConditions[].name", Must::BeThereFormed(names::qualified_name)),
    ("matchConditions", Must::DifferIn("name")),
    ("variables[].name", Must::BeThere("name is not specified")),
    ("auditAnnotations", Must::DifferIn("key")),
];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// A version, with its group before it unless it is the core group.
fn group_version(text: &str) -> Vec<String> {
    let joined = |problems: Vec<String>| match problems.is_empty() {
        true => Vec::new(),
        false => vec![problems.join(",")],
    };
    match text.split('/').collect::<Vec<_>>().as_slice() {
        [""] => vec!["version must be specified".to_owned()],
        [version] => joined(names::dns1035_label(version)),
        [group, version] => {
            let group = if group.is_empty() { Vec::new() } else { names::dns1123_subdomain(group) };
            [joined(group), joined(names::dns1035_label(version))].concat()
        }
        _ => vec![format!("unexpected GroupVersion string: {text}")],
    }
}

/// Kinds may have capitals.
fn kind(text: &str) -> Vec<String> {
    let wrong = names::dns1035_label(&text.to_lowercase()).into_iter();
    wrong.map(|it| format!("may have mixed case, but should otherwise match: {it}")).collect()
}

/// Annotations are put below the policy's name.
fn annotations(new: &Value, errors: &mut Findings) {
    for (at, annotation) in meta::items(new, &["spec", "auditAnnotations"]).iter().enumerate() {
        let path = FieldPath::new("spec.auditAnnotations").index(at).child("key");
        let key = format!("{}/{}", meta::name(new), meta::text(annotation, &["key"]));
        let wrong = names::qualified_name(&key).into_iter();
        errors.extend(wrong.map(|it| FieldError::invalid(path.clone(), key.as_str(), it)));
    }
}

fn common_rules(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    rules::check(spec, path, POLICY, errors);
    let constraints = path.child("matchConstraints");
    if !spec["matchConstraints"].is_object() {
        errors.push(FieldError::required(constraints, ""));
    } else if meta::items(spec, &["matchConstraints", "resourceRules"]).is_empty() {
        errors.push(FieldError::required(constraints.child("resourceRules"), ""));
    } else if let Err(error) = Matcher::of_policy(&spec["matchConstraints"]) {
        errors.push(FieldError::invalid(constraints, Value::Null, error));
    }
}

/// Nothing is changed by what is deleted or connected to.
fn only_changes(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    let path = path.child("matchConstraints").child("resourceRules").child("operations");
    for rule in meta::items(spec, &["matchConstraints", "resourceRules"]) {
        for operation in meta::items(rule, &["operations"]) {
            let operation = operation.as_str().unwrap_or_default();
            if !["*", "CREATE", "UPDATE"].contains(&operation) {
                let known = ["*", "CREATE", "UPDATE"];
                errors.push(FieldError::not_supported(path.clone(), operation, &known));
            }
        }
    }
}

/// What is wrong with conditions and variables; what the expressions after them may name.
fn declarations(spec: &Value, path: &FieldPath, errors: &mut Findings) -> Scope {
    let (plain, scope, variables) = scopes(spec);
    expressions(spec, path, &plain, &[("matchConditions", "expression", Wanted::Bool)], errors);
    let items = meta::items(spec, &["variables"]);
    for (at, ((name, expression), item)) in variables.iter().zip(items).enumerate() {
        let path = path.child("variables").index(at);
        if !name.is_empty() && !is_identifier(name) {
            let detail = "must be a valid CEL identifier";
            errors.push(FieldError::invalid(path.child("name"), name.as_str(), detail));
        }
        let source = meta::text(item, &["expression"]);
        if source.trim().is_empty() {
            let detail = "expression is not specified";
            errors.push(FieldError::required(path.child("expression"), detail));
        } else if let Err(error) = &expression.program {
            errors.push(FieldError::invalid(path.child("expression"), source, error.as_str()));
        }
    }
    scope
}

fn is_identifier(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(is_word)
        && text.bytes().next().is_some_and(|first| !first.is_ascii_digit())
        && !KEYWORDS.contains(&text)
}

/// Compiles the expressions of some lists: list, field, what it comes to.
fn expressions(
    spec: &Value,
    path: &FieldPath,
    scope: &Scope,
    lists: &[(&str, &str, Wanted)],
    errors: &mut Findings,
) {
    for (list, field, wanted) in lists {
        for (at, item) in meta::items(spec, &[list]).iter().enumerate() {
            let path = path.child(list).index(at);
            if *field != "messageExpression" {
                check::required(item, field, &path, errors);
            }
            let source = meta::text(item, &[field]);
            if source.is_empty() {
                continue;
            }
            if let Err(error) = Expression::compile(source, scope, *wanted).program {
                errors.push(FieldError::invalid(path.child(field), source, error));
            }
        }
    }
}

/// Of a binding of a ValidatingAdmissionPolicy.
pub(crate) fn binding_rules(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let (mut errors, path): (Findings, _) = (Vec::new(), FieldPath::new("spec"));
    let spec = &new["spec"];
    binding_parts(spec, &path, &mut errors);
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
                json!({"validations": [{"expression": "request.foo == 'a'"}]}),
                "spec.validations[0].expression: Invalid value: \"request.foo == 'a'\": compilation failed: \
                 ERROR: <input>:1:8: undefined field 'foo'",
            ),
            (
                json!({"validations": [{"expression": "namespaceObject.metadata.name == 1"}]}),
                "spec.validations[0].expression: Invalid value: \"namespaceObject.metadata.name == 1\": compilation \
                 failed: ERROR: <input>:1:31: found no matching overload for '_==_' applied to '(string, int)'",
            ),
            (
                json!({"matchConditions": [{"name": "c", "expression": "variables.x"}]}),
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

    #[test]
    fn mutations_must_come_to_objects_or_patches() {
        let rules = json!({"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]});
        let findings = |mutation: Value| {
            let spec = json!({"failurePolicy": "Fail", "reinvocationPolicy": "Never", "matchConstraints": rules, "mutations": [mutation]});
            let found = mutating_rules(&json!({ "spec": spec }), None);
            found.iter().map(|finding| finding.field.clone()).collect::<Vec<_>>()
        };
        let apply = |source: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": source}});
        let patch =
            |source: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": source}});
        assert_eq!(findings(apply("Object{spec: Object.spec{replicas: 3}}")), [""; 0]);
        assert_eq!(
            findings(patch("[JSONPatch{op: 'add', path: '/a', value: Object.spec{b: 1}}]")),
            [""; 0]
        );
        for wrong in [apply("3"), apply("JSONPatch{op: 'add'}")] {
            assert_eq!(findings(wrong), ["spec.mutations[0].applyConfiguration.expression"]);
        }
        for wrong in
            [patch("JSONPatch{op: 'add'}"), patch("[JSONPatch{operation: 'add'}]"), patch("")]
        {
            assert_eq!(findings(wrong), ["spec.mutations[0].jsonPatch.expression"]);
        }
        assert_eq!(
            findings(json!({"patchType": "Other"})).first().map(String::as_str),
            Some("spec.mutations[0].patchType")
        );
    }
}
