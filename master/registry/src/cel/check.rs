//! Types of expressions, before they are ever evaluated: a misspelt field is found where it is written.
//!
//! What is wrong may be of any type to what is around it, so that all that is wrong is found at once.

use std::collections::BTreeMap;

use super::ast::{Binary, Expr, Field, Literal, Macro, Node};
use super::signatures::{self, Found};
use super::types::Type;
use super::{Names, Problem, is_qualified};

/// Names with their types, the innermost last.
struct Scope<'s, 'a> {
    outer: &'s Names<'a>,
    bound: Vec<(String, Type<'a>)>,
    problems: Vec<Problem>,
    /// Types by the address of their node.
    kinds: BTreeMap<usize, Type<'a>>,
}

type Checked<'a> = Result<Type<'a>, Problem>;

/// The type of an expression over some names.
///
/// # Errors
/// All that is wrong, by place.
pub(super) fn check<'a>(root: &Node, names: &Names<'a>) -> Result<Type<'a>, Vec<Problem>> {
    let mut scope = Scope::of(names);
    let kind = scope.node(root);
    if scope.problems.is_empty() {
        return Ok(kind);
    }
    scope.problems.sort_by_key(|problem| problem.at);
    Err(scope.problems)
}

/// The types of an expression's nodes, by their address; what is wrong is of any type.
pub(super) fn kinds<'a>(root: &Node, names: &Names<'a>) -> BTreeMap<usize, Type<'a>> {
    let mut scope = Scope::of(names);
    scope.node(root);
    scope.kinds
}

/// Types are values, too: `type(x) == string`.
pub(super) const TYPE_NAMES: [&str; 10] =
    ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"];

/// Those of a `JSONPatch`.
const PATCH_FIELDS: [&str; 4] = ["op", "path", "from", "value"];

fn overload<'a>(at: usize, name: &str, target: bool, arguments: &[Type<'a>]) -> Problem {
    let shown =
        |types: &[Type<'a>]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let call = match (target, arguments) {
        (true, [first, rest @ ..]) => format!("{first}.({})", shown(rest)),
        (_, all) => format!("({})", shown(all)),
    };
    Problem::new(at, format!("found no matching overload for '{name}' applied to '{call}'"))
}

impl<'s, 'a> Scope<'s, 'a> {
    fn of(outer: &'s Names<'a>) -> Self {
        Self { outer, bound: Vec::new(), problems: Vec::new(), kinds: BTreeMap::new() }
    }

