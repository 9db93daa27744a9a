//! What expressions can be of, and what schemas say of the values they describe.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::rc::Rc;
use std::sync::OnceLock;

use crate::custom::structural::{Additional, Structural, Type as Kind};
use crate::schema::Cursor;

/// The type of an expression.
#[derive(Clone, Debug, Default)]
pub enum Type<'a> {
    /// Known only when it is evaluated.
    #[default]
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    List(Box<Type<'a>>),
    /// Keys are text, or known when evaluated.
    Map(Box<Type<'a>>),
    /// An object with known fields.
    Object(&'a Structural),
    /// The same of a kind that is built in.
    Shaped(Cursor<'a>),
    /// The same, put together.
    Made(Rc<BTreeMap<String, Type<'a>>>),
    Optional(Box<Type<'a>>),
    Duration,
    Timestamp,
    Quantity,
    Url,
    Ip,
    Cidr,
    Version,
    Format,
    Authorizer,
    PathCheck,
    GroupCheck,
    ResourceCheck,
    Decision,
    /// A type itself.
    Type,
}

impl<'a> Type<'a> {
    pub(super) fn list(of: Self) -> Self {
        Self::List(Box::new(of))
    }

    /// The type of a value that a schema describes.
    pub fn of(schema: &'a Structural) -> Self {
        if schema.int_or_string {
            return Self::Dyn;
        }
        match (schema.kind, schema.checks.format.as_str()) {
            (Some(Kind::Object), _) if schema.is_object() => Self::Object(schema),
            (Some(Kind::Object), _) => match &schema.additional {
                Additional::Of(values) => Self::Map(Box::new(Self::of(values))),
                Additional::None | Additional::Any => Self::Object(schema),
            },
            (Some(Kind::Array), _) => {
                Self::list(schema.items.as_deref().map(Self::of).unwrap_or_default())
            }
            (Some(Kind::Text), "byte") => Self::Bytes,
            (Some(Kind::Text), "date" | "date-time") => Self::Timestamp,
            (Some(Kind::Text), "duration") => Self::Duration,
            (Some(Kind::Text), _) => Self::Text,
            (Some(Kind::Integer), _) => Self::Int,
            (Some(Kind::Number), _) => Self::Double,
            (Some(Kind::Boolean), _) => Self::Bool,
            (None, _) => Self::Dyn,
        }
    }

    /// Whether a value of one type can be where the other is expected.
    pub(super) fn fits(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Dyn, _) | (_, Self::Dyn) => true,
            (Self::List(left), Self::List(right))
            | (Self::Map(left), Self::Map(right))
            | (Self::Optional(left), Self::Optional(right)) => left.fits(right),
            (Self::Object(left), Self::Object(right)) => std::ptr::eq(*left, *right),
            // An object is a map to those who ask for one.
            (object, Self::Map(_)) | (Self::Map(_), object) if object.has_fields() => true,
            // Anything nullable may be compared with null.
            (Self::Null, other) | (other, Self::Null) => {
                !matches!(
                    other,
                    Self::Bool | Self::Int | Self::Uint | Self::Double | Self::Text | Self::Bytes
                ) || matches!((self, wanted), (Self::Null, Self::Null))
            }
            _ => std::mem::discriminant(self) == std::mem::discriminant(wanted),
        }
    }

    /// Whether it is an object whose fields are known.
    pub(super) fn has_fields(&self) -> bool {
        matches!(self, Self::Object(_) | Self::Shaped(_) | Self::Made(_))
    }

    /// Either, if one of them fits the other.
    pub(super) fn join(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Dyn, _) | (_, Self::Dyn) => Self::Dyn,
            (Self::Null, _) => other,
            (_, Self::Null) => self,
            _ if self.fits(&other) => self,
            _ => Self::Dyn,
        }
    }

    /// The type of a field; `None` if there is no such field for certain.
    pub(super) fn field(&self, name: &str) -> Option<Self> {
        match self {
            Self::Dyn => Some(Self::Dyn),
            Self::Map(values) => Some((**values).clone()),
            Self::Object(schema) => schema.member(&unescape(name)),
            Self::Shaped(cursor) => cursor.member(name),
            Self::Made(fields) => fields.get(&unescape(name)).cloned(),
            Self::Optional(of) => {
                let of = of.field(name)?;
                Some(match of {
                    Self::Optional(_) => of,
                    of => Self::Optional(Box::new(of)),
                })
            }
            _ => None,
        }
    }
}

impl Structural {
    /// Whether it has fields of its own, rather than entries.
    fn is_object(&self) -> bool {
        !self.properties.is_empty() || self.embedded
    }

    fn member(&self, name: &str) -> Option<Type<'_>> {
        if let Some(property) = self.properties.get(name) {
            // The metadata that a schema mentions is everybody's.
            let is_metadata = name == "metadata" && self.embedded;
            return Some(Type::of(if is_metadata { metadata() } else { property }));
        }
        match name {
            "apiVersion" | "kind" if self.embedded => Some(Type::Text),
            "metadata" if self.embedded => Some(Type::Object(metadata())),
            _ => None,
        }
    }
}

