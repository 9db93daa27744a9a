//! The strategy of kinds that need no code of their own, as a value.

use std::collections::BTreeMap;

use jiff::Timestamp;
use master_api::access::Reader;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::{Map, Value};

use crate::strategy::{
    Column, Companion, Cx, Shape, Strategy, fresh, kept, only_status, status_and_metadata,
};
use crate::table::{self, Cell, NAME_AND_AGE};

/// What differs between plain kinds.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    shape: Shape,
    /// Whether a new object is of the first generation, or of none.
    is_counted_from_creation: bool,
    /// Whether updates move the generation.
    counts_updates: bool,
    judge: Option<Judge>,
    status_carries_metadata: bool,
    name_problems: fn(&str) -> Vec<String>,
    default: fn(&mut Value),
    prepare: fn(&mut Value, &Cx<'_>),
    prepare_status: fn(&mut Value, &Value),
    permit: fn(&Value, Option<&Value>, &Cx<'_>) -> Vec<FieldError>,
    validate: fn(&Value, Option<&Value>) -> Vec<FieldError>,
    validate_status: fn(&Value, &Value) -> Vec<FieldError>,
    warnings: fn(&Value) -> Vec<String>,
    cells: &'static [Cell],
    selectable: &'static [Selectable],
}

/// A name for field selectors, and where its value is.
type Selectable = (&'static str, &'static [&'static str]);

/// What the status says of an object's specification.
type Judge = fn(&Value, &dyn Reader) -> Map<String, Value>;

impl Plain {
    /// Neither status nor generation.
    pub const fn bare() -> Self {
        Self {
            shape: Shape { status: false, generation: false },
            is_counted_from_creation: true,
            counts_updates: true,
            judge: None,
            status_carries_metadata: false,
            name_problems: names::dns1123_subdomain,
            default: |_| {},
            prepare: |_, _| {},
            prepare_status: |_, _| {},
            permit: |_, _, _| Vec::new(),
            validate: |_, _| Vec::new(),
            validate_status: |_, _| Vec::new(),
            warnings: |_| Vec::new(),
            cells: NAME_AND_AGE,
            selectable: &[],
        }
    }

    #[must_use]
    pub const fn status(self) -> Self {
        Self { shape: Shape { status: true, ..self.shape }, ..self }
    }

    /// A status, and writes of it may change labels and annotations.
    #[must_use]
    pub const fn status_and_metadata(self) -> Self {
        Self { status_carries_metadata: true, ..self.status() }
    }

    #[must_use]
    pub const fn generation(self) -> Self {
        Self { shape: Shape { generation: true, ..self.shape }, ..self }
    }

    /// A generation that counts updates, of which a new object has seen none.
    #[must_use]
    pub const fn generation_of_updates(self) -> Self {
        Self { is_counted_from_creation: false, ..self.generation() }
    }

    /// A generation that stays what it was at creation.
    #[must_use]
    pub const fn generation_of_creation(self) -> Self {
        Self { counts_updates: false, ..self.generation() }
    }

    /// A status that says something of each new specification by itself.
    #[must_use]
    pub const fn judged(self, judge: Judge) -> Self {
        Self { judge: Some(judge), ..self.status() }
    }

    /// Names only have to fit into a path.
    #[must_use]
    pub const fn path_names(self) -> Self {
        Self { name_problems: names::path_segment, ..self }
    }

    #[must_use]
    pub const fn default(self, default: fn(&mut Value)) -> Self {
        Self { default, ..self }
    }

    /// What happens to a specification that is written, before it is held against the one before.
    #[must_use]
    pub const fn prepare(self, prepare: fn(&mut Value, &Cx<'_>)) -> Self {
        Self { prepare, ..self }
    }

    /// What happens to a status that is written; with what the object was before.
    #[must_use]
    pub const fn prepare_status(self, prepare_status: fn(&mut Value, &Value)) -> Self {
        Self { prepare_status, ..self }
    }

    /// What other objects have to allow.
    #[must_use]
    pub const fn permit(
        self,
        permit: fn(&Value, Option<&Value>, &Cx<'_>) -> Vec<FieldError>,
    ) -> Self {
        Self { permit, ..self }
    }

    #[must_use]
    pub const fn validate(self, validate: fn(&Value, Option<&Value>) -> Vec<FieldError>) -> Self {
        Self { validate, ..self }
    }

    /// What a written status must be like.
    #[must_use]
    pub const fn validate_status(
        self,
        validate_status: fn(&Value, &Value) -> Vec<FieldError>,
    ) -> Self {
        Self { validate_status, ..self }
    }

    /// What there is to say of a new object.
    #[must_use]
    pub const fn warnings(self, warnings: fn(&Value) -> Vec<String>) -> Self {
        Self { warnings, ..self }
    }

    #[must_use]
    pub const fn cells(self, cells: &'static [Cell]) -> Self {
        Self { cells, ..self }
    }

    /// Fields that selectors may name beyond those of every kind.
    #[must_use]
    pub const fn selectable(self, selectable: &'static [Selectable]) -> Self {
        Self { selectable, ..self }
    }
}

impl Plain {
    fn say(&self, new: &mut Value, cx: &Cx<'_>) {
        if let Some(judge) = self.judge {
            let said = judge(new, cx.reader);
            meta::object_mut(new, &["status"]).extend(said);
        }
    }
}

impl Strategy for Plain {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn prepare_create(&self, new: &mut Value, cx: &Cx<'_>) {
        let generation = self.shape.generation && self.is_counted_from_creation;
        (self.prepare)(new, cx);
        fresh(new, Shape { generation, ..self.shape });
        self.say(new, cx);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        let generation = self.shape.generation && self.counts_updates;
        (self.prepare)(new, cx);
        kept(new, old, Shape { generation, ..self.shape });
        if meta::generation(new) != meta::generation(old) {
            self.say(new, cx);
        }
    }

    fn status_carries_metadata(&self) -> bool {
        self.status_carries_metadata
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        if self.status_carries_metadata {
            status_and_metadata(new, old);
        } else {
            only_status(new, old);
        }
        (self.prepare_status)(new, old);
    }

    fn companions(
        &self,
        new: Option<&mut Value>,
        old: Option<&Value>,
        cx: &Cx<'_>,
    ) -> Result<Vec<Companion>, Vec<FieldError>> {
        let errors = new.map(|new| (self.permit)(new, old, cx)).unwrap_or_default();
        if errors.is_empty() { Ok(Vec::new()) } else { Err(errors) }
    }

    fn name_problems(&self, name: &str) -> Vec<String> {
        (self.name_problems)(name)
    }

    fn default(&self, object: &mut Value) {
        (self.default)(object);
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        (self.validate)(new, old)
    }

    fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        (self.validate_status)(new, old)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some() { Vec::new() } else { (self.warnings)(new) }
    }

    fn fields(&self, object: &Value) -> BTreeMap<String, String> {
        let field =
            |(name, path): &Selectable| ((*name).to_owned(), meta::text(object, path).to_owned());
        self.selectable.iter().map(field).collect()
    }

    fn columns(&self) -> Vec<Column> {
        table::columns(self.cells)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        table::row(self.cells, object, now)
    }
}
