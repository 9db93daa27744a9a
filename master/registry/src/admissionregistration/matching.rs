//! Which writes a policy or a binding is about: `matchConstraints` and `matchResources`.
//!
//! Pure. Versions of one group are taken for equivalent unless `matchPolicy` is `Exact`.

use master_api::meta;
use master_api::selector::LabelSelector as Selector;
use serde_json::Value;

/// A write, as far as matching looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    /// The plural.
    pub resource: &'a str,
    pub subresource: &'a str,
    pub name: &'a str,
    /// Empty for a cluster-scoped object.
    pub namespace: &'a str,
    /// Null where it is not known.
    pub namespace_object: &'a Value,
    /// Null on delete.
    pub new: &'a Value,
    /// Null on create.
    pub old: &'a Value,
}

impl Write<'_> {
    fn is_about_a_namespace(&self) -> bool {
        self.group.is_empty() && self.resource == "namespaces"
    }
}

/// What a policy or a binding is about.
#[derive(Clone, Debug)]
pub struct Matcher {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    namespaces: Selector,
    objects: Selector,
    is_exact: bool,
    /// Whether no rules mean all of them, as they do in a binding.
    is_open: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    groups: Vec<String>,
    versions: Vec<String>,
    operations: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    scope: String,
}

impl Matcher {
    /// Of a policy, which is about what its rules name.
    ///
    /// # Errors
    /// What is wrong with a selector.
    pub fn of_policy(constraints: &Value) -> Result<Self, String> {
        Self::new(constraints, false)
    }

    /// Of a binding, which is about all that its policy is about, or less.
    ///
    /// # Errors
    /// What is wrong with a selector.
    pub fn of_binding(resources: &Value) -> Result<Self, String> {
        Self::new(resources, true)
    }

    fn new(value: &Value, is_open: bool) -> Result<Self, String> {
        let selector = |field: &str| match &value[field] {
            Value::Null => Ok(Selector::everything()),
            selector => Selector::from_json(selector),
        };
        let rules = |field: &str| meta::items(value, &[field]).iter().map(Rule::new).collect();
        Ok(Self {
            rules: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
            namespaces: selector("namespaceSelector")?,
            objects: selector("objectSelector")?,
            is_exact: meta::text(value, &["matchPolicy"]) == "Exact",
            is_open,
        })
    }

    /// Whether a write is among those.
    pub fn matches(&self, write: &Write<'_>) -> bool {
        let is_named = |rules: &[Rule]| rules.iter().any(|rule| rule.matches(write, self.is_exact));
        let is_meant = is_named(&self.rules) || (self.is_open && self.rules.is_empty());
        is_meant
            && !is_named(&self.excluded)
            && self.namespace_matches(write)
            && self.object_matches(write)
    }

    fn namespace_matches(&self, write: &Write<'_>) -> bool {
        if self.namespaces.is_everything() {
            return true;
        }
        if write.is_about_a_namespace() {
            let object = if write.new.is_null() { write.old } else { write.new };
            return self.namespaces.matches_object(object);
        }
        write.namespace.is_empty() || self.namespaces.matches_object(write.namespace_object)
    }

    fn object_matches(&self, write: &Write<'_>) -> bool {
        let is_selected = |object: &Value| !object.is_null() && self.objects.matches_object(object);
        self.objects.is_everything() || is_selected(write.new) || is_selected(write.old)
    }
}

