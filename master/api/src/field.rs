//! What is wrong with one field of an object, in the words a Kubernetes user expects.
//!
//! Paths are built while walking an object, so a finding names the very place: `spec.ports[0].name`.

use std::fmt::{self, Display};

use serde_json::Value;

use crate::go;

/// Where a field is: `spec.template.metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath(String);

impl FieldPath {
    /// A path that starts at a top-level field, or further down where `name` has dots.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// A field of the object here.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// An item of the list here.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An entry of the map here.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// `spec.ports[0]`, as messages have it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for FieldPath {
    fn from(path: &str) -> Self {
        Self(path.to_owned())
    }
}

impl From<FieldPath> for String {
    fn from(path: FieldPath) -> Self {
        path.0
    }
}

/// The kinds of findings; `Status.details.causes[].reason` carries [`FieldErrorKind::reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldErrorKind {
    /// A reference leads nowhere.
    NotFound,
    /// Nothing is there.
    Required,
    /// It was there before.
    Duplicate,
    /// It is malformed or out of range.
    Invalid,
    /// It is none of the known values.
    NotSupported,
    /// Not under these conditions.
    Forbidden,
    /// It has too many bytes.
    TooLong,
    /// It has too many items.
    TooMany,
    /// Not the client's fault.
    Internal,
    /// It has the wrong type.
    TypeInvalid,
}

impl FieldErrorKind {
    /// The machine-readable name.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }

    /// Whether the message repeats the refused value.
    fn shows_value(self) -> bool {
        match self {
            Self::Required | Self::Forbidden | Self::TooLong | Self::Internal => false,
            Self::NotFound
            | Self::Duplicate
            | Self::Invalid
            | Self::NotSupported
            | Self::TooMany
            | Self::TypeInvalid => true,
        }
    }
}

/// One finding of validation.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// What is wrong.
    pub kind: FieldErrorKind,
    /// Where: `spec.ports[0].name`.
    pub field: String,
    /// The refused value, where the message repeats it.
    pub bad_value: Value,
    /// Why, in a sentence; may be empty.
    pub detail: String,
    /// The message does not repeat the value, though its kind usually does.
    pub omits_value: bool,
}

impl FieldError {
    fn of(
        kind: FieldErrorKind,
        field: impl Into<String>,
        bad_value: Value,
        detail: impl Into<String>,
    ) -> Self {
        let (field, detail) = (field.into(), detail.into());
        Self { kind, field, bad_value, detail, omits_value: false }
    }

    /// The same, without repeating the value.
    #[must_use]
    pub fn without_value(self) -> Self {
        Self { bad_value: Value::Null, omits_value: true, ..self }
    }

