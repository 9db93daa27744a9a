//! Objects within objects (`x-kubernetes-embedded-resource`): what their kind and metadata have to be like.
//!
//! Upstream reads their metadata as it reads that of any object, and holds it against the same rules (apiextensions
//! `schema/objectmeta`), at creation and update alike.

use master_api::field::FieldPath;
use master_api::names;
use master_api::status::FieldError;
use serde_json::{Value, json};

use super::structural::{Additional, Structural};
use crate::objectmeta;
use crate::schema;

/// What becomes of fields whose type is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The object is refused.
    Refused,
    /// They go: the object was stored before its schema said so.
    Dropped,
}

/// Brings the metadata of all embedded objects into shape; returns the paths of unknown fields that were dropped, in order.
///
/// # Errors
/// What is of a wrong type, as upstream's decoder tells it.
pub fn coerce(
    value: &mut Value,
    schema: &Structural,
    malformed: Malformed,
) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    let mut coerce = Coerce { malformed, unknown: &mut unknown };
    coerce.below(value, schema, &FieldPath::default())?;
    unknown.sort();
    Ok(unknown)
}

struct Coerce<'u> {
    malformed: Malformed,
    unknown: &'u mut Vec<String>,
}

impl Coerce<'_> {
    fn walk(
        &mut self,
        value: &mut Value,
        schema: &Structural,
        path: &FieldPath,
    ) -> Result<(), String> {
        if !schema.has_embedded {
            return Ok(());
        }
        if schema.embedded && value.is_object() {
            self.object(value, path)?;
        }
        self.below(value, schema, path)
    }

    fn below(
        &mut self,
        value: &mut Value,
        schema: &Structural,
        path: &FieldPath,
    ) -> Result<(), String> {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (schema.properties.get(name), &schema.additional) {
                        (Some(property), _) => self.walk(value, property, &path.child(name))?,
                        (None, Additional::Of(values)) => {
                            self.walk(value, values, &path.key(name))?;
                        }
                        (None, Additional::None | Additional::Any) => {}
                    }
                }
            }
            Value::Array(items) => {
                let Some(of_items) = &schema.items else { return Ok(()) };
                for (at, item) in items.iter_mut().enumerate() {
                    self.walk(item, of_items, &path.index(at))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn object(&mut self, object: &mut Value, path: &FieldPath) -> Result<(), String> {
        for name in ["apiVersion", "kind"] {
            match object.get(name) {
                None | Some(Value::String(_)) => {}
                Some(found) if self.malformed == Malformed::Refused => {
                    let detail = "must be a string";
                    let error = FieldError::invalid(path.child(name), found.clone(), detail);
                    return Err(error.to_string());
                }
                Some(_) => drop(object.as_object_mut().and_then(|fields| fields.remove(name))),
            }
        }
        let Some(metadata) = object.get_mut("metadata") else { return Ok(()) };
        if metadata.is_null() {
            *metadata = json!({});
        }
        let place = path.child("metadata");
        let whole = metadata.clone();
        match (schema::metadata(metadata, place.as_str(), self.unknown), self.malformed) {
            (Ok(()), _) => {}
            (Err(problem), Malformed::Refused) => {
                return Err(FieldError::invalid(place, whole, problem).to_string());
            }
            (Err(_), Malformed::Dropped) => *metadata = self.field_by_field(whole, &place),
        }
        Ok(())
    }

    /// Those fields that can be read, each by itself; what is no object stays for validation to tell.
    fn field_by_field(&mut self, whole: Value, place: &FieldPath) -> Value {
        let Value::Object(fields) = whole else { return whole };
        let readable = fields.into_iter().filter_map(|(name, value)| {
            let mut alone = json!({ &name: value });
            schema::metadata(&mut alone, place.as_str(), self.unknown).ok()?;
            Some((name.clone(), alone.get_mut(&name)?.take()))
        });
        Value::Object(readable.collect())
    }
}

/// What is wrong with the kinds and the metadata of embedded objects.
pub fn validate(schema: &Structural, value: &Value) -> Vec<FieldError> {
    let mut found = Vec::new();
    look_below(schema, value, &FieldPath::default(), &mut found);
    found
}

/// [`validate`] for a value that may be embedded itself.
pub fn validate_value(schema: &Structural, value: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut found = Vec::new();
    look(schema, value, path, &mut found);
    found
}

fn look(schema: &Structural, value: &Value, path: &FieldPath, found: &mut Vec<FieldError>) {
    if !schema.has_embedded {
        return;
    }
    if schema.embedded && value.is_object() {
        object(value, path, found);
    }
    look_below(schema, value, path, found);
}

fn look_below(schema: &Structural, value: &Value, path: &FieldPath, found: &mut Vec<FieldError>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (schema.properties.get(name), &schema.additional) {
                    (Some(property), _) => look(property, value, &path.child(name), found),
                    (None, Additional::Of(values)) => look(values, value, &path.key(name), found),
                    (None, Additional::None | Additional::Any) => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(of_items) = &schema.items else { return };
            for (at, item) in items.iter().enumerate() {
                look(of_items, item, &path.index(at), found);
            }
        }
        _ => {}
    }
}

