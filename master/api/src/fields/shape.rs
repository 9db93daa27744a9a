//! What types divide into: which lists are sets, which are maps by key, which objects are one value.

use std::sync::LazyLock;

use serde_json::{Map, Value};

/// How the values of a type divide into fields that may have different owners.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Atom<'a> {
    /// Not at all: a scalar, or a list or an object that is one value.
    Leaf,
    /// An object of named fields.
    Struct {
        /// Whether it may have others than those.
        keeps_unknown: bool,
    },
    /// An object whose keys are data.
    Map,
    /// A list of scalars without order.
    Set,
    /// A list whose items are known by the values of these fields, in alphabetical order.
    Keyed(&'a [Key]),
    /// Nobody said: objects divide, lists do not.
    Any,
}

/// A field that identifies the items of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The field's name.
    pub name: Box<str>,
    /// What counts where an item leaves it out.
    pub default: Option<Value>,
}

/// What the values of a type are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody said.
    Any,
    Text,
    Number,
    Bool,
    /// Text, a number or a boolean.
    Scalar,
    List,
    Object,
}

/// A cursor on one type of a schema. A type that is not known is `None` of it, and divides like [`Atom::Any`].
pub trait Shape<'a>: Copy {
    /// How its values divide.
    fn atom(self) -> Atom<'a>;

    /// What its values are.
    fn kind(self) -> Kind;

    /// The type of a named field of a [`Atom::Struct`].
    fn field(self, name: &str) -> Option<Self>;

    /// The type of a [`Atom::Map`]'s values, or of a list's items.
    fn item(self) -> Option<Self>;
}

/// How a type and the values at hand divide together.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form<'a> {
    Leaf,
    Object,
    Set,
    Keyed(&'a [Key]),
}

/// The form of a type for some values, of which none is given in `None`.
pub(super) fn form<'a, S: Shape<'a>>(shape: Option<S>, values: [Option<&Value>; 2]) -> Form<'a> {
    let atom = shape.map_or(Atom::Any, Shape::atom);
    let all = |fits: fn(&Value) -> bool| {
        let mut given = values.iter().flatten();
        given.all(|value| value.is_null() || fits(value))
    };
    let is_divided = match atom {
        Atom::Leaf => false,
        Atom::Struct { .. } | Atom::Map => all(Value::is_object),
        Atom::Set | Atom::Keyed(_) => all(Value::is_array),
        Atom::Any => {
            values.iter().flatten().any(|value| value.is_object()) && all(Value::is_object)
        }
    };
    match atom {
        _ if !is_divided => Form::Leaf,
        Atom::Set => Form::Set,
        Atom::Keyed(keys) => Form::Keyed(keys),
        Atom::Leaf | Atom::Struct { .. } | Atom::Map | Atom::Any => Form::Object,
    }
}

/// The type of one entry of an object, and whether it is a named field.
pub(super) fn entry<'a, S: Shape<'a>>(shape: Option<S>, name: &str) -> (Option<S>, bool) {
    let Some(shape) = shape else { return (None, false) };
    match shape.atom() {
        Atom::Struct { .. } => {
            let field = shape.field(name);
            (field, field.is_some())
        }
        Atom::Map => (shape.item(), false),
        Atom::Leaf | Atom::Set | Atom::Keyed(_) | Atom::Any => (None, false),
    }
}

/// The type behind a step of a path, and whether it is a named field.
pub(super) fn behind<'a, S: Shape<'a>>(shape: Option<S>, step: &str) -> (Option<S>, bool) {
    match step.strip_prefix("f:") {
        Some(name) => entry(shape, name),
        None => (shape.and_then(Shape::item), false),
    }
}

static NO_FIELDS: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// The entries of an object; none where it is absent or null.
pub(super) fn fields(value: Option<&Value>) -> &Map<String, Value> {
    value.and_then(Value::as_object).unwrap_or(&NO_FIELDS)
}

/// The items of a list; none where it is absent or null.
pub(super) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The step to an item of a divided list.
pub(super) fn step(form: Form<'_>, item: &Value) -> Result<String, String> {
    match form {
        Form::Keyed(keys) => super::step::keyed(item, keys),
        Form::Leaf | Form::Object | Form::Set => super::step::value(item),
    }
}