    fn node(&mut self, node: &Node) -> Type<'a> {
        let kind = self.checked(node).unwrap_or_else(|problem| {
            self.problems.push(problem);
            Type::Dyn
        });
        self.kinds.insert(std::ptr::from_ref(node).addr(), kind.clone());
        kind
    }

    #[expect(clippy::too_many_lines, reason = "a flat match over the kinds of expressions")]
    fn checked(&mut self, node: &Node) -> Checked<'a> {
        let at = node.at;
        match &node.expr {
            Expr::Literal(literal) => Ok(of_literal(literal)),
            Expr::Name(name) => self.name(at, name),
            Expr::Field { of, name, is_optional } => {
                if let Some(kind) = self.qualified(of, name) {
                    return Ok(kind);
                }
                let of = self.node(of);
                let found = field(at, &of, name)?;
                Ok(if *is_optional { maybe(found) } else { found })
            }
            Expr::Has { of, name } => {
                let of = self.node(of);
                field(at, &of, name)?;
                Ok(Type::Bool)
            }
            Expr::Index { of, at: place, is_optional } => {
                let found = self.index(at, of, place)?;
                Ok(if *is_optional { maybe(found) } else { found })
            }
            Expr::Call { name, target, arguments } => {
                self.call(at, name, target.as_deref(), arguments)
            }
            Expr::List(items) => {
                let mut of = None;
                for item in items {
                    let item = self.node(item);
                    of = Some(match of {
                        Some(of) => item.join(of),
                        None => item,
                    });
                }
                Ok(Type::list(of.unwrap_or_default()))
            }
            Expr::Map(pairs) => {
                let mut of = None;
                for (key, value) in pairs {
                    self.node(key);
                    let value = self.node(value);
                    of = Some(match of {
                        Some(of) => value.join(of),
                        None => value,
                    });
                }
                Ok(Type::Map(Box::new(of.unwrap_or_default())))
            }
            Expr::Message { name, fields } => {
                let root = name.split('.').next().unwrap_or_default();
                if !self.outer.contains_key(root) {
                    let message = format!("undeclared reference to '{name}' (in container '')");
                    return Err(Problem::new(at, message));
                }
                for Field { name: field, is_optional, value } in fields {
                    if root == "JSONPatch" && !PATCH_FIELDS.contains(&field.as_str()) {
                        return Err(Problem::new(value.at, format!("undefined field '{field}'")));
                    }
                    let kind = self.node(value);
                    if *is_optional && !matches!(kind, Type::Optional(_) | Type::Dyn) {
                        return Err(overload(value.at, "optional field", false, &[kind]));
                    }
                }
                Ok(Type::Map(Box::new(Type::Dyn)))
            }
            Expr::Not(of) => self.demand(at, "!_", of, Type::Bool),
            Expr::Negative(of) => {
                let of = self.node(of);
                match of {
                    Type::Int | Type::Double | Type::Dyn => Ok(of),
                    of => Err(overload(at, "-_", false, &[of])),
                }
            }
            Expr::Binary(operator, left, right) => {
                let (left, right) = (self.node(left), self.node(right));
                binary(at, *operator, left, right)
            }
            Expr::And(left, right) => self.both(at, "_&&_", left, right),
            Expr::Or(left, right) => self.both(at, "_||_", left, right),
            Expr::Choice(condition, yes, no) => {
                self.demand(at, "_?_:_", condition, Type::Bool)?;
                let (yes, no) = (self.node(yes), self.node(no));
                if !yes.fits(&no) {
                    return Err(overload(at, "_?_:_", false, &[Type::Bool, yes, no]));
                }
                Ok(yes.join(no))
            }
            Expr::Loop { kind, range, variables, condition, result } => {
                self.looped(at, *kind, range, variables, (condition.as_deref(), result.as_deref()))
            }
            Expr::OptionalMap { of, variable, result, is_flat } => {
                let held = match self.node(of) {
                    Type::Optional(held) => *held,
                    Type::Dyn => Type::Dyn,
                    other => return Err(overload(at, "optMap", true, &[other])),
                };
                self.bound.push((variable.clone(), held));
                let result = self.node(result);
                self.bound.pop();
                Ok(if *is_flat { result } else { maybe(result) })
            }
        }
    }

    fn name(&self, at: usize, name: &str) -> Checked<'a> {
        if let Some((_, kind)) = self.bound.iter().rev().find(|(bound, _)| bound == name) {
            return Ok(kind.clone());
        }
        if let Some(kind) = self.outer.get(name) {
            return Ok(kind.clone());
        }
        if TYPE_NAMES.contains(&name) {
            return Ok(Type::Type);
        }
        Err(Problem::new(at, format!("undeclared reference to '{name}' (in container '')")))
    }

    /// A name of two words.
    fn qualified(&self, of: &Node, name: &str) -> Option<Type<'a>> {
        let Expr::Name(first) = &of.expr else { return None };
        let is_hidden = self.bound.iter().any(|(bound, _)| bound == first);
        let mut known = self.outer.iter().filter(|_| !is_hidden);
        let found = known.find(|(known, _)| is_qualified(known, first, name));
        found.map(|(_, kind)| kind.clone())
    }

    fn is_bound(&self, name: &str) -> bool {
        self.bound.iter().any(|(bound, _)| bound == name) || self.outer.contains_key(name)
    }

    fn index(&mut self, at: usize, of: &Node, place: &Node) -> Checked<'a> {
        let (of, place) = (self.node(of), self.node(place));
        let of_held = match &of {
            Type::Optional(held) => (**held).clone(),
            _ => of.clone(),
        };
        let is_number = matches!(place, Type::Int | Type::Uint | Type::Double | Type::Dyn);
        match of_held {
            Type::Dyn => Ok(Type::Dyn),
            Type::List(item) if is_number => Ok(*item),
            Type::Map(value) if place.fits(&Type::Text) => Ok(*value),
            ref object if object.has_fields() && place.fits(&Type::Text) => Ok(Type::Dyn),
            _ => Err(overload(at, "_[_]", false, &[of, place])),
        }
    }

    fn call(
        &mut self,
        at: usize,
        name: &str,
        target: Option<&Node>,
        arguments: &[Node],
    ) -> Checked<'a> {
        // `sets.contains(…)` is a function of a family, not a method.
        if let Some(Node { expr: Expr::Name(family), .. }) = target
            && !self.is_bound(family)
            && signatures::is_known(&format!("{family}.{name}"))
        {
            return self.call(at, &format!("{family}.{name}"), None, arguments);
        }
        let mut types = Vec::new();
        if let Some(target) = target {
            types.push(self.node(target));
        }
        for argument in arguments {
            types.push(self.node(argument));
        }
        match signatures::find(name, target.is_some(), &types) {
            Found::Gives(kind) => Ok(kind),
            Found::Otherwise => Err(overload(at, name, target.is_some(), &types)),
            Found::Unknown => {
                let message = format!("undeclared reference to '{name}' (in container '')");
                Err(Problem::new(at, message))
            }
        }
    }

    fn demand(&mut self, at: usize, name: &str, node: &Node, wanted: Type<'a>) -> Checked<'a> {
        let found = self.node(node);
        if found.fits(&wanted) { Ok(wanted) } else { Err(overload(at, name, false, &[found])) }
    }

    fn both(&mut self, at: usize, name: &str, left: &Node, right: &Node) -> Checked<'a> {
        let (left, right) = (self.node(left), self.node(right));
        if left.fits(&Type::Bool) && right.fits(&Type::Bool) {
            return Ok(Type::Bool);
        }
        Err(overload(at, name, false, &[left, right]))
    }

    fn looped(
        &mut self,
        at: usize,
        kind: Macro,
        range: &Node,
        variables: &[String],
        (condition, result): (Option<&Node>, Option<&Node>),
    ) -> Checked<'a> {
        let range_at = range.at;
        let range = self.node(range);
        let types = match (&range, variables.len()) {
            (Type::List(item), 1) => vec![(**item).clone()],
            (Type::List(item), _) => vec![Type::Int, (**item).clone()],
            (Type::Map(_), 1) => vec![Type::Text],
            (object, 1) if object.has_fields() => vec![Type::Text],
            (Type::Map(value), _) => vec![Type::Text, (**value).clone()],
            (object, _) if object.has_fields() => vec![Type::Text, Type::Dyn],
            (Type::Dyn, count) => vec![Type::Dyn; count],
            (other, _) => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                return Err(Problem::new(range_at, message));
            }
        };
        let bound = self.bound.len();
        self.bound.extend(variables.iter().cloned().zip(types));
        let checked = self.body(at, kind, condition, result, range);
        self.bound.truncate(bound);
        checked
    }

    fn body(
        &mut self,
        at: usize,
        kind: Macro,
        condition: Option<&Node>,
        result: Option<&Node>,
        range: Type<'a>,
    ) -> Checked<'a> {
        if let Some(condition) = condition {
            self.demand(at, "_?_:_", condition, Type::Bool)?;
        }
        let result = result.map(|result| self.node(result));
        Ok(match kind {
            Macro::All | Macro::Exists | Macro::ExistsOne => Type::Bool,
            Macro::Map => Type::list(result.unwrap_or_default()),
            Macro::Filter => match range {
                list @ Type::List(_) => list,
                Type::Dyn => Type::list(Type::Dyn),
                _ => Type::list(Type::Text),
            },
        })
    }
}

