//! Acting as somebody else: the `Impersonate-*` headers, each of which needs a permission.
//!
//! # Invariants
//! - Nothing is impersonated without a user; every group, uid and extra is authorized by itself.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue};
use master_api::access::{Attributes, Identity};
use master_api::names;
use master_api::percent;
use master_api::status::ApiError;

use crate::authn::{ANONYMOUS, service_account};
use crate::authz::{Authorizer, SUPERUSERS, forbidden};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The fact that says on which node a service account's pod runs.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// What facts there are, in place of the facts.
const NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";

/// The identity that the headers ask for, if any.
///
/// # Errors
/// A header that is no UTF-8: passed over, the request would run as whoever sent it. Anything but a user without a user.
pub fn requested(headers: &HeaderMap) -> Result<Option<Identity>, ApiError> {
    let value = |name: &str| headers.get(name).map_or(Ok(String::new()), read);
    let groups: Result<_, _> = headers.get_all(GROUP).iter().map(read).collect();
    let mut identity =
        Identity { user: value(USER)?, uid: value(UID)?, groups: groups?, ..Identity::default() };
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(EXTRA) else { continue };
        // One that holds an escape that is none stays as it is.
        let key = percent::decode(key).unwrap_or_else(|| key.to_owned());
        identity.extra.entry(key).or_default().push(read(value)?);
    }
    if !identity.user.is_empty() {
        return Ok(Some(identity));
    }
    if identity == Identity::default() {
        return Ok(None);
    }
    Err(ApiError::bad_request("requested impersonation without impersonating a user"))
}

fn read(value: &HeaderValue) -> Result<String, ApiError> {
    let text = str::from_utf8(value.as_bytes()).map(str::to_owned);
    text.map_err(|_| ApiError::bad_request("impersonation headers must be UTF-8"))
}

/// A way of acting as somebody else, each with permissions of its own (KEP-5284). All but the last are granted for
/// single verbs, too: `impersonate-on:user-info:list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A service account acts as the node that its pod runs on.
    AssociatedNode,
    /// As any node.
    ArbitraryNode,
    ServiceAccount,
    /// As anybody who is neither.
    UserInfo,
    /// As anybody, for everything.
    Legacy,
}

const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];
/// So many groups, or further facts, may be granted all at once.
const MANY: usize = 4;

