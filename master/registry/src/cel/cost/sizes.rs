//! How large values can be, by their schema: upstream's declarations (apiserver `pkg/cel/common/schemas.go`).

use std::collections::BTreeMap;

use crate::cel::{KEYWORDS, unescape};
use crate::custom::structural::{Additional, Structural, Type as Kind};

/// The largest request that is ever accepted, in bytes.
const REQUEST_BYTES_MAX: u64 = 3 << 20;
const DURATION_BYTES_MAX: u64 = 32;
const DATE_BYTES: u64 = 12;
const MOMENT_BYTES_MAX: u64 = 32;
/// The longest a text can be whose length nobody bounds: a request but its quotes.
const TEXT_MAX: u64 = REQUEST_BYTES_MAX - 2;

/// How large values at one place can be, and at those below.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    /// Bytes of a text, items of a list, entries of a map.
    max: u64,
    /// The least that it takes as JSON, in bytes.
    least: u64,
    /// Of a list's items or a map's values.
    items: Option<Box<Sizes>>,
    /// Bytes of a map's keys.
    keys_max: Option<u64>,
    /// Whether any name leads to the values of a map.
    is_open: bool,
    fields: BTreeMap<String, Sizes>,
    /// The only name that this is the value of, if others are known to have none.
    name: Option<&'static str>,
}

impl Sizes {
    /// What a schema says; `None` for what expressions do not see. `is_root`: of a whole object, embedded ones too.
    pub fn of(schema: &Structural, is_root: bool) -> Option<Self> {
        let scalar = |max, least| Some(Self { max, least, ..Self::default() });
        let length = schema.checks.length_max;
        let text_max = length.map(|length| length.saturating_mul(4));
        if schema.int_or_string {
            return scalar(text_max.unwrap_or(TEXT_MAX), 1);
        }
        match schema.kind? {
            Kind::Array => Self::list(schema),
            Kind::Object => match &schema.additional {
                Additional::Of(values) => Self::map(schema, values),
                Additional::None | Additional::Any => Some(Self::object(schema, is_root)),
            },
            Kind::Text => match schema.checks.format.as_str() {
                "byte" => scalar(length.unwrap_or(TEXT_MAX), 2),
                "duration" => scalar(DURATION_BYTES_MAX, 3),
                "date" => scalar(DATE_BYTES, DATE_BYTES),
                "date-time" => scalar(MOMENT_BYTES_MAX, 21),
                _ => scalar(text_max.unwrap_or_else(|| unbounded(schema)), 2),
            },
            Kind::Boolean => scalar(0, 4),
            Kind::Number | Kind::Integer => scalar(0, 1),
        }
    }

    /// Of a text that is no longer than this.
    pub fn text(max: u64) -> Self {
        Self { max, least: 2, ..Self::default() }
    }

    /// Of a map with so many entries at most.
    pub fn map_of(values: Self, max: u64, keys_max: u64) -> Self {
        let items = Some(Box::new(values));
        Self { max, least: 2, items, keys_max: Some(keys_max), ..Self::default() }
    }

    /// Whose values are found by any name.
    #[must_use]
    pub fn open(self) -> Self {
        Self { is_open: true, ..self }
    }

    /// Which is the value of this name alone.
    #[must_use]
    pub fn named(self, name: &'static str) -> Self {
        Self { name: Some(name), ..self }
    }

    /// Of an object with these fields.
    pub fn object_of<const N: usize>(fields: [(&str, Self); N]) -> Self {
        let fields = fields.map(|(name, sizes)| (name.to_owned(), sizes));
        Self { least: 2, fields: fields.into(), ..Self::default() }
    }

    fn list(schema: &Structural) -> Option<Self> {
        let items = schema.items.as_deref()?;
        let items = Self::of(items, items.embedded)?;
        let fit = (REQUEST_BYTES_MAX - 2) / (items.least + 1);
        let max = schema.checks.items_max.unwrap_or(fit);
        Some(Self { max, least: 2, items: Some(Box::new(items)), ..Self::default() })
    }

    fn map(schema: &Structural, values: &Structural) -> Option<Self> {
        let values = Self::of(values, values.embedded)?;
        let fit = (REQUEST_BYTES_MAX - 2) / (values.least + 6);
        // Of keys nothing is known, which counts as nothing.
        Some(Self::map_of(values, schema.checks.properties_max.unwrap_or(fit), 0))
    }

    fn object(schema: &Structural, is_root: bool) -> Self {
        let mut least = 2;
        let mut fields = BTreeMap::new();
        for (name, property) in &schema.properties {
            let Some(sizes) = Self::of(property, property.embedded) else { continue };
            // What has a default need not be sent.
            let is_sent = schema.checks.required.contains(name) && property.default.is_none();
            if is_sent {
                least += name.len() as u64 + sizes.least + 4;
            }
            fields.insert(name.clone(), sizes);
        }
        if is_root && !says_what_all_have(schema) {
            let name = || Self::text(TEXT_MAX);
            let metadata = Self::object_of([("name", name()), ("generateName", name())]);
            for (field, sizes) in [("apiVersion", name()), ("kind", name()), ("metadata", metadata)]
            {
                if schema.checks.required.iter().any(|one| one == field) {
                    least += field.len() as u64 + sizes.least + 4;
                }
                fields.insert(field.to_owned(), sizes);
            }
        }
        Self { least, fields, ..Self::default() }
    }

    /// How large something is at most that is some steps below a name.
    pub(super) fn at<'s>(&self, mut path: impl Iterator<Item = &'s str>) -> Option<u64> {
        let first = path.next()?;
        if self.name.is_some_and(|name| name != first) {
            return None;
        }
        let mut place = self;
        while let Some(step) = path.next() {
            place = match step {
                "@items" | "@values" => place.items.as_deref()?,
                "@keys" => return path.next().map_or(place.keys_max, |_| None),
                _ if place.is_open => place.items.as_deref()?,
                // A reserved word is the name of no field, which is found by its escaped form alone.
                word if KEYWORDS.contains(&word) => return None,
                name => place.fields.get(&unescape(name))?,
            };
        }
        Some(place.max)
    }

    /// How often such a value can be in one request at most.
    pub fn times_max(&self) -> u64 {
        REQUEST_BYTES_MAX / (self.least + 1)
    }
}

/// The longest text of those that a schema allows.
fn unbounded(schema: &Structural) -> u64 {
    let allowed = &schema.checks.allowed;
    if allowed.is_empty() {
        return TEXT_MAX;
    }
    allowed.iter().filter_map(|text| text.as_str()).map(|text| text.len() as u64).max().unwrap_or(0)
}

/// Whether a schema itself describes kind and metadata, as far as rules see them.
fn says_what_all_have(schema: &Structural) -> bool {
    let has = |of: &Structural, name: &str, kind| {
        of.properties.get(name).is_some_and(|property| property.kind == Some(kind))
    };
    let metadata = schema.properties.get("metadata");
    has(schema, "kind", Kind::Text)
        && has(schema, "apiVersion", Kind::Text)
        && has(schema, "metadata", Kind::Object)
        && metadata.is_some_and(|metadata| {
            has(metadata, "name", Kind::Text) && has(metadata, "generateName", Kind::Text)
        })
}
