//! What the expressions of a policy get wrong about the kinds that it names: told in its status.
//!
//! A policy that is wrong about a kind is stored all the same: it may be right about another. Upstream has a controller
//! look at it after it was written; here it is done by whoever writes it, of the kinds that there are then.

use std::collections::BTreeMap;
use std::rc::Rc;

use master_api::access::Reader;
use master_api::meta;
use serde_json::{Map, Value, json};

use super::policy::typed_names;
use crate::cel::{Names, Program, Type};
use crate::custom::structural::Structural;
use crate::schema::{Cursor, OBJECT_META, Schema};

/// Kinds of one rule that are looked at.
const KINDS_MAX: usize = 10;

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
    let kinds = kinds(spec, reader);
    let params = params(spec, reader);
    let params = params.as_ref().map_or(Type::Dyn, Shape::expressed);
    let named: Vec<(&str, Names<'_>)> =
        kinds.iter().map(|(shown, shape)| (shown.as_str(), names(spec, shape, &params))).collect();
    let mut warnings = Vec::new();
    for (at, validation) in meta::items(spec, &["validations"]).iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = meta::text(validation, &[field]);
            let problem = |(kind, names): &(&str, Names<'_>)| {
                let problem = Program::compile(source, names).err()?;
                Some(format!("{kind}: {problem}\n"))
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

/// What expressions see of one kind. A variable that is wrong about it may be anything.
fn names<'a>(spec: &Value, shape: &'a Shape, params: &Type<'a>) -> Names<'a> {
    let mut names = typed_names(&shape.expressed(), params);
    let mut variables = BTreeMap::new();
    for variable in meta::items(spec, &["variables"]) {
        names.insert("variables", Type::Made(Rc::new(variables.clone())));
        let compiled = Program::compile(meta::text(variable, &["expression"]), &names);
        let kind = compiled.map_or(Type::Dyn, |(_, kind)| kind);
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
fn kinds(spec: &Value, reader: &dyn Reader) -> BTreeMap<String, Shape> {
    let mut found = BTreeMap::new();
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
                let is_meant = |plural: &str, _: &str| plural == *resource;
                let Some((kind, shape)) = find(reader, group, version, is_meant) else { continue };
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

fn params(spec: &Value, reader: &dyn Reader) -> Option<Shape> {
    let kind = meta::text(spec, &["paramKind", "kind"]);
    let (group, version) = meta::split_api_version(meta::text(spec, &["paramKind", "apiVersion"]));
    let found = find(reader, group, version, |_, known| !kind.is_empty() && known == kind);
    found.map(|(_, shape)| shape)
}

/// A kind of a group and version, by its plural or its own name.
fn find(
    reader: &dyn Reader,
    group: &str,
    version: &str,
    is_meant: impl Fn(&str, &str) -> bool,
) -> Option<(String, Shape)> {
    let builtin = crate::list::builtin();
    let own = builtin
        .iter()
        .find(|it| it.group == group && it.version == version && is_meant(&it.plural, &it.kind));
    if let Some(resource) = own {
        return Some((resource.kind.to_string(), Shape::Builtin((*resource.schema).clone())));
    }
    let definitions = reader.list("apiextensions.k8s.io", "customresourcedefinitions", None);
    let definition = definitions.iter().find(|definition| {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
    fn a_warning_is_written_as_upstream_writes_it() {
        let rules = json!([rule("apps", &["deployments"]), rule("", &["services", "pods"])]);
        let expected = "/v1, Kind=Pod: ERROR: <input>:1:12: undefined field 'replicas'\n | object.spec.replicas > '1'\n | ...........^\n
/v1, Kind=Service: ERROR: <input>:1:12: undefined field 'replicas'\n | object.spec.replicas > '1'\n | ...........^\n
apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^\n";
        assert_eq!(check(rules, "object.spec.replicas > '1'"), [expected]);
    }
}
