//! Acting as somebody else: the `Impersonate-*` headers, each of which needs a permission.
//!
//! # Invariants
//! - Nothing is impersonated without a user; every group, uid and extra is authorized by itself.

use http::HeaderMap;
use master_api::access::{Attributes, Identity};
use master_api::status::ApiError;

use crate::authn::{ANONYMOUS, service_account};
use crate::authz::{Authorizer, forbidden};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// The identity that the headers ask for, if any.
pub fn requested(headers: &HeaderMap) -> Result<Option<Identity>, ApiError> {
    let value = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let groups =
        headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned);
    let mut identity = Identity {
        user: value(USER),
        uid: value(UID),
        groups: groups.collect(),
        ..Identity::default()
    };
    for (name, value) in headers {
        let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) else {
            continue;
        };
        identity.extra.entry(percent_decoded(key)).or_default().push(value.to_owned());
    }
    if !identity.user.is_empty() {
        return Ok(Some(identity));
    }
    if identity == Identity::default() {
        return Ok(None);
    }
    Err(ApiError::bad_request("requested impersonation without impersonating a user"))
}

/// Checks that `who` may act as `wanted`, and completes the groups as upstream does.
pub fn evaluate(
    authorizer: &Authorizer,
    who: &Identity,
    wanted: Identity,
) -> Result<Identity, ApiError> {
    for request in permissions(who, &wanted) {
        let decision = authorizer.authorize(&request);
        if !decision.allowed {
            return Err(forbidden(&request, &decision.reason));
        }
    }
    Ok(completed(wanted))
}

/// One request per part of the wanted identity.
fn permissions(who: &Identity, wanted: &Identity) -> Vec<Attributes> {
    let request =
        |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| Attributes {
            identity: who.clone(),
            verb: "impersonate".to_owned(),
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            path: String::new(),
        };
    let mut requests = vec![match service_account_of(&wanted.user) {
        Some((namespace, name)) => request("", "serviceaccounts", "", namespace, name),
        None => request("", "users", "", "", &wanted.user),
    }];
    requests.extend(wanted.groups.iter().map(|group| request("", "groups", "", "", group)));
    if !wanted.uid.is_empty() {
        requests.push(request(AUTHENTICATION, "uids", "", "", &wanted.uid));
    }
    for (key, values) in &wanted.extra {
        requests.extend(
            values.iter().map(|value| request(AUTHENTICATION, "userextras", key, "", value)),
        );
    }
    requests
}

fn completed(mut wanted: Identity) -> Identity {
    if let Some((namespace, _)) = service_account_of(&wanted.user)
        && wanted.groups.is_empty()
    {
        wanted.groups = service_account::groups(namespace);
    }
    let everyone =
        if wanted.user == ANONYMOUS { "system:unauthenticated" } else { "system:authenticated" };
    if !wanted.groups.iter().any(|group| group == everyone) {
        wanted.groups.push(everyone.to_owned());
    }
    wanted
}

fn service_account_of(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':')
}

fn percent_decoded(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail
            .get(..2)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}
