//! A custom kind's schema, compiled once: the tree that pruning, defaults and validation walk.
//!
//! Compiling is lenient; what users get wrong is refused by `apiextensions/schema_rules.rs` before.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Number, Value};

use super::pattern;
use super::rules::Rules;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Object,
    Array,
    Text,
    Integer,
    Number,
    Boolean,
}

impl Type {
    /// As schemas name it.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::Text,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// What fields beside the named ones there may be.
#[derive(Clone, Debug, Default)]
pub enum Additional {
    #[default]
    None,
    /// Any value.
    Any,
    Of(Box<Structural>),
}

/// How a list's items are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    /// By the values of these fields.
    Map(Vec<String>),
}

/// One place of a schema, with everything below it.
#[derive(Clone, Debug, Default)]
pub struct Structural {
    pub kind: Option<Type>,
    pub nullable: bool,
    pub int_or_string: bool,
    pub embedded: bool,
    pub preserves_unknown: bool,
    pub properties: BTreeMap<String, Structural>,
    pub additional: Additional,
    pub items: Option<Box<Structural>>,
    pub default: Option<Value>,
    pub list_type: ListType,
    pub checks: Checks,
    /// `x-kubernetes-validations`, compiled.
    pub rules: Rules,
    /// Whether something at or below here has a default, or a rule, or must be unique, or is embedded: what need not
    /// be walked is not.
    pub has_defaults: bool,
    pub has_rules: bool,
    pub has_unique: bool,
    pub has_embedded: bool,
}

/// What is demanded of a value beyond its type.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    pub format: String,
    pub allowed: Vec<Value>,
    pub pattern: Option<Regex>,
    pub maximum: Option<Number>,
    pub excludes_maximum: bool,
    pub minimum: Option<Number>,
    pub excludes_minimum: bool,
    pub multiple_of: Option<Number>,
    pub length_max: Option<u64>,
    pub length_min: Option<u64>,
    pub items_max: Option<u64>,
    pub items_min: Option<u64>,
    pub properties_max: Option<u64>,
    pub properties_min: Option<u64>,
    pub required: Vec<String>,
    pub all_of: Vec<Structural>,
    pub any_of: Vec<Structural>,
    pub one_of: Vec<Structural>,
    pub not: Option<Box<Structural>>,
}

impl Structural {
    /// Compiles the `openAPIV3Schema` of a version. A version without one keeps whatever there is.
    pub fn of_version(version: &Value) -> Self {
        match version["schema"].get("openAPIV3Schema") {
            Some(schema) if schema.is_object() => Self::compile_root(schema),
            _ => Self { kind: Some(Type::Object), preserves_unknown: true, ..Self::default() },
        }
    }

    /// Compiles a JSON schema, rules included.
    pub fn compile(schema: &Value) -> Self {
        let mut compiled = Self::shape(schema);
        compiled.attach_rules(schema);
        compiled
    }

    /// Compiles the schema of whole objects, which have a kind and metadata whatever it says.
    pub fn compile_root(schema: &Value) -> Self {
        let mut compiled = Self::shape(schema);
        compiled.embedded = true;
        compiled.attach_rules(schema);
        compiled
    }

    fn shape(schema: &Value) -> Self {
        let flag = |name: &str| schema[name] == true;
        let mut properties = BTreeMap::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            properties.insert(name.clone(), Self::shape(property));
        }
        let additional = match &schema["additionalProperties"] {
            Value::Object(_) => {
                Additional::Of(Box::new(Self::shape(&schema["additionalProperties"])))
            }
            Value::Bool(true) => Additional::Any,
            _ => Additional::None,
        };
        let items = schema["items"].is_object().then(|| Box::new(Self::shape(&schema["items"])));
        let default = schema.get("default").filter(|value| !value.is_null()).cloned();
        let mut shaped = Self {
            kind: schema["type"].as_str().and_then(Type::parse),
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            embedded: flag("x-kubernetes-embedded-resource"),
            preserves_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            properties,
            additional,
            items,
            default,
            list_type: list_type(schema),
            checks: Checks::of(schema),
            ..Self::default()
        };
        shaped.has_defaults =
            shaped.default.is_some() || shaped.children().any(|child| child.has_defaults);
        shaped.has_unique =
            shaped.list_type != ListType::Atomic || shaped.children().any(|child| child.has_unique);
        shaped.has_embedded = shaped.embedded || shaped.children().any(|child| child.has_embedded);
        shaped
    }

    /// Rules need the shape of what they are about: hence a second pass, outside in.
    fn attach_rules(&mut self, schema: &Value) {
        self.rules = Rules::compile(schema, self);
        for (name, property) in &mut self.properties {
            property.attach_rules(&schema["properties"][name]);
        }
        if let Additional::Of(values) = &mut self.additional {
            values.attach_rules(&schema["additionalProperties"]);
        }
        if let Some(items) = &mut self.items {
            items.attach_rules(&schema["items"]);
        }
        self.has_rules = !self.rules.is_empty() || self.children().any(|child| child.has_rules);
    }

    fn children(&self) -> impl Iterator<Item = &Self> {
        let additional = match &self.additional {
            Additional::Of(values) => Some(&**values),
            Additional::None | Additional::Any => None,
        };
        self.properties.values().chain(additional).chain(self.items.as_deref())
    }

    /// The schema of a field's value, by its name.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(match &self.additional {
            Additional::Of(values) => Some(&**values),
            Additional::None | Additional::Any => None,
        })
    }
}

fn list_type(schema: &Value) -> ListType {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(texts(&schema["x-kubernetes-list-map-keys"])),
        _ => ListType::Atomic,
    }
}

fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Checks {
    fn of(schema: &Value) -> Self {
        let number = |name: &str| match &schema[name] {
            Value::Number(number) => Some(number.clone()),
            _ => None,
        };
        let count = |name: &str| schema[name].as_u64();
        let several = |name: &str| {
            let items = schema[name].as_array().into_iter().flatten();
            items.map(Structural::shape).collect()
        };
        Self {
            format: schema["format"].as_str().unwrap_or_default().to_owned(),
            allowed: schema["enum"].as_array().cloned().unwrap_or_default(),
            pattern: schema["pattern"].as_str().and_then(|text| pattern::compile(text).ok()),
            maximum: number("maximum"),
            excludes_maximum: schema["exclusiveMaximum"] == true,
            minimum: number("minimum"),
            excludes_minimum: schema["exclusiveMinimum"] == true,
            multiple_of: number("multipleOf"),
            length_max: count("maxLength"),
            length_min: count("minLength"),
            items_max: count("maxItems"),
            items_min: count("minItems"),
            properties_max: count("maxProperties"),
            properties_min: count("minProperties"),
            required: texts(&schema["required"]),
            all_of: several("allOf"),
            any_of: several("anyOf"),
            one_of: several("oneOf"),
            not: schema["not"].is_object().then(|| Box::new(Structural::shape(&schema["not"]))),
        }
    }
}
