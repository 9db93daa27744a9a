//! What is wrong with a definition, in upstream's words (apiextensions `pkg/apis/.../validation`).

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::jsonpath::Path;
use master_api::status::FieldError;
use master_api::{meta, names as rules};
use serde_json::Value;

use super::names::{APPROVED, is_protected};
use super::schema_rules;
use crate::check::{self, Findings};
use crate::custom::columns::{FORMATS, KINDS};
use crate::custom::has_condition;
use crate::custom::structural::{Structural, Type};

/// Fields to select by, of one version.
const SELECTABLE_MAX: usize = 8;

/// Rules for the whole definition.
pub(super) fn definition(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &new["spec"];
    let path = FieldPath::new("spec");
    if old.is_none() {
        name(new, &mut errors);
    }
    group(spec, &path, &mut errors);
    check::required_one_of(spec, "scope", &path, &["Cluster", "Namespaced"], &mut errors);
    names(&spec["names"], &path.child("names"), &mut errors);
    conversion(&spec["conversion"], &path.child("conversion"), &mut errors);
    if spec["preserveUnknownFields"] == true {
        let place = path.child("preserveUnknownFields");
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid(place, true, detail));
    }
    versions(spec, &path.child("versions"), old, &mut errors);
    let is_approved = |definition: &Value| !meta::annotation(definition, APPROVED).is_empty();
    // What was let in once is not held up by it later.
    let is_new = old.is_none_or(is_approved);
    if is_protected(meta::text(spec, &["group"])) && is_new && !is_approved(new) {
        let detail = format!(
            "protected groups must have approval annotation \"{APPROVED}\", see https://github.com/kubernetes/enhancements/pull/1111"
        );
        errors.push(FieldError::required(format!("metadata.annotations[{APPROVED}]"), detail));
    }
    if let Some(old) = old {
        unchanged(new, old, &mut errors);
    }
    errors.extend(status(new));
    errors
}

/// Rules for the status.
fn status(new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let versions: Vec<&str> = meta::items(new, &["spec", "versions"])
        .iter()
        .filter_map(|version| version["name"].as_str())
        .collect();
    let path = FieldPath::new("status.storedVersions");
    let stored = meta::items(new, &["status", "storedVersions"]);
    if stored.is_empty() {
        let detail = "must have at least one stored version";
        return vec![FieldError::invalid(path, Value::Null, detail)];
    }
    let storage = meta::items(new, &["spec", "versions"]).iter().find(|it| it["storage"] == true);
    if let Some(storage) = storage
        && !stored.contains(&storage["name"])
    {
        let name = storage["name"].as_str().unwrap_or_default();
        let detail = format!("must have the storage version {name}");
        errors.push(FieldError::invalid(path.clone(), stored, detail));
    }
    for (at, name) in stored.iter().enumerate() {
        if !name.as_str().is_some_and(|name| versions.contains(&name)) {
            let detail = "missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions";
            let detail = detail.replace("v1", name.as_str().unwrap_or_default());
            errors.push(FieldError::invalid(path.index(at), name.clone(), detail));
        }
    }
    errors
}

fn name(new: &Value, errors: &mut Findings) {
    let text = |field: &str| meta::text(new, &["spec", field]);
    let wanted = format!("{}.{}", meta::text(new, &["spec", "names", "plural"]), text("group"));
    if meta::name(new) != wanted {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", meta::name(new), detail));
    }
}

fn group(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    check::named(spec, "group", path, rules::dns1123_subdomain, errors);
    let group = meta::text(spec, &["group"]);
    if rules::dns1123_subdomain(group).is_empty() && !group.contains('.') {
        let detail = "should be a domain with at least one dot";
        errors.push(FieldError::invalid(path.child("group"), group, detail));
    }
}

fn names(names: &Value, path: &FieldPath, errors: &mut Findings) {
    check::named(names, "plural", path, rules::dns1035_label, errors);
    check::named(names, "singular", path, rules::dns1035_label, errors);
    let mixed = |text: &str| -> Vec<String> {
        let problems = rules::dns1035_label(&text.to_lowercase()).into_iter();
        problems
            .map(|problem| format!("may have mixed case, but should otherwise match: {problem}"))
            .collect()
    };
    check::named(names, "kind", path, mixed, errors);
    check::named(names, "listKind", path, mixed, errors);
    let (kind, list) = (meta::text(names, &["kind"]), meta::text(names, &["listKind"]));
    if !kind.is_empty() && kind == list {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(path.child("listKind"), list, detail));
    }
    for field in ["shortNames", "categories"] {
        for (at, name) in meta::items(names, &[field]).iter().enumerate() {
            let place = path.child(field).index(at);
            for problem in rules::dns1035_label(name.as_str().unwrap_or_default()) {
                errors.push(FieldError::invalid(place.clone(), name.clone(), problem));
            }
        }
    }
}

