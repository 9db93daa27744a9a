//! One expression of a policy, and what the expressions of a policy may name.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::cel::{Budget, Names, Program, Type, Val};

pub(super) const AUTHORIZER: &str = "authorizer";
pub(super) const REQUEST_RESOURCE: &str = "authorizer.requestResource";

/// An expression, or what is wrong with it.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) source: String,
    pub(super) program: Result<Program, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Bool,
    Text,
    Any,
    /// An object, made in place.
    Object,
    /// A list of `JSONPatch`.
    Patches,
}

impl Expression {
    pub(super) fn compile(source: &str, scope: &Scope, wanted: Wanted) -> Self {
        Self::typed(source, scope, wanted).0
    }

    fn typed(source: &str, scope: &Scope, wanted: Wanted) -> (Self, Type<'static>) {
        let source = source.trim().to_owned();
        let mut names = scope.names();
        if wanted == Wanted::Text {
            names.retain(|name, _| !name.starts_with(AUTHORIZER));
        }
        match wanted {
            Wanted::Object => drop(names.insert("Object", Type::Type)),
            Wanted::Patches => {
                names.insert("Object", Type::Type);
                names.insert("JSONPatch", Type::Type);
            }
            Wanted::Bool | Wanted::Text | Wanted::Any => {}
        }
        let mut found = Type::Dyn;
        let compiled = Program::compile(&source, &names).map(|(program, kind)| {
            found = kind.clone();
            (program, kind)
        });
        let program = match (compiled, wanted) {
            (Ok((program, _)), Wanted::Any)
            | (Ok((program, Type::Bool | Type::Dyn)), Wanted::Bool)
            | (Ok((program, Type::Text | Type::Dyn)), Wanted::Text)
            | (Ok((program, Type::Map(_) | Type::Dyn)), Wanted::Object)
            | (Ok((program, Type::List(_) | Type::Dyn)), Wanted::Patches) => Ok(program),
            (Ok(_), Wanted::Text) => Err("must evaluate to string".to_owned()),
            (Ok(_), Wanted::Object) => Err("must evaluate to Object".to_owned()),
            (Ok(_), Wanted::Patches) => Err("must evaluate to list(JSONPatch)".to_owned()),
            (Ok(_), _) => Err("must evaluate to bool".to_owned()),
            (Err(error), _) => Err(format!("compilation failed: {error}")),
        };
        (Self { source, program }, found)
    }

    pub(super) fn asks(&self) -> bool {
        self.program.as_ref().is_ok_and(|program| program.uses(AUTHORIZER))
    }

    pub(super) fn run<'a>(
        &'a self,
        names: &[(&'static str, Val<'a>)],
        budget: &mut Budget,
    ) -> Result<Val<'a>, String> {
        let outcome = match &self.program {
            Ok(program) => program.run(names, budget),
            Err(error) => Err(error.clone()),
        };
        outcome.map_err(|error| format!("expression '{}' resulted in error: {error}", self.source))
    }
}

/// What the expressions of a policy may name, which becomes more with each variable.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    has_params: bool,
    /// None where no variables can be.
    variables: Option<Rc<BTreeMap<String, Type<'static>>>>,
}

impl Scope {
    /// Of match conditions: without variables.
    pub(crate) fn plain(has_params: bool) -> Self {
        Self { has_params, variables: None }
    }

    /// Of all others.
    pub(super) fn with_variables(has_params: bool) -> Self {
        Self { has_params, variables: Some(Rc::default()) }
    }

    /// Compiles a variable, for the expressions after it to name.
    pub(super) fn define(&mut self, name: &str, source: &str) -> Expression {
        let (expression, kind) = Expression::typed(source, self, Wanted::Any);
        let variables = Rc::make_mut(self.variables.get_or_insert_default());
        variables.insert(name.to_owned(), kind);
        expression
    }

    fn names(&self) -> Names<'static> {
        let mut names = typed_names(&Type::Dyn, &Type::Dyn);
        if !self.has_params {
            names.remove("params");
        }
        if let Some(variables) = &self.variables {
            names.insert("variables", Type::Made(variables.clone()));
        }
        names
    }
}

/// The names that expressions may use, with what is known of them.
pub(super) fn typed_names<'a>(object: &Type<'a>, params: &Type<'a>) -> Names<'a> {
    [
        ("object", object.clone()),
        ("oldObject", object.clone()),
        ("request", request_type()),
        ("params", params.clone()),
        ("namespaceObject", namespace_type()),
        (AUTHORIZER, Type::Authorizer),
        (REQUEST_RESOURCE, Type::ResourceCheck),
    ]
    .into()
}

fn made<'a>(fields: &[(&str, Type<'a>)]) -> Type<'a> {
    let fields = fields.iter().map(|(name, kind)| ((*name).to_owned(), kind.clone()));
    Type::Made(Rc::new(fields.collect()))
}

/// An AdmissionRequest. Its options are those of any write.
fn request_type<'a>() -> Type<'a> {
    let texts = || Type::List(Box::new(Type::Text));
    let kind = |name| made(&[("group", Type::Text), ("version", Type::Text), (name, Type::Text)]);
    let user = made(&[
        ("username", Type::Text),
        ("uid", Type::Text),
        ("groups", texts()),
        ("extra", Type::Map(Box::new(texts()))),
    ]);
    made(&[
        ("kind", kind("kind")),
        ("resource", kind("resource")),
        ("subResource", Type::Text),
        ("requestKind", kind("kind")),
        ("requestResource", kind("resource")),
        ("requestSubResource", Type::Text),
        ("name", Type::Text),
        ("namespace", Type::Text),
        ("operation", Type::Text),
        ("userInfo", user),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ])
}

/// What is shown of a namespace. Times are known when it is looked at.
fn namespace_type<'a>() -> Type<'a> {
    let texts = || Type::List(Box::new(Type::Text));
    let map = || Type::Map(Box::new(Type::Text));
    let metadata = made(&[
        ("name", Type::Text),
        ("generateName", Type::Text),
        ("namespace", Type::Text),
        ("labels", map()),
        ("annotations", map()),
        ("UID", Type::Text),
        ("creationTimestamp", Type::Dyn),
        ("deletionGracePeriodSeconds", Type::Int),
        ("deletionTimestamp", Type::Dyn),
        ("generation", Type::Int),
        ("resourceVersion", Type::Text),
        ("finalizers", texts()),
    ]);
    made(&[
        ("metadata", metadata),
        ("spec", made(&[("finalizers", texts())])),
        ("status", made(&[("phase", Type::Text)])),
    ])
}
