//! What the expressions of a policy get wrong about the kinds that it names: told in its status.
//!
//! A policy that is wrong about a kind is stored all the same: it may be right about another. Upstream has a controller
//! look at it after it was written; here it is done by whoever writes it, of the kinds that there are then.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use master_api::access::Reader;
use master_api::meta;
use serde_json::{Map, Value, json};

use super::expression::typed_names;
use crate::cel::{Names, Program, Type};
use crate::custom::structural::Structural;
use crate::resource::Resource;
use crate::schema::{Cursor, OBJECT_META, Schema};

/// Kinds of one rule that are looked at.
const KINDS_MAX: usize = 10;
/// Names of kinds that are looked up for one policy.
const LOOKS_MAX: usize = 1_000;
/// How much is compiled for one write of a policy, all kinds together; what is beyond is not looked at.
const SOURCE_BYTES_MAX: usize = 1 << 20;
/// What a variable that is known costs the next one.
const VARIABLE_BYTES: usize = 8;
/// How much may be told: it is part of the object.
const WARNING_BYTES_MAX: usize = 64 << 10;

/// What a policy's status says.
pub(crate) fn status(policy: &Value, reader: &dyn Reader) -> Map<String, Value> {
    let mut checked = Map::new();
    let warnings = warnings(&policy["spec"], reader);
    if !warnings.is_empty() {
        checked.insert("expressionWarnings".into(), warnings.into());
    }
    let mut status = Map::new();
    status.insert("observedGeneration".into(), meta::generation(policy).into());
    status.insert("typeChecking".into(), checked.into());
    status
}

fn warnings(spec: &Value, reader: &dyn Reader) -> Vec<Value> {
    let known = Known::new(reader);
    let kinds = kinds(spec, &known);
    let params = params(spec, &known);
    let params = params.as_ref().map_or(Type::Dyn, Shape::expressed);
    let mut budget = Budget { source: SOURCE_BYTES_MAX, warnings: WARNING_BYTES_MAX };
    let mut named = Vec::new();
    for (shown, shape) in &kinds {
        named.push((shown.as_str(), names(spec, shape, &params, &mut budget)));
    }
    let mut warnings = Vec::new();
    for (at, validation) in meta::items(spec, &["validations"]).iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = meta::text(validation, &[field]);
            let problem = |(kind, names): &(&str, Names<'_>)| {
                let problem = budget.compile(source, names)?.err()?;
                budget.tell(format!("{kind}: {problem}\n"))
            };
            let problems: Vec<String> = match source {
                "" => Vec::new(),
                _ => named.iter().filter_map(problem).collect(),
            };
            if !problems.is_empty() {
                let place = format!("spec.validations[{at}].{field}");
                warnings.push(json!({"fieldRef": place, "warning": problems.join("\n")}));
            }
        }
    }
    warnings
}

/// What is left of the bounds.
#[derive(Debug)]
struct Budget {
    source: usize,
    warnings: usize,
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> Option<()> {
        let left = self.source.checked_sub(bytes);
        self.source = left.unwrap_or(0);
        left.map(drop)
    }

    /// The type of an expression; `None` if nothing is left.
    fn compile<'a>(&mut self, source: &str, names: &Names<'a>) -> Option<Result<Type<'a>, String>> {
        self.spend(source.len())?;
        Some(Program::compile(source, names).map(|(_, kind)| kind))
    }

    fn tell(&mut self, warning: String) -> Option<String> {
        self.warnings = self.warnings.checked_sub(warning.len())?;
        Some(warning)
    }
}

/// What expressions see of one kind. A variable that is wrong about it may be anything.
fn names<'a>(spec: &Value, shape: &'a Shape, params: &Type<'a>, budget: &mut Budget) -> Names<'a> {
    let mut names = typed_names(&shape.expressed(), params);
    let mut variables = BTreeMap::new();
    for variable in meta::items(spec, &["variables"]) {
        if budget.spend(VARIABLE_BYTES * variables.len()).is_none() {
            names.insert("variables", Type::Dyn);
            return names;
        }
        names.insert("variables", Type::Made(Rc::new(variables.clone())));
        let compiled = budget.compile(meta::text(variable, &["expression"]), &names);
        let kind = compiled.and_then(Result::ok).unwrap_or_default();
        variables.insert(meta::text(variable, &["name"]).to_owned(), kind);
    }
    names.insert("variables", Type::Made(Rc::new(variables)));
    names
}

/// How a kind's objects look.
enum Shape {
    Builtin(Schema),
    Custom(Box<Structural>),
}

impl Shape {
    fn expressed(&self) -> Type<'_> {
        match self {
            Self::Builtin(schema) => schema.cursor().map_or(Type::Dyn, Cursor::expressed),
            Self::Custom(structural) => {
                let properties = structural.properties.iter();
                let mut fields: BTreeMap<String, Type<'_>> =
                    properties.map(|(name, field)| (name.clone(), Type::of(field))).collect();
                let metadata = Cursor::named(OBJECT_META).map_or(Type::Dyn, Cursor::expressed);
                fields.insert("metadata".to_owned(), metadata);
                fields.insert("apiVersion".to_owned(), Type::Text);
                fields.insert("kind".to_owned(), Type::Text);
                Type::Made(Rc::new(fields))
            }
        }
    }
}

