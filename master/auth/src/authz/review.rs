//! Answers to the review resources of `authorization.k8s.io` and `authentication.k8s.io`.
//!
//! Each takes the object a client sent and returns it with its status filled; whether the client may
//! ask at all was decided before.

use master_api::access::{Attributes, Identity};
use master_api::status::{ApiError, FieldError};
use serde_json::{Value, json};

use crate::authz::{Authorizer, Rule, node_name};
use crate::json::{items, text, texts};

/// Fills a SubjectAccessReview or LocalSubjectAccessReview.
///
/// # Errors
/// `Invalid`: says what is wrong with the spec.
pub fn subject_access(authorizer: &Authorizer, review: &Value) -> Result<Value, ApiError> {
    let extra = review.pointer("/spec/extra").and_then(Value::as_object).into_iter().flatten();
    let identity = Identity {
        user: text(review, "/spec/user").to_owned(),
        uid: text(review, "/spec/uid").to_owned(),
        groups: texts(review, "/spec/groups"),
        extra: extra.map(|(key, values)| (key.to_lowercase(), texts(values, ""))).collect(),
    };
    let mut errors = wrong_question(review);
    if identity.user.is_empty() && identity.groups.is_empty() {
        let detail = "at least one of user or group must be specified";
        errors.push(FieldError::invalid("spec.user", "", detail));
    }
    let namespace = text(review, "/metadata/namespace");
    if !namespace.is_empty() {
        errors.extend(beyond_namespace(review, namespace));
    }
    access(authorizer, review, identity, errors)
}

/// Fills a SelfSubjectAccessReview for the identity that asks.
pub fn self_subject_access(
    authorizer: &Authorizer,
    review: &Value,
    identity: &Identity,
) -> Result<Value, ApiError> {
    access(authorizer, review, identity.clone(), wrong_question(review))
}

/// The part of a spec by this name, when it is given.
fn part<'a>(review: &'a Value, name: &str) -> Option<&'a Value> {
    review.get("spec")?.get(name).filter(|value| value.is_object())
}

/// A path, as upstream shows it.
fn shown_path(path: &Value) -> Value {
    json!({ "Path": text(path, "/path"), "Verb": text(path, "/verb") })
}

/// One thing is asked about: a resource or a path.
fn wrong_question(review: &Value) -> Vec<FieldError> {
    let (resource, path) =
        (part(review, "resourceAttributes"), part(review, "nonResourceAttributes"));
    match (resource, path) {
        (Some(_), Some(path)) => vec![FieldError::invalid(
            "spec.nonResourceAttributes",
            shown_path(path),
            "cannot be specified in combination with resourceAttributes",
        )],
        (None, None) => vec![FieldError::invalid(
            "spec.resourceAttributes",
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )],
        _ => Vec::new(),
    }
}

/// What is asked within a namespace is about that namespace.
fn beyond_namespace(review: &Value, namespace: &str) -> Vec<FieldError> {
    let asked = part(review, "resourceAttributes").map(|resource| text(resource, "/namespace"));
    let other = asked.filter(|asked| *asked != namespace).map(|asked| {
        let detail = "must match metadata.namespace";
        FieldError::invalid("spec.resourceAttributes.namespace", asked, detail)
    });
    let path = part(review, "nonResourceAttributes").map(|path| {
        let detail = "disallowed on this kind of request";
        FieldError::invalid("spec.nonResourceAttributes", shown_path(path), detail)
    });
    other.into_iter().chain(path).collect()
}

fn access(
    authorizer: &Authorizer,
    review: &Value,
    identity: Identity,
    mut errors: Vec<FieldError>,
) -> Result<Value, ApiError> {
    // A question is not kept, and so has no name. Who owns its fields is the server's.
    let local = text(review, "/kind") == "LocalSubjectAccessReview";
    let is_own = |field: &str| field == "managedFields" || (local && field == "namespace");
    let metadata = review.get("metadata").and_then(Value::as_object).into_iter().flatten();
    if metadata.into_iter().any(|(field, value)| !is_own(field) && !value.is_null()) {
        errors.push(FieldError::invalid("metadata", review["metadata"].clone(), "must be empty"));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid("authorization.k8s.io", "", "", errors));
    }
    let (request, field_selector) = attributes(review, identity);
    let decision = authorizer.authorize_selected(&request, &field_selector);
    let mut status = json!({ "allowed": decision.allowed });
    if !decision.reason.is_empty() {
        status["reason"] = json!(decision.reason);
    }
    Ok(filled(review, status))
}