fn conversion(conversion: &Value, path: &FieldPath, errors: &mut Findings) {
    check::required_one_of(conversion, "strategy", path, &["None", "Webhook"], errors);
    let webhook = conversion.get("webhook").filter(|webhook| !webhook.is_null());
    // Fields are named as upstream's internal version has them.
    let config = path.child("webhookClientConfig");
    match (meta::text(conversion, &["strategy"]), webhook) {
        ("Webhook", webhook) => {
            let webhook = webhook.unwrap_or(&Value::Null);
            if !webhook["clientConfig"].is_object() {
                let detail = "required when strategy is set to Webhook";
                errors.push(FieldError::required(config, detail));
            }
            if meta::items(webhook, &["conversionReviewVersions"]).is_empty() {
                errors.push(FieldError::required(path.child("conversionReviewVersions"), ""));
            }
        }
        ("None", Some(_)) => {
            let detail = "should not be set when strategy is not set to Webhook";
            errors.push(FieldError::forbidden(config, detail));
        }
        _ => {}
    }
}

fn versions(spec: &Value, path: &FieldPath, old: Option<&Value>, errors: &mut Findings) {
    let versions = meta::items(spec, &["versions"]);
    let mut seen = BTreeSet::new();
    let mut are_unique = true;
    for (at, version) in versions.iter().enumerate() {
        let place = path.index(at);
        let name = meta::text(version, &["name"]);
        are_unique &= seen.insert(name);
        one_version(version, &Places::of(versions, &place), (at, old), errors);
        let problems = rules::dns1035_label(name).into_iter();
        errors.extend(problems.map(|it| FieldError::invalid(place.child("name"), name, it)));
    }
    // Upstream's internal version has the first one's name beside them, too.
    if let Some(name) = versions.first().map(|first| meta::text(first, &["name"]))
        && !name.is_empty()
    {
        let problems = rules::dns1035_label(name).into_iter();
        errors.extend(problems.map(|it| FieldError::invalid("spec.version", name, it)));
    }
    if !are_unique {
        let detail = "must contain unique version names";
        errors.push(FieldError::invalid(path.clone(), shown(versions), detail));
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(path.clone(), shown(versions), detail));
    }
}

/// Where the parts of a version are, as messages have it: upstream's internal version keeps what all
/// versions have in common beside them.
struct Places {
    version: FieldPath,
    is_common: [bool; 4],
}

const PARTS: [&str; 4] = ["schema", "subresources", "additionalPrinterColumns", "selectableFields"];

impl Places {
    fn of(versions: &[Value], version: &FieldPath) -> Self {
        let is_common =
            PARTS.map(|part| versions.iter().all(|other| other[part] == versions[0][part]));
        Self { version: version.clone(), is_common }
    }

    /// The place of a part; `None` if it is common and was judged with the first version.
    fn part(&self, part: &str, at: usize) -> Option<FieldPath> {
        let is_common = PARTS.iter().zip(self.is_common).any(|(name, is)| *name == part && is);
        match (is_common, at) {
            (false, _) => Some(self.version.child(part)),
            (true, 0) if part == "schema" => Some(FieldPath::new("spec.validation")),
            (true, 0) => Some(FieldPath::new("spec").child(part)),
            (true, _) => None,
        }
    }
}

/// The names only: the schemas would fill pages.
fn shown(versions: &[Value]) -> Value {
    if versions.is_empty() {
        return Value::Null;
    }
    versions.iter().map(|version| version["name"].clone()).collect()
}

fn one_version(
    version: &Value,
    places: &Places,
    (at, old): (usize, Option<&Value>),
    errors: &mut Findings,
) {
    let schema = &version["schema"]["openAPIV3Schema"];
    if !schema.is_object() {
        let place = places.version.child("schema").child("openAPIV3Schema");
        errors.push(FieldError::required(place, ""));
        return;
    }
    let before = old.and_then(|old| {
        let versions = meta::items(old, &["spec", "versions"]);
        versions.iter().find(|before| before["name"] == version["name"])
    });
    // A schema that was accepted once is not judged again.
    let has_changed = before.is_none_or(|before| before["schema"] != version["schema"]);
    if let Some(place) = places.part("schema", at).filter(|_| has_changed) {
        schema_rules::check(schema, &place.child("openAPIV3Schema"), errors);
    }
    if let Some(place) = places.part("additionalPrinterColumns", at) {
        columns(version, &place, errors);
    }
    if let Some(place) = places.part("subresources", at) {
        scale(&version["subresources"]["scale"], &place.child("scale"), errors);
    }
    if let Some(place) = places.part("selectableFields", at) {
        selectable(version, || Structural::compile_root(schema), &place, errors);
    }
    let warning = version.get("deprecationWarning").and_then(Value::as_str);
    if warning.is_some() && version["deprecated"] != true {
        let detail = "can only be set for deprecated versions";
        let place = places.version.child("deprecationWarning");
        errors.push(FieldError::invalid(place, version["deprecationWarning"].clone(), detail));
    }
}