/// The kinds that a policy's rules name outright, in order, as messages show them.
fn kinds(spec: &Value, known: &Known) -> BTreeMap<String, Shape> {
    let mut found = BTreeMap::new();
    let mut looks = 0;
    for rule in meta::items(spec, &["matchConstraints", "resourceRules"]) {
        let texts = |field: &str| {
            let mut texts: Vec<&str> =
                meta::items(rule, &[field]).iter().filter_map(Value::as_str).collect();
            texts.sort_unstable();
            texts
        };
        let (groups, versions) = (texts("apiGroups"), texts("apiVersions"));
        if groups.iter().chain(&versions).any(|name| name.contains('*')) {
            continue;
        }
        let mut resources = texts("resources");
        resources.retain(|name| !name.contains(['*', '/']));
        let mut left = KINDS_MAX;
        for group in &groups {
            for (version, resource) in
                versions.iter().flat_map(|it| resources.iter().map(move |plural| (it, plural)))
            {
                looks += 1;
                if looks > LOOKS_MAX {
                    return found;
                }
                let is_meant = |plural: &str, _: &str| plural == *resource;
                let Some((kind, shape)) = known.find(group, version, is_meant) else { continue };
                found.insert(format!("{group}/{version}, Kind={kind}"), shape);
                left -= 1;
                if left == 0 {
                    return found;
                }
            }
        }
    }
    found
}

fn params(spec: &Value, known: &Known) -> Option<Shape> {
    let kind = meta::text(spec, &["paramKind", "kind"]);
    let (group, version) = meta::split_api_version(meta::text(spec, &["paramKind", "apiVersion"]));
    let found = known.find(group, version, |_, known| !kind.is_empty() && known == kind);
    found.map(|(_, shape)| shape)
}

/// The kinds that there are.
struct Known {
    builtin: Vec<Arc<Resource>>,
    definitions: Vec<Arc<Value>>,
}

impl Known {
    fn new(reader: &dyn Reader) -> Self {
        let definitions = reader.list("apiextensions.k8s.io", "customresourcedefinitions", None);
        Self { builtin: crate::list::builtin(), definitions }
    }