/// Checks that whoever sends `request` may send it as `wanted`, and completes the groups as upstream does. The refusal is
/// that of the first way that could have been meant.
pub fn evaluate(
    authorizer: &Authorizer,
    request: &Attributes,
    wanted: &Identity,
) -> Result<Identity, ApiError> {
    let mut first = None;
    for mode in MODES.into_iter().filter(|mode| mode.is_for(&request.identity, wanted)) {
        match mode.check(authorizer, request, wanted) {
            Ok(()) => return Ok(mode.completed(wanted.clone())),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.expect("the last way is for anybody"))
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "",
        }
    }

    fn verb(self) -> String {
        match self {
            Self::Legacy => "impersonate".to_owned(),
            mode => format!("impersonate:{}", mode.name()),
        }
    }

    fn is_for(self, who: &Identity, wanted: &Identity) -> bool {
        let only_user = Identity { user: wanted.user.clone(), ..Identity::default() } == *wanted;
        let (node, account) = (node_of(&wanted.user), service_account_of(&wanted.user));
        match self {
            Self::AssociatedNode => {
                let own = who.extra.get(NODE_NAME).map(Vec::as_slice);
                only_user
                    && service_account_of(&who.user).is_some()
                    && node.is_some_and(|node| own == Some(&[node.to_owned()]))
            }
            Self::ArbitraryNode => only_user && node.is_some(),
            Self::ServiceAccount => only_user && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
            Self::Legacy => true,
        }
    }

    fn check(
        self,
        authorizer: &Authorizer,
        request: &Attributes,
        wanted: &Identity,
    ) -> Result<(), ApiError> {
        let may = |asked: &Attributes| {
            let decision = authorizer.authorize(asked);
            if decision.allowed { Ok(()) } else { Err(forbidden(asked, &decision.reason)) }
        };
        let mut who = request.identity.clone();
        if self == Self::AssociatedNode {
            // What is granted holds on every node.
            let keys = who.extra.into_keys().collect();
            who.extra = BTreeMap::from([(NODE_KEYS.to_owned(), keys)]);
        }
        if self != Self::Legacy {
            let verb = format!("impersonate-on:{}:{}", self.name(), request.verb);
            may(&Attributes { identity: who.clone(), verb, ..request.clone() })?;
        }
        may(&self.asked_for_user(&who, &wanted.user))?;
        if !wanted.uid.is_empty() {
            may(&self.asked(&who, AUTHENTICATION, "uids", "", &wanted.uid))?;
        }
        self.check_groups(&who, wanted, may)?;
        self.check_extra(&who, wanted, may)
    }

    fn check_groups(
        self,
        who: &Identity,
        wanted: &Identity,
        may: impl Fn(&Attributes) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let of = |name: &str| self.asked(who, self.group(), "groups", "", name);
        if self != Self::Legacy {
            if wanted.groups.iter().any(String::is_empty) {
                let why = "impersonating the empty string group is not allowed";
                return Err(forbidden(&of(""), why));
            }
            if wanted.groups.iter().any(|group| group == SUPERUSERS) {
                let why = "impersonating the system:masters group is not allowed";
                return Err(forbidden(&of(SUPERUSERS), why));
            }
            if wanted.groups.len() >= MANY && may(&of("*")).is_ok() {
                return Ok(());
            }
        }
        wanted.groups.iter().try_for_each(|group| may(&of(group)))
    }

    fn check_extra(
        self,
        who: &Identity,
        wanted: &Identity,
        may: impl Fn(&Attributes) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let of = |key: &str, value: &str| self.asked(who, AUTHENTICATION, "userextras", key, value);
        if self != Self::Legacy {
            if let Some(why) = wanted.extra.iter().find_map(extra_problem) {
                return Err(forbidden(&of("", ""), &why));
            }
            let values = wanted.extra.values().map(Vec::len).sum::<usize>();
            if values >= MANY && may(&of("*", "*")).is_ok() {
                return Ok(());
            }
        }
        let mut all =
            wanted.extra.iter().flat_map(|(key, values)| values.iter().map(move |v| (key, v)));
        all.try_for_each(|(key, value)| may(&of(key, value)))
    }

    /// The group of the resources that users and groups are.
    fn group(self) -> &'static str {
        if self == Self::Legacy { "" } else { AUTHENTICATION }
    }

    fn asked_for_user(self, who: &Identity, user: &str) -> Attributes {
        if let Some((namespace, name)) = service_account_of(user) {
            let asked = self.asked(who, self.group(), "serviceaccounts", "", name);
            return Attributes { namespace: namespace.to_owned(), ..asked };
        }
        match node_of(user).filter(|_| self != Self::Legacy) {
            Some(_) if self == Self::AssociatedNode => {
                self.asked(who, self.group(), "nodes", "", "*")
            }
            Some(node) => self.asked(who, self.group(), "nodes", "", node),
            None => self.asked(who, self.group(), "users", "", user),
        }
    }

    fn asked(
        self,
        who: &Identity,
        group: &str,
        resource: &str,
        subresource: &str,
        name: &str,
    ) -> Attributes {
        Attributes {
            identity: who.clone(),
            verb: self.verb(),
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: String::new(),
            name: name.to_owned(),
            path: String::new(),
        }
    }

    fn completed(self, mut wanted: Identity) -> Identity {
        if node_of(&wanted.user).is_some() && self != Self::Legacy {
            wanted.groups = vec!["system:nodes".to_owned()];
        }
        if let Some((namespace, _)) = service_account_of(&wanted.user)
            && wanted.groups.is_empty()
        {
            wanted.groups = service_account::groups(namespace);
        }
        let is_in = |group: &str| wanted.groups.iter().any(|one| one == group);
        let everyone = match (&*wanted.user == ANONYMOUS, is_in(UNAUTHENTICATED)) {
            (true, false) => Some(UNAUTHENTICATED),
            (false, false) => Some("system:authenticated"),
            (_, true) => None,
        };
        if let Some(everyone) = everyone.filter(|everyone| !is_in(everyone)) {
            wanted.groups.push(everyone.to_owned());
        }
        wanted
    }
}

/// What no way but the old one lets pass as a further fact.
fn extra_problem((key, values): (&String, &Vec<String>)) -> Option<String> {
    let what = match (key.as_str(), values.as_slice()) {
        ("", _) => "the empty string key in extra",
        (key, _) if !is_path_of_a_domain(key) => "an invalid key in extra",
        (_, []) => "empty values in extra",
        (_, values) if values.iter().any(String::is_empty) => "the empty string value in extra",
        _ => return None,
    };
    Some(format!("impersonating {what} is not allowed"))
}

/// `example.com/path`
fn is_path_of_a_domain(key: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:/%@".contains(c);
    key.split_once('/').is_some_and(|(domain, path)| {
        names::dns1123_subdomain(domain).is_empty() && !path.is_empty() && path.chars().all(allowed)
    })
}

fn service_account_of(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let is_one =
        names::dns1123_label(namespace).is_empty() && names::dns1123_subdomain(name).is_empty();
    is_one.then_some((namespace, name))
}

fn node_of(user: &str) -> Option<&str> {
    user.strip_prefix("system:node:").filter(|name| names::dns1123_subdomain(name).is_empty())
}
