//! The strategy of a custom kind: one version of a definition, compiled.
//!
//! All versions share one storage; between them only `apiVersion` differs, and what each schema keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use master_api::field::FieldPath;
use master_api::jsonpath::Path;
use master_api::meta;
use master_api::status::{FieldError, FieldErrorKind};
use serde_json::{Value, json};

use super::columns::{self, PrinterColumn};
use super::embedded::Malformed;
use super::structural::Structural;
use super::{default, embedded, prune, rules, unique, validate};
use crate::objectmeta;
use crate::strategy::{Column, Cx, Shape, Strategy, keep_field};

/// Where the numbers of a scale are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    pub spec_replicas: Vec<String>,
    pub status_replicas: Vec<String>,
    pub selector: Option<Vec<String>>,
}

/// One version of a custom kind.
#[derive(Debug)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub name: String,
    pub list_name: String,
    pub plural: String,
    /// `widgets.acme.io`
    pub definition_name: String,
    /// The version that the store has, and its schema.
    pub storage_version: String,
    storage_schema: Arc<Structural>,
    pub schema: Arc<Structural>,
    pub has_status: bool,
    pub scale: Option<ScalePaths>,
    /// Told to clients of a deprecated version.
    pub warning: Option<String>,
    columns: Vec<PrinterColumn>,
    /// Fields to select by: `spec.color`.
    selectable: Vec<(String, Path)>,
    definition: Arc<Value>,
    /// Objects that were written after this revision of the store went through this very schema.
    since: i64,
}

impl Kind {
    /// Compiles what is particular to one version.
    pub(super) fn new(
        definition: &Arc<Value>,
        version: &Value,
        (storage_version, storage_schema): (&str, &Arc<Structural>),
        schema: Arc<Structural>,
        since: i64,
    ) -> Self {
        let spec = &definition["spec"];
        let names = &definition["status"]["acceptedNames"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (group, name) = (text(&spec["group"]), text(&names["kind"]));
        let version_name = text(&version["name"]);
        let deprecated = format!("{group}/{version_name} {name} is deprecated");
        let warning = version["deprecationWarning"].as_str().map_or(deprecated, str::to_owned);
        let selectable = version["selectableFields"].as_array().into_iter().flatten();
        let selectable = selectable.filter_map(|field| {
            let path = field["jsonPath"].as_str()?;
            let name = path.strip_prefix('.').unwrap_or(path).to_owned();
            Some((name, Path::parse(path).ok()?))
        });
        Self {
            list_name: text(&names["listKind"]),
            plural: text(&names["plural"]),
            definition_name: meta::name(definition).to_owned(),
            storage_version: storage_version.to_owned(),
            storage_schema: storage_schema.clone(),
            schema,
            has_status: version["subresources"]["status"].is_object(),
            scale: scale_paths(&version["subresources"]["scale"]),
            warning: (version["deprecated"] == true).then_some(warning),
            columns: columns::of_version(version),
            selectable: selectable.collect(),
            definition: definition.clone(),
            since,
            version: version_name,
            group,
            name,
        }
    }

    /// `io.acme.v1.Widget`: the type's name in OpenAPI.
    pub fn type_name(&self) -> String {
        let reversed: Vec<&str> = self.group.split('.').rev().collect();
        format!("{}.{}.{}", reversed.join("."), self.version, self.name)
    }

    /// The `openAPIV3Schema` as its author wrote it; null if there is none.
    pub fn json_schema(&self) -> &Value {
        let versions = meta::items(&self.definition, &["spec", "versions"]);
        let own = versions.iter().find(|version| version["name"] == *self.version);
        own.map_or(&Value::Null, |version| &version["schema"]["openAPIV3Schema"])
    }

    /// Whether an object that was stored at `revision` is served as it is: it went through this schema
    /// when it was written, and has this version.
    pub fn serves_as_stored(&self, revision: i64) -> bool {
        revision > self.since && self.version == self.storage_version
    }

    fn api_version_of(&self, version: &str) -> Value {
        format!("{}/{version}", self.group).into()
    }

    /// What is wrong with the numbers that are scaled by; a write of the status brings only its own.
    fn scale_errors(&self, object: &Value, is_status: bool) -> Vec<FieldError> {
        let Some(scale) = &self.scale else { return Vec::new() };
        let mut errors = Vec::new();
        for path in
            [&scale.spec_replicas, &scale.status_replicas].into_iter().skip(usize::from(is_status))
        {
            let place = format!(".{}", path.join("."));
            let Some(found) = at(object, path) else { continue };
            match found.as_i64() {
                Some(number) if number < 0 => {
                    let detail = "should be a non-negative integer";
                    errors.push(FieldError::invalid(place, number, detail));
                }
                Some(number) if number > i64::from(i32::MAX) => {
                    let detail = format!("should be less than or equal to {}", i32::MAX);
                    errors.push(FieldError::invalid(place, number, detail));
                }
                Some(_) => {}
                None => errors.extend(not_of_type(&place, found, "int64", 0)),
            }
        }
        if let Some(path) = &scale.selector
            && let Some(found) = at(object, path)
            && !found.is_string()
        {
            errors.extend(not_of_type(&format!(".{}", path.join(".")), found, "string", ""));
        }
        errors
    }

    /// What is twice in lists and, if an object is not too wrong for them, what its rules find join other findings.
    fn and_then_rules(
        &self,
        mut errors: Vec<FieldError>,
        new: &Value,
        old: Option<&Value>,
    ) -> Vec<FieldError> {
        let twice = |object: &Value| unique::check(&self.schema, object, &FieldPath::default());
        // Where something was twice before, nothing of the kind is held against an update.
        if old.is_none_or(|old| twice(old).is_empty()) {
            errors.extend(twice(new));
        }
        if !self.schema.has_rules {
            return errors;
        }
        if errors.iter().any(is_blocking) {
            let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            errors.push(FieldError::invalid("<nil>", Value::Null, detail));
        } else {
            errors.extend(rules::check(&self.schema, new, old));
        }
        errors
    }
}

/// What Go says of a value that it wants to be of another type; of lists and maps it would show all.
fn not_of_type(
    place: &str,
    found: &Value,
    wanted: &str,
    shown: impl Into<Value>,
) -> Option<FieldError> {
    let (text, kind) = match found {
        Value::Bool(is_so) => (is_so.to_string(), "bool"),
        Value::String(text) => (text.clone(), "string"),
        Value::Number(number) if number.is_i64() => (number.to_string(), "int64"),
        Value::Number(number) => (number.to_string(), "float64"),
        Value::Null => ("<nil>".to_owned(), "<nil>"),
        Value::Array(_) | Value::Object(_) => return None,
    };
    let detail = format!("{place} accessor error: {text} is of the type {kind}, expected {wanted}");
    Some(FieldError::invalid(place, shown, detail))
}

/// The value under some field names.
pub(super) fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, name| value.get(name))
}