impl Rule {
    fn new(rule: &Value) -> Self {
        let texts = |field: &str| {
            let items = meta::items(rule, &[field]).iter();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            operations: texts("operations"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            scope: meta::text(rule, &["scope"]).to_owned(),
        }
    }

    fn matches(&self, write: &Write<'_>, is_exact: bool) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|it| it == "*" || it == wanted);
        let is_cluster_wide = write.is_about_a_namespace() || write.namespace.is_empty();
        let is_in_scope = match self.scope.as_str() {
            "Cluster" => is_cluster_wide,
            "Namespaced" => !is_cluster_wide,
            _ => true,
        };
        let is_resource = |text: &String| {
            let (resource, subresource) = text.split_once('/').unwrap_or((text, ""));
            (resource == "*" || resource == write.resource)
                && (subresource == "*" || subresource == write.subresource)
        };
        is_in_scope
            && has(&self.operations, write.operation)
            && has(&self.groups, write.group)
            && (!is_exact || has(&self.versions, write.version))
            && self.resources.iter().any(is_resource)
            && (self.names.is_empty() || self.names.iter().any(|name| name == write.name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(constraints: &Value, change: impl FnOnce(&mut Write<'_>)) -> bool {
        let namespace = json!({"metadata": {"labels": {"team": "a"}}});
        let new = json!({"metadata": {"labels": {"app": "web"}}});
        let mut write = Write {
            operation: "CREATE",
            group: "apps",
            version: "v1",
            resource: "deployments",
            subresource: "",
            name: "web",
            namespace: "default",
            namespace_object: &namespace,
            new: &new,
            old: &Value::Null,
        };
        change(&mut write);
        Matcher::of_policy(constraints).unwrap().matches(&write)
    }

    fn rule(change: Value) -> Value {
        let mut rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"],
            "resources": ["deployments"]});
        rule.as_object_mut().unwrap().append(&mut change.as_object().unwrap().clone());
        json!({ "resourceRules": [rule] })
    }

    #[test]
    fn rules_name_groups_operations_resources_and_scopes() {
        let cases = [
            (json!({}), true),
            (json!({"apiGroups": ["*"], "operations": ["*"], "resources": ["*"]}), true),
            (json!({"apiGroups": [""]}), false),
            (json!({"apiVersions": ["v2"]}), true),
            (json!({"operations": ["UPDATE", "DELETE"]}), false),
            (json!({"resources": ["deployments/*"]}), true),
            (json!({"resources": ["deployments/status", "*/scale"]}), false),
            (json!({"resourceNames": ["other"]}), false),
            (json!({"scope": "Namespaced"}), true),
            (json!({"scope": "Cluster"}), false),
        ];
        for (change, expected) in cases {
            assert_eq!(matches(&rule(change.clone()), |_| {}), expected, "{change}");
        }
        assert!(!matches(&rule(json!({})), |write| write.subresource = "status"));
        assert!(matches(&rule(json!({"resources": ["*/*"]})), |write| write.subresource = "status"));
        assert!(!matches(&json!({}), |_| {}));
    }

    #[test]
    fn versions_count_only_when_they_are_to_be_exact() {
        let mut constraints = rule(json!({"apiVersions": ["v2"]}));
        constraints["matchPolicy"] = json!("Exact");
        assert!(!matches(&constraints, |_| {}));
        assert!(matches(&constraints, |write| write.version = "v2"));
    }

    #[test]
    fn selectors_look_at_the_namespace_and_at_the_object_before_and_after() {
        let with = |field: &str, labels: Value| {
            let mut constraints = rule(json!({"resources": ["*"], "apiGroups": ["*"]}));
            constraints[field] = json!({ "matchLabels": labels });
            constraints
        };
        assert!(matches(&with("namespaceSelector", json!({"team": "a"})), |_| {}));
        assert!(!matches(&with("namespaceSelector", json!({"team": "b"})), |_| {}));
        let other = with("namespaceSelector", json!({"team": "b"}));
        assert!(matches(&other, |write| write.namespace = ""));
        let own = with("namespaceSelector", json!({"app": "web"}));
        assert!(matches(&own, |write| (write.group, write.resource) = ("", "namespaces")));
        assert!(matches(&with("objectSelector", json!({"app": "web"})), |_| {}));
        let old = json!({"metadata": {"labels": {"app": "db"}}});
        assert!(!matches(&with("objectSelector", json!({"app": "db"})), |_| {}));
        let before = with("objectSelector", json!({"app": "db"}));
        // A label that is taken away does not take the object out of reach.
        let namespace = Value::Null;
        let new = json!({"metadata": {"labels": {"app": "web"}}});
        let write = Write {
            operation: "CREATE",
            group: "",
            version: "v1",
            resource: "pods",
            subresource: "",
            name: "",
            namespace: "default",
            namespace_object: &namespace,
            new: &new,
            old: &old,
        };
        assert!(Matcher::of_policy(&before).unwrap().matches(&write));
    }

    #[test]
    fn rules_that_exclude_win_and_a_binding_without_rules_is_about_everything() {
        let mut constraints = rule(json!({"resources": ["*"]}));
        constraints["excludeResourceRules"] = rule(json!({}))["resourceRules"].clone();
        assert!(!matches(&constraints, |_| {}));
        assert!(matches(&constraints, |write| write.resource = "replicasets"));
        let nothing = Value::Null;
        let write = Write {
            operation: "DELETE",
            group: "",
            version: "v1",
            resource: "pods",
            subresource: "",
            name: "p",
            namespace: "default",
            namespace_object: &nothing,
            new: &nothing,
            old: &nothing,
        };
        assert!(Matcher::of_binding(&Value::Null).unwrap().matches(&write));
    }
}