/// What rules see of the metadata.
fn metadata() -> &'static Structural {
    static METADATA: OnceLock<Structural> = OnceLock::new();
    METADATA.get_or_init(|| {
        let text = || serde_json::json!({ "type": "string" });
        let properties = serde_json::json!({ "name": text(), "generateName": text() });
        Structural::compile(&serde_json::json!({ "type": "object", "properties": properties }))
    })
}

impl Display for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::List(of) => return write!(f, "list({of})"),
            Self::Map(of) => return write!(f, "map(string, {of})"),
            Self::Optional(of) => return write!(f, "optional_type({of})"),
            Self::Dyn => "dyn",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::Text => "string",
            Self::Bytes => "bytes",
            Self::Object(_) | Self::Shaped(_) | Self::Made(_) => "object",
            Self::Duration => "duration",
            Self::Timestamp => "timestamp",
            Self::Quantity => "kubernetes.Quantity",
            Self::Url => "kubernetes.URL",
            Self::Ip => "net.IP",
            Self::Cidr => "net.CIDR",
            Self::Version => "kubernetes.Semver",
            Self::Format => "kubernetes.NamedFormat",
            Self::Authorizer => "kubernetes.authorization.Authorizer",
            Self::PathCheck => "kubernetes.authorization.PathCheck",
            Self::GroupCheck => "kubernetes.authorization.GroupCheck",
            Self::ResourceCheck => "kubernetes.authorization.ResourceCheck",
            Self::Decision => "kubernetes.authorization.Decision",
            Self::Type => "type",
        };
        f.write_str(name)
    }
}

/// Words that cannot be names in an expression.
pub(crate) const KEYWORDS: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A field's name from the form that expressions write it in: `x__dot__y` is `x.y`.
pub(crate) fn unescape(name: &str) -> String {
    if !name.contains("__") {
        return name.to_owned();
    }
    if let Some(word) = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"))
        && KEYWORDS.contains(&word)
    {
        return word.to_owned();
    }
    let mut plain = String::new();
    let mut rest = name;
    while let Some(at) = rest.find("__") {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let known =
            [("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")];
        match known.iter().find(|(escaped, _)| rest.starts_with(escaped)) {
            Some((escaped, sign)) => {
                plain.push_str(sign);
                rest = &rest[escaped.len()..];
            }
            None => {
                plain.push_str("__");
                rest = &rest[2..];
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unescaped() {
        #[rustfmt::skip]
        let cases = [
            ("plain", "plain"), ("a__dot__b", "a.b"), ("a__dash__b__slash__c", "a-b/c"),
            ("__namespace__", "namespace"), ("a__underscores__b", "a__b"), ("__other__", "__other__"),
        ];
        for (name, expected) in cases {
            assert_eq!(unescape(name), expected);
        }
    }
}
