//! What expressions come to: scalars, and JSON that stays where it is.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use master_api::quantity::Quantity;
use serde_json::{Map, Value};

use crate::custom::format::duration_ns;
use crate::custom::structural::{ListType, Structural, Type as Kind};

/// A value.
#[derive(Clone, Debug)]
pub enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Cow<'a, str>),
    Bytes(Rc<Vec<u8>>),
    List(Rc<Vec<Val<'a>>>),
    Map(Rc<Vec<(Val<'a>, Val<'a>)>>),
    /// Sums of lists of the object, under the schema of the first: a set, or a list with keys.
    Joined(Rc<Vec<Val<'a>>>, &'a Structural),
    /// A list of the object itself, under its schema.
    JsonList(&'a [Value], Option<&'a Structural>),
    /// An object or map of the object itself, under its schema.
    JsonMap(&'a Map<String, Value>, Option<&'a Structural>),
    /// Nanoseconds.
    Duration(i64),
    Timestamp(Timestamp),
    Quantity(Quantity),
    Url(Rc<super::functions::Url>),
    Ip(IpAddr),
    /// Address and bits.
    Cidr(IpAddr, u8),
    Version(Rc<semver::Version>),
    Format(&'static super::functions::Format),
    Optional(Option<Rc<Val<'a>>>),
    Access(Rc<super::functions::Access<'a>>),
    /// Whether it is allowed, and why.
    Decision(bool, Rc<str>),
    Type(&'static str),
}

/// A value of JSON under its schema.
pub(super) fn of_json<'a>(value: &'a Value, schema: Option<&'a Structural>) -> Val<'a> {
    let typed = schema.filter(|schema| !schema.int_or_string);
    match value {
        Value::Null => Val::Null,
        Value::Bool(is_so) => Val::Bool(*is_so),
        Value::Number(number) => {
            let is_number = typed.is_some_and(|schema| schema.kind == Some(Kind::Number));
            match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) if !is_number => Val::Int(integer),
                (_, Some(float)) => {
                    let is_integer = typed.is_some_and(|schema| schema.kind == Some(Kind::Integer));
                    if is_integer { Val::Int(float as i64) } else { Val::Double(float) }
                }
                _ => Val::Null,
            }
        }
        Value::String(text) => of_text(text, typed),
        Value::Array(items) => Val::JsonList(items, schema),
        Value::Object(fields) => Val::JsonMap(fields, schema),
    }
}

fn of_text<'a>(text: &'a str, schema: Option<&'a Structural>) -> Val<'a> {
    let plain = || Val::Text(Cow::Borrowed(text));
    let Some(schema) = schema.filter(|schema| schema.kind == Some(Kind::Text)) else {
        return plain();
    };
    let found = match schema.checks.format.as_str() {
        "date-time" => text.parse().ok().map(Val::Timestamp),
        "date" => format!("{text}T00:00:00Z").parse().ok().map(Val::Timestamp),
        "duration" => duration_ns(text).map(Val::Duration),
        "byte" => STANDARD.decode(text).ok().map(|bytes| Val::Bytes(Rc::new(bytes))),
        _ => None,
    };
    found.unwrap_or_else(plain)
}

impl<'a> Val<'a> {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items))
    }

    pub(super) fn count(count: usize) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// A value that may be absent.
    pub fn optional(value: Option<Self>) -> Self {
        Self::Optional(value.map(Rc::new))
    }

    pub(super) fn some(value: Self) -> Self {
        Self::Optional(Some(Rc::new(value)))
    }

    /// How messages and `type()` call its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) | Self::Joined(..) | Self::JsonList(..) => "list",
            Self::Map(_) | Self::JsonMap(..) => "map",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(..) => "net.CIDR",
            Self::Version(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Optional(_) => "optional_type",
            Self::Access(access) => access.type_name(),
            Self::Decision(..) => "kubernetes.authorization.Decision",
            Self::Type(_) => "type",
        }
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        match self {
            Self::List(items) | Self::Joined(items, _) => Some(items.to_vec()),
            Self::JsonList(items, schema) => {
                let of = schema.and_then(|schema| schema.items.as_deref());
                Some(items.iter().map(|item| of_json(item, of)).collect())
            }
            _ => None,
        }
    }

    /// The entries of a map.
    pub(super) fn entries(&self) -> Option<Vec<(Self, Self)>> {
        match self {
            Self::Map(pairs) => Some(pairs.to_vec()),
            Self::JsonMap(fields, schema) => {
                let entry = |(key, value): (&'a String, &'a Value)| {
                    let of = schema.and_then(|schema| schema.field(key));
                    (Self::Text(Cow::Borrowed(key)), of_json(value, of))
                };
                Some(fields.iter().map(entry).collect())
            }
            _ => None,
        }
    }

    /// The value in JSON.
    ///
    /// # Errors
    /// What JSON has no notation for.
    pub fn to_json(&self) -> Result<Value, String> {
        let unwritten = || Err(format!("{} cannot be part of an object", self.type_name()));
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(is_so) => (*is_so).into(),
            Self::Int(number) => (*number).into(),
            Self::Uint(number) => (*number).into(),
            Self::Double(number) => (*number).into(),
            Self::Text(text) => text.as_ref().into(),
            Self::Bytes(bytes) => STANDARD.encode(&**bytes).into(),
            Self::JsonList(items, _) => items.to_vec().into(),
            Self::JsonMap(fields, _) => Value::Object((*fields).clone()),
            Self::List(items) | Self::Joined(items, _) => {
                let items: Result<Vec<_>, _> = items.iter().map(Self::to_json).collect();
                items?.into()
            }
            Self::Map(pairs) => {
                let mut fields = Map::new();
                for (key, value) in pairs.iter() {
                    let Self::Text(key) = key else { return unwritten() };
                    fields.insert(key.to_string(), value.to_json()?);
                }
                Value::Object(fields)
            }
            Self::Timestamp(moment) => moment.to_string().into(),
            Self::Quantity(amount) => amount.to_string().into(),
            Self::Ip(address) => address.to_string().into(),
            Self::Duration(_)
            | Self::Url(_)
            | Self::Cidr(..)
            | Self::Version(_)
            | Self::Format(_)
            | Self::Optional(_)
            | Self::Access(_)
            | Self::Decision(..)
            | Self::Type(_) => return unwritten(),
        })
    }

    /// How many items, entries or characters there are.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.chars().count()),
            Self::Bytes(bytes) => Some(bytes.len()),
            Self::List(items) | Self::Joined(items, _) => Some(items.len()),
            Self::JsonList(items, _) => Some(items.len()),
            Self::Map(pairs) => Some(pairs.len()),
            Self::JsonMap(fields, _) => Some(fields.len()),
            _ => None,
        }
    }

    /// The value under a key.
    pub(super) fn get(&self, key: &Self) -> Option<Self> {
        match (self, key) {
            (Self::JsonMap(fields, schema), Self::Text(name)) => {
                let value = fields.get(&**name)?;
                Some(of_json(value, schema.and_then(|schema| schema.field(name))))
            }
            (Self::Map(pairs), key) => {
                pairs.iter().find(|(known, _)| known.equals(key)).map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    /// The item at a place.
    pub(super) fn at(&self, place: i64) -> Option<Self> {
        let place = usize::try_from(place).ok()?;
        match self {
            Self::List(items) | Self::Joined(items, _) => items.get(place).cloned(),
            Self::JsonList(items, schema) => {
                let of = schema.and_then(|schema| schema.items.as_deref());
                Some(of_json(items.get(place)?, of))
            }
            _ => None,
        }
    }

    /// Whether two values are the same; numbers by value. Whether order counts in lists, the left one decides.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::Bytes(left), Self::Bytes(right)) => left == right,
            (Self::Duration(left), Self::Duration(right)) => left == right,
            (Self::Timestamp(left), Self::Timestamp(right)) => left == right,
            (Self::Quantity(left), Self::Quantity(right)) => left == right,
            (Self::Url(left), Self::Url(right)) => left == right,
            (Self::Ip(left), Self::Ip(right)) => left == right,
            (Self::Cidr(left, bits), Self::Cidr(right, other)) => left == right && bits == other,
            (Self::Version(left), Self::Version(right)) => left.cmp_precedence(right).is_eq(),
            (Self::Format(left), Self::Format(right)) => left.name == right.name,
            (Self::Type(left), Self::Type(right)) => left == right,
            (Self::Optional(left), Self::Optional(right)) => match (left, right) {
                (None, None) => true,
                (Some(left), Some(right)) => left.equals(right),
                _ => false,
            },
            _ if self.keyed().is_some() => self.equals_as_set(other),
            (Self::JsonList(left, _), Self::JsonList(right, _)) => left == right,
            (Self::JsonMap(left, _), Self::JsonMap(right, _)) => left == right,
            _ => self.equals_deeply(other),
        }
    }

    /// The schema of a list in which order does not count.
    pub(super) fn keyed(&self) -> Option<&'a Structural> {
        match self {
            Self::Joined(_, schema) => Some(*schema),
            Self::JsonList(_, schema) => {
                schema.filter(|schema| schema.list_type != ListType::Atomic)
            }
            _ => None,
        }
    }

    /// Whether the other list has as many items, and all of them are here.
    fn equals_as_set(&self, other: &Self) -> bool {
        let lists = (self.keyed(), self.items(), other.items());
        let (Some(schema), Some(items), Some(others)) = lists else { return false };
        let known: BTreeMap<String, &Self> =
            items.iter().map(|item| (item.identity(schema), item)).collect();
        items.len() == others.len()
            && others.iter().all(|other| {
                known.get(&other.identity(schema)).is_some_and(|item| item.equals(other))
            })
    }

    /// What tells an item from others in a set, or in a list with keys: comparing each with each would take a large
    /// list's square of steps.
    pub(super) fn identity(&self, list: &Structural) -> String {
        match &list.list_type {
            ListType::Map(keys) => {
                let values = keys.iter().map(|key| self.get(&Self::text(key.as_str())));
                format!("{:?}", values.collect::<Vec<_>>())
            }
            ListType::Set | ListType::Atomic => format!("{self:?}"),
        }
    }

    fn equals_deeply(&self, other: &Self) -> bool {
        if let (Some(left), Some(right)) = (self.items(), other.items()) {
            return left.len() == right.len()
                && left.iter().zip(&right).all(|(left, right)| left.equals(right));
        }
        if let (Some(left), Some(_)) = (self.entries(), other.entries()) {
            return self.size() == other.size()
                && left
                    .iter()
                    .all(|(key, value)| other.get(key).is_some_and(|found| value.equals(&found)));
        }
        self.compare(other) == Some(Ordering::Equal)
    }

    /// The order of two values of comparable types.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => Some(left.cmp(right)),
            (Self::Int(left), Self::Int(right)) => Some(left.cmp(right)),
            (Self::Uint(left), Self::Uint(right)) => Some(left.cmp(right)),
            (Self::Int(left), Self::Uint(right)) => {
                Some(i128::from(*left).cmp(&i128::from(*right)))
            }
            (Self::Uint(left), Self::Int(right)) => {
                Some(i128::from(*left).cmp(&i128::from(*right)))
            }
            (Self::Double(left), Self::Double(right)) => left.partial_cmp(right),
            (Self::Double(left), Self::Int(right)) => left.partial_cmp(&(*right as f64)),
            (Self::Int(left), Self::Double(right)) => (*left as f64).partial_cmp(right),
            (Self::Double(left), Self::Uint(right)) => left.partial_cmp(&(*right as f64)),
            (Self::Uint(left), Self::Double(right)) => (*left as f64).partial_cmp(right),
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            (Self::Bytes(left), Self::Bytes(right)) => Some(left.cmp(right)),
            (Self::Duration(left), Self::Duration(right)) => Some(left.cmp(right)),
            (Self::Timestamp(left), Self::Timestamp(right)) => Some(left.cmp(right)),
            _ => None,
        }
    }
}
