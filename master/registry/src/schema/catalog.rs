//! The built-in types: k8s-openapi's JSON schemas, compiled once a process.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::division::Division;
use super::{Index, Instead, Node, OBJECT_META, Struct, Table};
use crate::patchmeta;

/// Where references point in OpenAPI v3, which is what [`definitions`] is for.
const DEFINITIONS_PATH: &str = "/components/schemas";

/// Lists that say something else when they are empty than when they are not there.
const TELLING: [(&str, &str); 1] = [("autoscaling.v2.HPAScalingRules", "policies")];

/// The JSON schemas of every type that a served kind or a request body mentions, by full name.
///
/// Made anew at each call: several megabytes of descriptions that nobody needs for long.
pub fn definitions() -> Map<String, Value> {
    let mut settings = SchemaSettings::draft07();
    settings.definitions_path = DEFINITIONS_PATH.into();
    settings.meta_schema = None;
    settings.transforms = Vec::new();
    let mut generator = settings.into_generator();
    crate::list::register_types(&mut generator);
    generator.take_definitions(false)
}

pub(super) fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let definitions: BTreeMap<String, Value> = definitions().into_iter().collect();
        let mut table = Table::default();
        let mut compiler = Compiler::new(&mut table, &definitions);
        for name in definitions.keys() {
            compiler.named(name);
        }
        table
    })
}

/// Turns JSON schemas into nodes.
#[derive(Debug)]
pub(super) struct Compiler<'a> {
    table: &'a mut Table,
    definitions: &'a BTreeMap<String, Value>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(table: &'a mut Table, definitions: &'a BTreeMap<String, Value>) -> Self {
        Self { table, definitions }
    }

    /// The node of a named type, compiled when first met; its place is known before its content,
    /// so types may contain themselves.
    fn named(&mut self, name: &str) -> Index {
        if let Some(index) = self.table.named.get(name) {
            return *index;
        }
        let index = self.push(Node::Any);
        self.table.named.insert(name.into(), index);
        if let Some(schema) = self.definitions.get(name) {
            let node = self.node(name, schema);
            self.table.nodes[index] = node;
            if patchmeta::is_atomic(name) {
                self.table.divisions.note(index, Division::Whole);
            }
        }
        index
    }

    /// The node of a schema; `name` is used where it has fields.
    pub(super) fn compile(&mut self, name: &str, schema: &Value) -> Index {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = reference.rsplit('/').next().unwrap_or_default();
            return self.named(target);
        }
        if let Some([only]) = schema["allOf"].as_array().map(Vec::as_slice) {
            return self.compile(name, only);
        }
        let node = self.node(name, schema);
        let division = Division::of_schema(&node, schema);
        let index = self.push(node);
        if let Some(division) = division {
            self.table.divisions.note(index, division);
        }
        index
    }

    /// The node of a field, which may divide otherwise than its type does.
    fn field(&mut self, owner: &str, field: &str, schema: &Value) -> Index {
        let index = self.compile(field, schema);
        let fact = patchmeta::fact(owner, field);
        if fact == patchmeta::Fact::default() {
            return index;
        }
        let node = self.table.nodes[index].clone();
        let items = self.resolved(&schema["items"]);
        match Division::of_fact(&node, &fact, items) {
            Some(division) => {
                self.table.divisions.note(index, division);
                index
            }
            // A copy of the type, as if it did not say that it is one value.
            None if fact.map_type == "granular" => self.push(node),
            None => index,
        }
    }

    /// A schema, or the one that it refers to.
    fn resolved<'s>(&self, schema: &'s Value) -> &'s Value
    where
        'a: 's,
    {
        let target = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        target.and_then(|name| self.definitions.get(name)).unwrap_or(schema)
    }

    /// The node of a custom kind's object, whose metadata is everybody's.
    pub(super) fn custom(&mut self, name: &str, schema: &Value) -> Index {
        let mut fields = BTreeMap::new();
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            fields.insert(field.as_str().into(), self.compile(field, schema));
        }
        fields.insert("metadata".into(), self.push(Node::Builtin(OBJECT_META)));
        for field in ["apiVersion", "kind"] {
            fields.insert(field.into(), self.push(Node::Text));
        }
        let keeps_unknown = schema["x-kubernetes-preserve-unknown-fields"] == true;
        let required = Vec::new();
        self.push(Node::Struct(Struct { name: name.into(), fields, required, keeps_unknown }))
    }

    fn push(&mut self, node: Node) -> Index {
        self.table.nodes.push(node);
        self.table.nodes.len() - 1
    }

    fn node(&mut self, name: &str, schema: &Value) -> Node {
        if schema["x-kubernetes-int-or-string"] == true {
            let is_quantity = name.ends_with("pkg.api.resource.Quantity");
            return if is_quantity { Node::Quantity } else { Node::IntOrString };
        }
        if let Some((props, other)) = name.rsplit_once("JSONSchemaPropsOr") {
            let instead = match other {
                "Bool" => Instead::Bool,
                "Array" => Instead::List,
                _ => Instead::Texts,
            };
            return Node::SchemaOr(self.named(&format!("{props}JSONSchemaProps")), instead);
        }
        if name.ends_with("CustomResourceSubresourceStatus") {
            // An object without fields, which is told in words only.
            let (fields, required) = (BTreeMap::new(), Vec::new());
            return Node::Struct(Struct {
                name: name.into(),
                fields,
                required,
                keeps_unknown: false,
            });
        }
        let kind = schema["type"].as_str().unwrap_or_default();
        match (kind, schema["format"].as_str().unwrap_or_default()) {
            ("string", "byte") => Node::Bytes,
            ("string", "date-time") => Node::Time,
            ("string", _) => Node::Text,
            ("integer", "int32") => Node::Int32,
            ("integer", _) => Node::Int64,
            ("number", _) => Node::Float,
            ("boolean", _) => Node::Bool,
            ("array", _) => Node::List(self.compile("", &schema["items"])),
            ("object", _) => self.object(name, schema),
            _ => Node::Any,
        }
    }

    fn object(&mut self, name: &str, schema: &Value) -> Node {
        if let Some(properties) = schema["properties"].as_object() {
            let mut fields = BTreeMap::new();
            for (field, schema) in properties {
                fields.insert(field.as_str().into(), self.field(name, field, schema));
            }
            let keeps_unknown = schema["x-kubernetes-preserve-unknown-fields"] == true;
            let required = schema["required"].as_array().into_iter().flatten();
            let mut required: Vec<Box<str>> =
                required.filter_map(Value::as_str).map(Into::into).collect();
            required.extend(TELLING.iter().filter(|it| name.ends_with(it.0)).map(|it| it.1.into()));
            return Node::Struct(Struct { name: name.into(), fields, required, keeps_unknown });
        }
        match &schema["additionalProperties"] {
            values @ Value::Object(_) => Node::Map(self.compile("", values)),
            _ => Node::Any,
        }
    }
}
