//! Nobody hands out more than they hold, unless told that they may (`escalate`, `bind`).
//!
//! # Invariants
//! - A role or binding that passes adds no permission to its author, directly or by aggregation.

use master_api::access::{Attributes, Identity};
use serde_json::Value;

use crate::authz::rbac::{GROUP, Roles};
use crate::authz::rule::quoted;
use crate::authz::{Authorizer, Rule, is_superuser, own_rules};
use crate::json::text;
use crate::policy::notation;

/// Why a binding is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It would hand out more than its author holds.
    Escalates(String),
    /// Nobody can say what it would hand out: the role, or cluster role, is not there.
    NoRole { role: String, name: String },
}

impl Authorizer {
    /// Judges a Role or ClusterRole (`resource`: its plural) that `identity` wants to write. The error
    /// is the reason to show.
    pub fn check_role(
        &self,
        identity: &Identity,
        resource: &str,
        role: &Value,
        old: Option<&Value>,
    ) -> Result<(), String> {
        let is_same = old.is_some_and(|old| {
            old.get("rules") == role.get("rules")
                && old.get("aggregationRule") == role.get("aggregationRule")
        });
        if is_superuser(identity) || is_same || self.may(identity, "escalate", resource, role) {
            return Ok(());
        }
        let namespace = text(role, "/metadata/namespace");
        if role.get("aggregationRule").is_some_and(|rule| !rule.is_null()) {
            let everything = [notation::rule("* | * | *"), notation::rule("* | *")];
            if self.missing(identity, namespace, &everything).is_empty() {
                return Ok(());
            }
            return Err("must have cluster-admin privileges to use the aggregationRule".to_owned());
        }
        self.confirm(identity, namespace, &own_rules(role))
    }

    /// Judges a RoleBinding or ClusterRoleBinding that `identity` wants to write.
    pub fn check_binding(
        &self,
        identity: &Identity,
        binding: &Value,
        old: Option<&Value>,
    ) -> Result<(), Refused> {
        let is_same = old.is_some_and(|old| {
            old.get("roleRef") == binding.get("roleRef")
                && old.get("subjects") == binding.get("subjects")
        });
        if is_superuser(identity) || is_same {
            return Ok(());
        }
        let namespace = text(binding, "/metadata/namespace");
        let (kind, name) = (text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
        let bind = Attributes {
            identity: identity.clone(),
            verb: "bind".to_owned(),
            group: GROUP.to_owned(),
            version: "v1".to_owned(),
            resource: if kind == "ClusterRole" { "clusterroles" } else { "roles" }.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        };
        if self.authorize(&bind).allowed {
            return Ok(());
        }
        let Some(rules) = Roles::read(self.reader().as_ref()).rules(kind, namespace, name) else {
            let role = bind.resource.trim_end_matches('s').to_owned();
            return Err(Refused::NoRole { role, name: name.to_owned() });
        };
        self.confirm(identity, namespace, &rules).map_err(Refused::Escalates)
    }

    fn may(&self, identity: &Identity, verb: &str, resource: &str, object: &Value) -> bool {
        let request = Attributes {
            identity: identity.clone(),
            verb: verb.to_owned(),
            group: GROUP.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            namespace: text(object, "/metadata/namespace").to_owned(),
            name: text(object, "/metadata/name").to_owned(),
            ..Attributes::default()
        };
        self.authorize(&request).allowed
    }

    /// The parts of `asked` that `identity` does not hold in that namespace.
    fn missing(&self, identity: &Identity, namespace: &str, asked: &[Rule]) -> Vec<Rule> {
        let held = self.rules(identity, namespace);
        let atoms = asked.iter().flat_map(Rule::atoms);
        atoms.filter(|atom| !held.iter().any(|rule| rule.covers(atom))).collect()
    }

    fn confirm(&self, identity: &Identity, namespace: &str, asked: &[Rule]) -> Result<(), String> {
        let missing = compact(self.missing(identity, namespace, asked));
        if missing.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = missing.iter().map(Rule::describe).collect();
        Err(format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            identity.user,
            quoted(&identity.groups),
            shown.join("\n")
        ))
    }
}

/// Joins the verbs of rules that are otherwise equal, in order.
fn compact(mut atoms: Vec<Rule>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    atoms.sort_by(|a, b| {
        (&a.groups, &a.resources, &a.names, &a.urls).cmp(&(
            &b.groups,
            &b.resources,
            &b.names,
            &b.urls,
        ))
    });
    for atom in atoms {
        match rules.last_mut() {
            Some(last) if Rule { verbs: atom.verbs.clone(), ..last.clone() } == atom => {
                last.verbs.extend(atom.verbs);
            }
            _ => rules.push(atom),
        }
    }
    rules
}