fn maybe(of: Type<'_>) -> Type<'_> {
    match of {
        Type::Optional(_) => of,
        of => Type::Optional(Box::new(of)),
    }
}

fn of_literal<'a>(literal: &Literal) -> Type<'a> {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::Text(_) => Type::Text,
        Literal::Bytes(_) => Type::Bytes,
    }
}

fn field<'a>(at: usize, of: &Type<'a>, name: &str) -> Checked<'a> {
    match of.field(name) {
        Some(found) => Ok(found),
        None if of.has_fields() || matches!(of, Type::Optional(_)) => {
            Err(Problem::new(at, format!("undefined field '{name}'")))
        }
        None => Err(Problem::new(at, format!("type '{of}' does not support field selection"))),
    }
}

fn binary<'a>(at: usize, operator: Binary, left: Type<'a>, right: Type<'a>) -> Checked<'a> {
    let is_number = |kind: &Type<'_>| matches!(kind, Type::Int | Type::Uint | Type::Double);
    let refused = |left, right| Err(overload(at, operator.name(), false, &[left, right]));
    match operator {
        Binary::Equal | Binary::Unequal => {
            // Only expressions of unknown type may compare numbers of different kinds.
            if left.fits(&right) { Ok(Type::Bool) } else { refused(left, right) }
        }
        Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
            let comparable = |kind: &Type<'_>| {
                is_number(kind)
                    || matches!(
                        kind,
                        Type::Bool
                            | Type::Text
                            | Type::Bytes
                            | Type::Duration
                            | Type::Timestamp
                            | Type::Dyn
                    )
            };
            let numbers = is_number(&left) && is_number(&right);
            let same = left.fits(&right) && comparable(&left) && comparable(&right);
            if numbers || same { Ok(Type::Bool) } else { refused(left, right) }
        }
        Binary::In => match &right {
            Type::List(item) if left.fits(item) => Ok(Type::Bool),
            Type::Map(_) if left.fits(&Type::Text) => Ok(Type::Bool),
            object if object.has_fields() && left.fits(&Type::Text) => Ok(Type::Bool),
            Type::Dyn => Ok(Type::Bool),
            _ => refused(left, right),
        },
        Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Modulo => {
            if is_open(&left) || is_open(&right) {
                let known = if is_open(&left) { right } else { left };
                return Ok(if is_number(&known) { known } else { Type::Dyn });
            }
            match sum(operator, &left, &right) {
                Some(kind) => Ok(kind),
                None => refused(left, right),
            }
        }
    }
}

/// The type of an arithmetic expression of known types.
fn sum<'a>(operator: Binary, left: &Type<'a>, right: &Type<'a>) -> Option<Type<'a>> {
    use Type::{Bytes, Double, Duration, Int, List, Text, Timestamp, Uint};
    Some(match (operator, left, right) {
        (Binary::Modulo, Double, Double) => return None,
        (_, Int, Int) => Int,
        (_, Uint, Uint) => Uint,
        (_, Double, Double) => Double,
        (Binary::Add, Text, Text) => Text,
        (Binary::Add, Bytes, Bytes) => Bytes,
        (Binary::Add, List(item), List(other))
            if item.fits(other)
                && (item.has_fields() == other.has_fields() || is_open(item) || is_open(other)) =>
        {
            left.clone().join(right.clone())
        }
        (Binary::Add | Binary::Subtract, Duration, Duration)
        | (Binary::Subtract, Timestamp, Timestamp) => Duration,
        (Binary::Add | Binary::Subtract, Timestamp, Duration)
        | (Binary::Add, Duration, Timestamp) => Timestamp,
        _ => return None,
    })
}

/// Whether a type is known only when it is evaluated.
fn is_open(of: &Type<'_>) -> bool {
    matches!(of, Type::Dyn)
}