    /// A kind of a group and version, by its plural or its own name.
    fn find(
        &self,
        group: &str,
        version: &str,
        is_meant: impl Fn(&str, &str) -> bool,
    ) -> Option<(String, Shape)> {
        let own = self.builtin.iter().find(|it| {
            it.group == group && it.version == version && is_meant(&it.plural, &it.kind)
        });
        if let Some(resource) = own {
            return Some((resource.kind.to_string(), Shape::Builtin((*resource.schema).clone())));
        }
        let definition = self.definitions.iter().find(|definition| {
            let name = |field: &str| meta::text(definition, &["spec", "names", field]);
            meta::text(definition, &["spec", "group"]) == group
                && is_meant(name("plural"), name("kind"))
        })?;
        let mut versions = meta::items(definition, &["spec", "versions"]).iter();
        let found = versions.find(|it| it["name"] == version && it["served"] == true)?;
        let structural = Structural::compile(&found["schema"]["openAPIV3Schema"]);
        let kind = meta::text(definition, &["spec", "names", "kind"]).to_owned();
        Some((kind, Shape::Custom(Box::new(structural))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Definitions(Vec<Arc<Value>>);

    impl Reader for Definitions {
        fn get(&self, _: &str, _: &str, _: &str, _: &str) -> Option<Arc<Value>> {
            None
        }

        fn list(&self, _: &str, _: &str, _: Option<&str>) -> Vec<Arc<Value>> {
            self.0.clone()
        }
    }

    fn rule(group: &str, resources: &[&str]) -> Value {
        json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": resources})
    }

    /// The warnings about one expression, with variables and a config map as parameters.
    fn check(rules: Value, source: &str) -> Vec<String> {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {"replicas": {"type": "integer"}}}}});
        let definition = json!({"spec": {"group": "acme.io", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "schema": {"openAPIV3Schema": schema}}]}});
        let reader = Definitions(vec![Arc::new(definition)]);
        let policy = json!({"metadata": {"generation": 3}, "spec": {
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {"resourceRules": rules},
            "variables": [{"name": "count", "expression": "object.spec.replicas"},
                {"name": "more", "expression": "variables.count + 1"},
                {"name": "wrong", "expression": "object.spec.nope"}],
            "validations": [{"expression": source}]}});
        let status = status(&policy, &reader);
        assert_eq!(status["observedGeneration"], 3);
        let warnings = meta::items(&status["typeChecking"], &["expressionWarnings"]).to_vec();
        warnings
            .iter()
            .map(|warning| {
                assert_eq!(warning["fieldRef"], "spec.validations[0].expression");
                meta::text(warning, &["warning"]).to_owned()
            })
            .collect()
    }

    /// Problems in the words of kube-apiserver v1.36, without the lines that show the place.
    #[test]
    fn expressions_are_held_against_every_kind_that_is_named() {
        let apps = || json!([rule("apps", &["deployments"])]);
        let first = |rules: Value, source: &str| {
            let found = check(rules, source);
            found.first().and_then(|text| text.lines().next()).unwrap_or_default().to_owned()
        };
        #[rustfmt::skip]
        let cases = [
            ("object.spec.replicas > 1", ""),
            ("object.spec.replicas > '1'", "found no matching overload for '_>_' applied to '(int, string)'"),
            ("variables.count == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
            ("variables.more == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
            ("variables.wrong == 'a'", ""),
            ("variables.none == 'a'", "undefined field 'none'"),
            ("params.data.x == 1", "found no matching overload for '_==_' applied to '(string, int)'"),
            ("object.metadata.labels.a == 1", "found no matching overload for '_==_' applied to '(string, int)'"),
            ("object.metadata.creationTimestamp == 'a'", "found no matching overload for '_==_' applied to '(timestamp, string)'"),
            ("object.spec.template.spec.containers.all(c, c.imagex == 'a')", "undefined field 'imagex'"),
            ("object.spec.template.spec.containers.exists(c, c.image == 'a')", ""),
            ("object.spec.selector.matchLabels == 3", "found no matching overload for '_==_' applied to '(map(string, string), int)'"),
            ("object.spec.strategy.rollingUpdate.maxSurge == 3", ""),
            ("oldObject == null || has(oldObject.spec.paused)", ""),
            ("has(object.spec.nothing)", "undefined field 'nothing'"),
            ("authorizer.requestResource.check('create').allowed()", ""),
        ];
        for (source, problem) in cases {
            let found = first(apps(), source);
            let place = "apps/v1, Kind=Deployment: ERROR: <input>:1:";
            let rest = found.strip_prefix(place).and_then(|rest| rest.split_once(": "));
            assert_eq!(rest.map_or(found.as_str(), |(_, told)| told), problem, "{source}");
        }
        assert_eq!(
            check(
                json!([rule("acme.io", &["widgets"])]),
                "object.spec.replicas > '1' || object.metadata.name == ''"
            )
            .len(),
            1
        );
        assert_eq!(
            check(
                json!([rule("acme.io", &["widgets"])]),
                "object.spec.replicas > 1 && object.metadata.labels.a == ''"
            )
            .len(),
            0
        );
        for unnamed in
            [rule("*", &["deployments"]), rule("apps", &["*", "deployments/scale", "none"])]
        {
            assert_eq!(check(json!([unnamed]), "object.spec.replicas > '1'").len(), 0);
        }
    }

    #[test]
    fn what_is_looked_at_and_told_is_bounded() {
        let rules = json!([rule("apps", &["deployments"])]);
        let long = format!("object.spec.replicas == '{}'", "x".repeat(WARNING_BYTES_MAX));
        assert_eq!(check(rules.clone(), &long).len(), 0);
        let often = vec!["object.nope == 1"; 1_000].join(" || ");
        let told = check(rules, &often).concat();
        assert!(!told.is_empty() && told.len() < 4 * often.len(), "{}", told.len());
        let many: Vec<String> = (0..LOOKS_MAX).map(|n| format!("a{n}")).collect();
        let mut names: Vec<&str> = many.iter().map(String::as_str).collect();
        names.push("deployments");
        assert_eq!(check(json!([rule("apps", &names)]), "object.nope == 1").len(), 0);
    }

    #[test]
    fn a_warning_is_written_as_upstream_writes_it() {
        let rules = json!([rule("apps", &["deployments"]), rule("", &["services", "pods"])]);
        let expected = "/v1, Kind=Pod: ERROR: <input>:1:12: undefined field 'replicas'\n | object.spec.replicas > '1'\n | ...........^\n
/v1, Kind=Service: ERROR: <input>:1:12: undefined field 'replicas'\n | object.spec.replicas > '1'\n | ...........^\n
apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^\n";
        assert_eq!(check(rules, "object.spec.replicas > '1'"), [expected]);
        let twice = "apps/v1, Kind=Deployment: ERROR: <input>:1:35: found no matching overload for '_==_' applied to '(timestamp, string)'
 | object.metadata.creationTimestamp == 'a' || object.kind == 1
 | ..................................^
ERROR: <input>:1:57: found no matching overload for '_==_' applied to '(string, int)'
 | object.metadata.creationTimestamp == 'a' || object.kind == 1
 | ........................................................^
";
        let source = "object.metadata.creationTimestamp == 'a' || object.kind == 1";
        assert_eq!(check(json!([rule("apps", &["deployments"])]), source), [twice]);
        let once = "object.spec.nope.more.all(x, x.y == 1) && has(object.spec.nope)";
        let found = check(json!([rule("apps", &["deployments"])]), once).concat();
        assert_eq!(found.matches("ERROR").count(), 2, "{found}");
    }
}