    /// A value must be there.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::of(FieldErrorKind::Required, field, Value::Null, detail)
    }

    /// A value is malformed or out of range.
    pub fn invalid(
        field: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::of(FieldErrorKind::Invalid, field, value.into(), detail)
    }

    /// A value has the wrong type.
    pub fn type_invalid(
        field: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::of(FieldErrorKind::TypeInvalid, field, value.into(), detail)
    }

    /// A value that must be unique is there twice.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::of(FieldErrorKind::Duplicate, field, value.into(), "")
    }

    /// A reference leads nowhere.
    pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::of(FieldErrorKind::NotFound, field, value.into(), "")
    }

    /// A value is not allowed under these conditions.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::of(FieldErrorKind::Forbidden, field, Value::Null, detail)
    }

    /// A value is none of the known ones.
    pub fn not_supported(
        field: impl Into<String>,
        value: impl Into<Value>,
        supported: &[&str],
    ) -> Self {
        let names: Vec<String> = supported.iter().map(|name| format!("{name:?}")).collect();
        let detail = if names.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", names.join(", "))
        };
        Self::of(FieldErrorKind::NotSupported, field, value.into(), detail)
    }

    /// A value has more bytes than allowed.
    pub fn too_long(field: impl Into<String>, bytes_max: usize) -> Self {
        let unit = if bytes_max == 1 { "byte" } else { "bytes" };
        let detail = format!("may not be more than {bytes_max} {unit}");
        Self::of(FieldErrorKind::TooLong, field, Value::Null, detail)
    }

    /// A list has more items than allowed.
    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {unit}");
        Self::of(FieldErrorKind::TooMany, field, actual.into(), detail)
    }

    /// The server could not judge or provide a value.
    pub fn internal(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::of(FieldErrorKind::Internal, field, Value::Null, detail)
    }

    /// The finding without the field's name, as `Status.details.causes[].message` has it.
    pub fn body(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if self.kind.shows_value() && !self.omits_value {
            text.push_str(": ");
            match &self.bad_value {
                Value::String(value) => text.push_str(&go::quoted(value)),
                value => text.push_str(&shown(value)),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

/// Go writes the fields of its types in their order; of those that are shown, these are not in that of the alphabet.
const ORDERS: [&[&str]; 4] = [
    &["matchLabels", "matchExpressions"],
    &["Driver", "Pool", "Device", "ShareID"],
    &[
        "IntValue",
        "BoolValue",
        "StringValue",
        "VersionValue",
        "IntValues",
        "BoolValues",
        "StringValues",
        "VersionValues",
    ],
    &["Rule", "Message", "MessageExpression", "Reason", "FieldPath", "OptionalOldSelf"],
];

/// A value as Go writes it in JSON, where what HTML would take for its own is escaped.
fn shown(value: &Value) -> String {
    let text = in_order(value);
    let escapes = [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ];
    escapes.into_iter().fold(text, |text, (sign, escaped)| text.replace(sign, escaped))
}

fn in_order(value: &Value) -> String {
    let Value::Object(fields) = value else { return value.to_string() };
    let fits = |order: &&&[&str]| {
        order.len() == fields.len() && order.iter().all(|name| fields.contains_key(*name))
    };
    let Some(order) = ORDERS.iter().find(fits) else { return value.to_string() };
    let pairs = order.iter().map(|name| format!("{name:?}:{}", fields[*name]));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

impl Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// Several findings as one sentence: alone as it is, else `[a, b]` without repetitions.
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut seen: Vec<String> = Vec::new();
    for error in errors {
        let text = error.to_string();
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    match seen.as_slice() {
        [only] => only.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn findings_read_as_upstream_writes_them() {
        let port = FieldPath::new("spec").child("ports").index(0).child("port");
        #[rustfmt::skip]
        let cases = [
            (FieldError::required("metadata.name", "name or generateName is required"),
             "metadata.name: Required value: name or generateName is required"),
            (FieldError::invalid(port, 0, "must be between 1 and 65535, inclusive"),
             "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
            (FieldError::invalid("a", "x\"y", "bad"), r#"a: Invalid value: "x\"y": bad"#),
            (FieldError::not_supported("p", "X", &["A", "B"]),
             r#"p: Unsupported value: "X": supported values: "A", "B""#),
            (FieldError::duplicate("n", "x"), r#"n: Duplicate value: "x""#),
            (FieldError::forbidden("spec", "no"), "spec: Forbidden: no"),
            (FieldError::too_long("data", 1), "data: Too long: may not be more than 1 byte"),
            (FieldError::invalid("s", json!({"a": 1}), "no"), r#"s: Invalid value: {"a":1}: no"#),
            (FieldError::invalid("s", json!({"a": "<&>"}), "no"), r#"s: Invalid value: {"a":"\u003c\u0026\u003e"}: no"#),
            (FieldError::invalid("s", "<&>", "no"), r#"s: Invalid value: "<&>": no"#),
            (FieldError::invalid("s", json!({"matchExpressions": [], "matchLabels": {"a": "b"}}), "no"),
             r#"s: Invalid value: {"matchLabels":{"a":"b"},"matchExpressions":[]}: no"#),
        ];
        for (error, expected) in cases {
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn several_findings_are_bracketed_once_each() {
        let one = FieldError::required("a", "");
        let two = FieldError::required("b", "");
        assert_eq!(aggregate(std::slice::from_ref(&one)), "a: Required value");
        assert_eq!(aggregate(&[one.clone(), two, one]), "[a: Required value, b: Required value]");
    }
}
