//! Answers to the review resources of `authorization.k8s.io` and `authentication.k8s.io`.
//!
//! Each takes the object a client sent and returns it with its status filled; whether the client may
//! ask at all was decided before.

use master_api::access::{Attributes, Identity};
use serde_json::{Value, json};

use crate::authz::{Authorizer, Rule, node_name};
use crate::json::{items, text, texts};

/// Fills a SubjectAccessReview or LocalSubjectAccessReview. The error says what is wrong with the spec.
pub fn subject_access(authorizer: &Authorizer, review: &Value) -> Result<Value, String> {
    let extra = review.pointer("/spec/extra").and_then(Value::as_object).into_iter().flatten();
    let identity = Identity {
        user: text(review, "/spec/user").to_owned(),
        uid: text(review, "/spec/uid").to_owned(),
        groups: texts(review, "/spec/groups"),
        extra: extra.map(|(key, values)| (key.to_lowercase(), texts(values, ""))).collect(),
    };
    if identity.user.is_empty() && identity.groups.is_empty() {
        return Err(
            "spec.user: Invalid value: \"\": at least one of user or group must be specified"
                .to_owned(),
        );
    }
    let namespace = text(review, "/metadata/namespace");
    if !namespace.is_empty() && namespace != text(review, "/spec/resourceAttributes/namespace") {
        return Err("spec.resourceAttributes.namespace: must match metadata.namespace".to_owned());
    }
    access(authorizer, review, identity)
}

/// Fills a SelfSubjectAccessReview for the identity that asks.
pub fn self_subject_access(
    authorizer: &Authorizer,
    review: &Value,
    identity: &Identity,
) -> Result<Value, String> {
    access(authorizer, review, identity.clone())
}

fn access(authorizer: &Authorizer, review: &Value, identity: Identity) -> Result<Value, String> {
    let (request, field_selector) = attributes(review, identity)?;
    let decision = authorizer.authorize_selected(&request, &field_selector);
    let mut status = json!({ "allowed": decision.allowed });
    if !decision.reason.is_empty() {
        status["reason"] = json!(decision.reason);
    }
    Ok(filled(review, status))
}

fn attributes(review: &Value, identity: Identity) -> Result<(Attributes, String), String> {
    let asks_resource =
        review.pointer("/spec/resourceAttributes").filter(|value| value.is_object());
    let asks_path = review.pointer("/spec/nonResourceAttributes").filter(|value| value.is_object());
    match (asks_resource, asks_path) {
        (Some(resource), None) => {
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
            Ok((request, selector(resource)))
        }
        (None, Some(path)) => {
            let request = Attributes {
                identity,
                verb: text(path, "/verb").to_owned(),
                path: text(path, "/path").to_owned(),
                ..Attributes::default()
            };
            Ok((request, String::new()))
        }
        _ => Err("spec.resourceAttributes: exactly one of nonResourceAttributes or resourceAttributes must be specified".to_owned()),
    }
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