fn columns(version: &Value, path: &FieldPath, errors: &mut Findings) {
    for (at, column) in meta::items(version, &["additionalPrinterColumns"]).iter().enumerate() {
        let place = path.index(at);
        check::required(column, "name", &place, errors);
        if meta::text(column, &["type"]).is_empty() {
            let detail = format!("must be one of {}", KINDS.join(","));
            errors.push(FieldError::required(place.child("type"), detail));
        }
        for (field, known) in [("type", &KINDS[..]), ("format", &FORMATS[..])] {
            let text = meta::text(column, &[field]);
            if !text.is_empty() && !known.contains(&text) {
                let detail = format!("must be one of {}", known.join(","));
                errors.push(FieldError::invalid(place.child(field), text, detail));
            }
        }
        json_path(meta::text(column, &["jsonPath"]), &place.child("JSONPath"), errors);
    }
}

fn json_path(text: &str, path: &FieldPath, errors: &mut Findings) {
    match text {
        "" => errors.push(FieldError::required(path.clone(), "")),
        text => {
            // What comes after the dot is read where tables are made, and left out there if it cannot be.
            if !text.starts_with('.') {
                let problem = "must be a simple json path starting with .";
                errors.push(FieldError::invalid(path.clone(), text, problem));
            }
        }
    }
}

fn scale(scale: &Value, path: &FieldPath, errors: &mut Findings) {
    if !scale.is_object() {
        return;
    }
    for (field, roots, is_required) in [
        ("specReplicasPath", &[".spec."][..], true),
        ("statusReplicasPath", &[".status."][..], true),
        ("labelSelectorPath", &[".spec.", ".status."][..], false),
    ] {
        let text = meta::text(scale, &[field]);
        if text.is_empty() {
            if is_required {
                errors.push(FieldError::required(path.child(field), ""));
            }
            continue;
        }
        let is_plain = Path::parse(text).is_ok_and(|path| path.fields().is_some());
        if !is_plain || !roots.iter().any(|root| text.starts_with(root)) {
            let roots: Vec<&str> = roots.iter().map(|root| root.trim_end_matches('.')).collect();
            let either = if roots.len() > 1 { "either " } else { "" };
            let detail = format!("should be a json path under {either}{}", roots.join(" or "));
            errors.push(FieldError::invalid(path.child(field), text, detail));
        }
    }
}

fn selectable(
    version: &Value,
    schema: impl Fn() -> Structural,
    path: &FieldPath,
    errors: &mut Findings,
) {
    let fields = meta::items(version, &["selectableFields"]);
    if fields.is_empty() {
        return;
    }
    if fields.len() > SELECTABLE_MAX {
        errors.push(FieldError::too_many(path.clone(), fields.len(), SELECTABLE_MAX));
    }
    let schema = schema();
    let mut seen = BTreeSet::new();
    for (at, field) in fields.iter().enumerate() {
        let place = path.index(at).child("jsonPath");
        let text = meta::text(field, &["jsonPath"]);
        if text.is_empty() {
            errors.push(FieldError::required(place, ""));
            continue;
        }
        if !seen.insert(text) {
            errors.push(FieldError::duplicate(place, text));
            continue;
        }
        let parsed = Path::parse(text).ok();
        let names = parsed.as_ref().and_then(Path::fields);
        let Some(names) = names.filter(|_| text.starts_with('.')) else {
            let detail = "is an invalid path: must be a simple json path starting with .";
            errors.push(FieldError::invalid(place, text, detail));
            continue;
        };
        let found = names.iter().try_fold(&schema, |schema, name| schema.properties.get(*name));
        let detail = match found.map(|found| found.kind) {
            _ if names.first() == Some(&"metadata") => "must not point to fields in metadata",
            None => "is an invalid path: does not refer to a valid field",
            Some(Some(Type::Text | Type::Integer | Type::Boolean)) => continue,
            Some(_) => {
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
            }
        };
        errors.push(FieldError::invalid(place, text, detail));
    }
}

/// What stays as it is once the definition has been served.
fn unchanged(new: &Value, old: &Value, errors: &mut Findings) {
    check::immutable(new, old, &["spec", "group"], errors);
    check::immutable(new, old, &["spec", "names", "plural"], errors);
    if has_condition(old, "Established") {
        check::immutable(new, old, &["spec", "scope"], errors);
        check::immutable(new, old, &["spec", "names", "kind"], errors);
    }
}