fn scale_paths(scale: &Value) -> Option<ScalePaths> {
    let path = |field: &str| {
        let compiled = Path::parse(scale[field].as_str()?).ok()?;
        Some(compiled.fields()?.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    Some(ScalePaths {
        spec_replicas: path("specReplicasPath")?,
        status_replicas: path("statusReplicasPath")?,
        selector: path("labelSelectorPath"),
    })
}

impl Strategy for Kind {
    fn shape(&self) -> Shape {
        Shape { status: self.has_status, generation: true }
    }

    fn default(&self, object: &mut Value) {
        default::fill(object, &self.schema);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        if self.has_status {
            keep_field(new, old, "status");
        }
        let differs = |key: &&String| *key != "metadata" && new.get(*key) != old.get(*key);
        let keys = |value: &Value| -> Vec<String> {
            value.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
        };
        let (of_new, of_old) = (keys(new), keys(old));
        let has_changed = of_new.iter().chain(&of_old).any(|key| differs(&key));
        let generation = meta::generation(old) + i64::from(has_changed);
        meta::set(new, "generation", generation);
    }

    fn status_carries_metadata(&self) -> bool {
        false
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = validate::validate(&self.schema, new, old);
        errors.extend(self.scale_errors(new, false));
        errors.extend(embedded::validate(&self.schema, new));
        self.and_then_rules(errors, new, old)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        objectmeta::finalizer_warnings(new, old)
    }

    fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate::validate_status(&self.schema, new, old);
        errors.extend(self.scale_errors(new, true));
        self.and_then_rules(errors, new, Some(old))
    }

    fn storage_form(&self, object: &mut Value) {
        if self.version != self.storage_version {
            object["apiVersion"] = self.api_version_of(&self.storage_version);
            prune::prune(object, &self.storage_schema);
        }
    }

    fn served_form(&self, object: &mut Value) {
        prune::prune(object, &self.storage_schema);
        default::fill(object, &self.storage_schema);
        if self.storage_schema.has_embedded {
            // What was stored before its schema said so may be malformed.
            drop(embedded::coerce(object, &self.storage_schema, Malformed::Dropped));
        }
        object["apiVersion"] = self.api_version_of(&self.version);
        if self.version != self.storage_version {
            prune::prune(object, &self.schema);
        }
    }

    fn fields(&self, object: &Value) -> BTreeMap<String, String> {
        let text = |value: Option<&Value>| match value {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => String::new(),
        };
        let fields = self.selectable.iter();
        fields.map(|(name, path)| (name.clone(), text(path.first(object)))).collect()
    }

    fn columns(&self) -> Vec<Column> {
        let own = self.columns.iter().map(|column| column.head().clone());
        std::iter::once(Column::name()).chain(own).collect()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let own = self.columns.iter().map(|column| column.cell(object, now));
        std::iter::once(json!(meta::name(object))).chain(own).collect()
    }
}
/// Whether an object is so wrong that no rule is asked about it: they rely on types and bounds.
fn is_blocking(error: &FieldError) -> bool {
    matches!(
        error.kind,
        FieldErrorKind::NotSupported
            | FieldErrorKind::Required
            | FieldErrorKind::TooLong
            | FieldErrorKind::TooMany
            | FieldErrorKind::TypeInvalid
    )
}
