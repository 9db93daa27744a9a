//! The `authorizer` of expressions: who may do what, asked step by step.
//!
//! `authorizer.group('apps').resource('deployments').namespace('a').check('create').allowed()`

use std::fmt::Debug;
use std::rc::Rc;

use master_api::access::{Attributes, Identity};

use super::Answer;
use crate::cel::eval::Budget;
use crate::cel::value::Val;

/// What a question costs, as upstream counts it.
const STEPS: usize = 350_000;

/// Who decides.
pub trait Authority: Debug {
    /// Whether the request would be let through, and why.
    fn decide(&self, request: &Attributes, field_selector: &str) -> (bool, String);
}

/// A question that is being put together.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    authority: &'a dyn Authority,
    stage: Stage,
    request: Attributes,
    field_selector: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Who is known.
    Begun,
    Path,
    Group,
    Resource,
}

impl<'a> Access<'a> {
    /// What `identity` may do.
    pub fn of(authority: &'a dyn Authority, identity: Identity) -> Self {
        let request = Attributes { identity, ..Attributes::default() };
        Self { authority, stage: Stage::Begun, request, field_selector: String::new() }
    }

    /// What may be done to the resource that a request is about.
    pub fn about(authority: &'a dyn Authority, request: Attributes) -> Self {
        Self { authority, stage: Stage::Resource, request, field_selector: String::new() }
    }

    pub(in crate::cel) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Begun => "kubernetes.authorization.Authorizer",
            Stage::Path => "kubernetes.authorization.PathCheck",
            Stage::Group => "kubernetes.authorization.GroupCheck",
            Stage::Resource => "kubernetes.authorization.ResourceCheck",
        }
    }

    fn with(&self, stage: Stage, change: impl FnOnce(&mut Self)) -> Val<'a> {
        let mut next = Self { stage, ..self.clone() };
        change(&mut next);
        Val::Access(Rc::new(next))
    }

    fn check(&self, verb: &str) -> Val<'a> {
        let mut request = Attributes { verb: verb.to_owned(), ..self.request.clone() };
        if self.stage == Stage::Resource {
            request.version = "*".to_owned();
        }
        let (is_allowed, reason) = self.authority.decide(&request, &self.field_selector);
        Val::Decision(is_allowed, reason.into())
    }
}

pub(super) fn call<'a>(name: &str, values: &[Val<'a>], budget: &mut Budget) -> Answer<'a> {
    match values {
        [Val::Access(access), Val::Text(text)] if name == "check" => {
            Some(budget.spend(STEPS).map(|()| access.check(text)))
        }
        [Val::Access(access), Val::Text(text)] => step(name, access, text),
        [Val::Access(access), Val::Text(namespace), Val::Text(account)]
            if name == "serviceAccount" && access.stage == Stage::Begun =>
        {
            Some(service_account(access, namespace, account))
        }
        [Val::Decision(is_allowed, reason)] => Some(Ok(match name {
            "allowed" => Val::Bool(*is_allowed),
            "reason" => Val::text(&**reason),
            // Ours is never at a loss.
            "errored" => Val::Bool(false),
            "error" => Val::text(""),
            _ => return None,
        })),
        _ => None,
    }
}

fn step<'a>(name: &str, access: &Access<'a>, text: &str) -> Answer<'a> {
    let owned = text.to_owned();
    Some(Ok(match (access.stage, name) {
        (Stage::Begun, "path") if text.is_empty() => {
            return Some(Err("path must not be empty".to_owned()));
        }
        (Stage::Begun, "path") => access.with(Stage::Path, |next| next.request.path = owned),
        (Stage::Begun, "group") => access.with(Stage::Group, |next| next.request.group = owned),
        (Stage::Group, "resource") => {
            access.with(Stage::Resource, |next| next.request.resource = owned)
        }
        (Stage::Resource, _) => access.with(Stage::Resource, |next| match name {
            "subresource" => next.request.subresource = owned,
            "namespace" => next.request.namespace = owned,
            "name" => next.request.name = owned,
            "fieldSelector" => next.field_selector = owned,
            // No authorizer of ours looks at labels.
            _ => {}
        }),
        _ => return None,
    }))
}

fn service_account<'a>(
    access: &Access<'a>,
    namespace: &str,
    name: &str,
) -> Result<Val<'a>, String> {
    if !master_api::names::dns1123_label(namespace).is_empty() {
        return Err("Invalid service account namespace".to_owned());
    }
    if !master_api::names::dns1123_subdomain(name).is_empty() {
        return Err("Invalid service account name".to_owned());
    }
    let groups =
        ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    Ok(access.with(Stage::Begun, |next| {
        next.request.identity = Identity {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            groups: groups.into(),
            ..Identity::default()
        };
    }))
}