/// An object within an object says what it is.
fn object(object: &Value, path: &FieldPath, found: &mut Vec<FieldError>) {
    for (name, form) in
        [("apiVersion", group_version as fn(&str) -> Option<String>), ("kind", kind)]
    {
        let place = path.child(name);
        match object.get(name) {
            None => found.push(FieldError::required(place, "")),
            Some(Value::String(text)) if text.is_empty() => {
                found.push(FieldError::invalid(place, "", "must not be empty"));
            }
            Some(Value::String(text)) => {
                let problem = form(text);
                found.extend(problem.map(|it| FieldError::invalid(place, text.as_str(), it)));
            }
            Some(other) => {
                found.push(FieldError::invalid(place, other.clone(), "must be a string"));
            }
        }
    }
    if object.get("metadata").is_some_and(Value::is_object) {
        found.extend(objectmeta::embedded(object, &path.child("metadata")));
    }
}

fn group_version(text: &str) -> Option<String> {
    let is_odd = text.matches('/').count() > 1;
    is_odd.then(|| format!("unexpected GroupVersion string: {text}"))
}

fn kind(text: &str) -> Option<String> {
    let problems = names::dns1035_label(&text.to_lowercase());
    (!problems.is_empty())
        .then(|| format!("may have mixed case, but should otherwise match: {}", problems.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Structural {
        let pod = json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
        Structural::compile_root(&json!({"type": "object", "properties": {"pod": pod,
            "more": {"type": "array", "items": pod}}}))
    }

    #[test]
    fn an_embedded_object_is_held_against_the_rules_of_all_objects() {
        let long = "a".repeat(64);
        #[rustfmt::skip]
        let cases = [
            (json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x", "labels": {"a": "b"}}}), vec![]),
            (json!({"kind": "Pod", "apiVersion": "v1"}), vec![]),
            (json!({}), vec!["pod.apiVersion: Required value", "pod.kind: Required value"]),
            (json!({"kind": "", "apiVersion": 5}),
             vec!["pod.apiVersion: Invalid value: 5: must be a string", "pod.kind: Invalid value: \"\": must not be empty"]),
            (json!({"kind": "Pod", "apiVersion": "a/b/c"}),
             vec!["pod.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"]),
            (json!({"kind": "-", "apiVersion": "v1"}),
             vec!["pod.kind: Invalid value: \"-\": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"]),
            (json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a/b"}}),
             vec!["pod.metadata.name: Invalid value: \"a/b\": may not contain '/'"]),
            (json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"labels": {"a": long}}}),
             vec!["pod.metadata.labels: Invalid value: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\": must be no more than 63 bytes"]),
            (json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"finalizers": ["a"], "ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "e", "uid": ""}]}}),
             vec!["pod.metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
                  "pod.metadata.ownerReferences: Invalid value: {\"apiVersion\":\"v1\",\"kind\":\"Event\",\"name\":\"e\",\"uid\":\"\"}: /v1, Kind=Event is disallowed from being an owner"]),
        ];
        for (pod, expected) in cases {
            let found = validate(&schema(), &json!({ "pod": pod }));
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{pod}");
        }
    }

    #[test]
    fn embedded_metadata_is_read_like_any_other() {
        let mut object = json!({"more": [{"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "x", "labels": {}, "namespace": null, "color": "red", "creationTimestamp": null}}],
            "pod": {"metadata": null}});
        let unknown = coerce(&mut object, &schema(), Malformed::Refused).unwrap();
        assert_eq!(unknown, ["more[0].metadata.color"]);
        let left = json!({"more": [{"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}}], "pod": {"metadata": {}}});
        assert_eq!(object, left);
        #[rustfmt::skip]
        let cases = [
            (json!({"kind": 5}), "pod.kind: Invalid value: 5: must be a string", json!({})),
            (json!({"metadata": {"labels": {"a": 1}, "name": "x"}}),
             "pod.metadata: Invalid value: {\"labels\":{\"a\":1},\"name\":\"x\"}: json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string",
             json!({"metadata": {"name": "x"}})),
            (json!({"metadata": "x"}),
             "pod.metadata: Invalid value: \"x\": json: cannot unmarshal string into Go value of type v1.ObjectMeta",
             json!({"metadata": "x"})),
        ];
        for (pod, problem, kept) in cases {
            let mut object = json!({ "pod": pod });
            assert_eq!(
                coerce(&mut object.clone(), &schema(), Malformed::Refused).unwrap_err(),
                problem
            );
            coerce(&mut object, &schema(), Malformed::Dropped).unwrap();
            assert_eq!(object, json!({ "pod": kept }));
        }
    }
}