fn attributes(review: &Value, identity: Identity) -> (Attributes, String) {
    let Some(resource) = part(review, "resourceAttributes") else {
        let asked = |name| text(review, name).to_owned();
        let request = Attributes {
            identity,
            verb: asked("/spec/nonResourceAttributes/verb"),
            path: asked("/spec/nonResourceAttributes/path"),
            ..Attributes::default()
        };
        return (request, String::new());
    };
    let field = |name: &str| text(resource, &format!("/{name}")).to_owned();
    let request = Attributes {
        identity,
        verb: field("verb"),
        group: field("group"),
        version: field("version"),
        resource: field("resource"),
        subresource: field("subresource"),
        namespace: field("namespace"),
        name: field("name"),
        path: String::new(),
    };
    (request, selector(resource))
}

/// The field selector of resource attributes, as a query string would have it.
fn selector(resource: &Value) -> String {
    let raw = text(resource, "/fieldSelector/rawSelector");
    if !raw.is_empty() {
        return raw.to_owned();
    }
    let requirements = items(resource, "/fieldSelector/requirements").iter();
    let equals = requirements.filter(|one| text(one, "/operator") == "In").filter_map(|one| {
        let [value] = items(one, "/values") else { return None };
        Some(format!("{}={}", text(one, "/key"), value.as_str()?))
    });
    equals.collect::<Vec<_>>().join(",")
}

/// A SelfSubjectRulesReview: what `kubectl auth can-i --list` shows. Nothing of the question is in the answer.
pub fn self_subject_rules(
    authorizer: &Authorizer,
    review: &Value,
    identity: &Identity,
) -> Result<Value, String> {
    let namespace = text(review, "/spec/namespace");
    if namespace.is_empty() {
        return Err("no namespace on request".to_owned());
    }
    let rules = authorizer.rules(identity, namespace);
    let (urls, resources): (Vec<&Rule>, Vec<&Rule>) =
        rules.iter().partition(|rule| !rule.urls.is_empty());
    let resource = |rule: &&Rule| {
        let mut shown =
            json!({ "verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources });
        if !rule.names.is_empty() {
            shown["resourceNames"] = json!(rule.names);
        }
        shown
    };
    let url = |rule: &&Rule| json!({ "verbs": rule.verbs, "nonResourceURLs": rule.urls });
    let mut status = json!({
        "resourceRules": resources.iter().map(resource).collect::<Vec<_>>(),
        "nonResourceRules": urls.iter().map(url).collect::<Vec<_>>(),
        "incomplete": false,
    });
    if node_name(identity).is_some() {
        status["incomplete"] = json!(true);
        status["evaluationError"] = json!("node authorizer does not support user rule resolution");
    }
    let blank = json!({ "apiVersion": review["apiVersion"], "kind": review["kind"], "metadata": {}, "spec": {} });
    Ok(filled(&blank, status))
}

/// A SelfSubjectReview of `now`: what `kubectl auth whoami` shows.
pub fn self_subject(review: &Value, identity: &Identity, now: &str) -> Value {
    json!({
        "apiVersion": review["apiVersion"], "kind": review["kind"],
        "metadata": { "creationTimestamp": now },
        "status": { "userInfo": user_info(identity) },
    })
}

/// An identity as `authentication.k8s.io/v1` UserInfo.
pub fn user_info(identity: &Identity) -> Value {
    let mut info = json!({ "username": identity.user });
    if !identity.uid.is_empty() {
        info["uid"] = json!(identity.uid);
    }
    if !identity.groups.is_empty() {
        info["groups"] = json!(identity.groups);
    }
    if !identity.extra.is_empty() {
        info["extra"] = json!(identity.extra);
    }
    info
}

pub(crate) fn filled(review: &Value, status: Value) -> Value {
    let mut answer = review.clone();
    answer["status"] = status;
    answer
}
