//! Evaluates a checked expression, within a budget.
//!
//! # Invariants
//! - Every node, every item of a loop and every stretch of a text costs; a spent budget is an error.
//! - `&&` and `||` are decided by whichever side decides them: an error on the other side does not count.

use std::rc::Rc;

use super::ast::{Binary, Expr, Field, Literal, Macro, Node};
use super::check::TYPE_NAMES;
use super::functions;
use super::is_qualified;
use super::signatures;
use super::types::unescape;
use super::value::Val;

/// Steps that are left.
#[derive(Clone, Debug)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// A budget of so many steps.
    pub fn new(steps: u64) -> Self {
        Self { left: steps }
    }

    /// What is left.
    pub fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn spend(&mut self, steps: usize) -> Result<(), String> {
        match self.left.checked_sub(steps as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err("operation cancelled: actual cost limit exceeded".to_owned())
            }
        }
    }
}

/// How much text is read in one step.
pub(super) const TEXT_A_STEP: usize = 10;

struct Eval<'b, 'a> {
    names: Vec<(String, Val<'a>)>,
    budget: &'b mut Budget,
}

type Valued<'a> = Result<Val<'a>, String>;

/// Evaluates with values for names.
pub(super) fn run<'a>(
    root: &'a Node,
    names: &[(&'static str, Val<'a>)],
    budget: &mut Budget,
) -> Valued<'a> {
    let names = names.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Eval { names, budget }.node(root)
}

impl<'a> Eval<'_, 'a> {
    fn node(&mut self, node: &'a Node) -> Valued<'a> {
        self.budget.spend(1)?;
        match &node.expr {
            Expr::Literal(literal) => Ok(of_literal(literal)),
            Expr::Name(name) => self.name(name),
            Expr::Field { of, name, is_optional } => {
                if let Some(value) = self.qualified(of, name) {
                    return Ok(value);
                }
                let of = self.node(of)?;
                select(&of, name, *is_optional)
            }
            Expr::Has { of, name } => {
                let of = self.node(of)?;
                Ok(Val::Bool(find(&of, name).is_some_and(|value| !matches!(value, Val::Null))))
            }
            Expr::Index { of, at, is_optional } => {
                let (of, at) = (self.node(of)?, self.node(at)?);
                index(&of, &at, *is_optional)
            }
            Expr::Call { name, target, arguments } => self.call(name, target.as_deref(), arguments),
            Expr::List(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.node(item)).collect();
                Ok(Val::list(items?))
            }
            Expr::Map(pairs) => {
                let pair =
                    |(key, value): &'a (Node, Node)| Ok((self.node(key)?, self.node(value)?));
                let pairs: Result<Vec<_>, String> = pairs.iter().map(pair).collect();
                Ok(Val::Map(Rc::new(pairs?)))
            }
            Expr::Message { fields, .. } => self.made(fields),
            Expr::Not(of) => Ok(Val::Bool(!self.truth(of)?)),
            Expr::Negative(of) => match self.node(of)? {
                Val::Int(number) => number.checked_neg().map(Val::Int).ok_or_else(overflow),
                Val::Double(number) => Ok(Val::Double(-number)),
                other => Err(no_overload("-_", &[other])),
            },
            Expr::Binary(operator, left, right) => {
                let (left, right) = (self.node(left)?, self.node(right)?);
                self.binary(*operator, &left, &right)
            }
            Expr::And(left, right) => self.decided(left, right, false),
            Expr::Or(left, right) => self.decided(left, right, true),
            Expr::Choice(condition, yes, no) => {
                let taken = if self.truth(condition)? { yes } else { no };
                self.node(taken)
            }
            Expr::Loop { kind, range, variables, condition, result } => {
                let range = self.node(range)?;
                let body = (condition.as_deref(), result.as_deref());
                self.looped(*kind, &range, variables, body)
            }
            Expr::OptionalMap { of, variable, result, is_flat } => {
                let Val::Optional(held) = self.node(of)? else {
                    return Err("no such overload".to_owned());
                };
                let Some(held) = held else { return Ok(Val::Optional(None)) };
                self.names.push((variable.clone(), (*held).clone()));
                let value = self.node(result);
                self.names.pop();
                Ok(if *is_flat { value? } else { Val::some(value?) })
            }
        }
    }

    /// An object of some fields.
    fn made(&mut self, fields: &'a [Field]) -> Valued<'a> {
        let mut made = Vec::new();
        for field in fields {
            let value = match (self.node(&field.value)?, field.is_optional) {
                (Val::Optional(None), true) => continue,
                (Val::Optional(Some(held)), true) => (*held).clone(),
                (value, _) => value,
            };
            made.push((Val::text(unescape(&field.name)), value));
        }
        Ok(Val::Map(Rc::new(made)))
    }

    fn name(&self, name: &str) -> Valued<'a> {
        let found = self.names.iter().rev().find(|(known, _)| known == name);
        if let Some((_, value)) = found {
            return Ok(value.clone());
        }
        let kind = TYPE_NAMES.into_iter().find(|known| *known == name);
        kind.map(Val::Type).ok_or_else(|| format!("no such attribute: {name}"))
    }

    /// A name of two words, unless something nearer has the first.
    fn qualified(&self, of: &Node, name: &str) -> Option<Val<'a>> {
        let Expr::Name(first) = &of.expr else { return None };
        let nearest = self
            .names
            .iter()
            .rev()
            .find(|(known, _)| known == first || is_qualified(known, first, name));
        let (_, value) = nearest.filter(|(known, _)| known != first)?;
        Some(value.clone())
    }

    fn truth(&mut self, node: &'a Node) -> Result<bool, String> {
        match self.node(node)? {
            Val::Bool(is_so) => Ok(is_so),
            other => Err(no_overload("_?_:_", &[other])),
        }
    }

    /// `&&` is decided by a false side, `||` by a true one.
    fn decided(&mut self, left: &'a Node, right: &'a Node, by: bool) -> Valued<'a> {
        let left = self.truth(left);
        if left == Ok(by) {
            return Ok(Val::Bool(by));
        }
        // What a spent budget says is no answer.
        if self.budget.left() == 0 {
            return left.map(Val::Bool);
        }
        match (left, self.truth(right)) {
            (_, Ok(right)) if right == by => Ok(Val::Bool(by)),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(_), Ok(right)) => Ok(Val::Bool(right)),
        }
    }

    fn call(&mut self, name: &str, target: Option<&'a Node>, arguments: &'a [Node]) -> Valued<'a> {
        if let Some(Node { expr: Expr::Name(family), .. }) = target
            && !self.names.iter().any(|(known, _)| known == family)
            && signatures::is_known(&format!("{family}.{name}"))
        {
            return self.call(&format!("{family}.{name}"), None, arguments);
        }
        // An absent value's substitute is looked at only where it is needed.
        if let (Some(target), "orValue" | "or", [other]) = (target, name, arguments) {
            return match (self.node(target)?, name) {
                (Val::Optional(Some(held)), "orValue") => Ok((*held).clone()),
                (present @ Val::Optional(Some(_)), _) => Ok(present),
                (Val::Optional(None), _) => self.node(other),
                (other, _) => Err(no_overload(name, &[other])),
            };
        }
        let mut values = Vec::new();
        for node in target.into_iter().chain(arguments) {
            let value = self.node(node)?;
            if let Val::Text(text) = &value {
                self.budget.spend(text.len() / TEXT_A_STEP)?;
            }
            values.push(value);
        }
        functions::call(name, &values, self.budget)
    }

    fn binary(&mut self, operator: Binary, left: &Val<'a>, right: &Val<'a>) -> Valued<'a> {
        let cost = |value: &Val<'_>| match value {
            Val::Text(text) => text.len() / TEXT_A_STEP,
            other => other.size().unwrap_or(0),
        };
        self.budget.spend(cost(left).max(cost(right)))?;
        let ordered = |fits: fn(std::cmp::Ordering) -> bool| match left.compare(right) {
            Some(order) => Ok(Val::Bool(fits(order))),
            None => Err(no_overload(operator.name(), &[left.clone(), right.clone()])),
        };
        match operator {
            Binary::Equal => Ok(Val::Bool(left.equals(right))),
            Binary::Unequal => Ok(Val::Bool(!left.equals(right))),
            Binary::Less => ordered(std::cmp::Ordering::is_lt),
            Binary::LessOrEqual => ordered(std::cmp::Ordering::is_le),
            Binary::Greater => ordered(std::cmp::Ordering::is_gt),
            Binary::GreaterOrEqual => ordered(std::cmp::Ordering::is_ge),
            Binary::In => match right {
                Val::List(_) | Val::Joined(..) | Val::JsonList(..) => {
                    let items = right.items().unwrap_or_default();
                    Ok(Val::Bool(items.iter().any(|item| item.equals(left))))
                }
                Val::Map(_) | Val::JsonMap(..) => Ok(Val::Bool(right.get(left).is_some())),
                _ => Err(no_overload("@in", &[left.clone(), right.clone()])),
            },
            Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Modulo => {
                functions::arithmetic(operator, left, right)
            }
        }
    }

    fn looped(
        &mut self,
        kind: Macro,
        range: &Val<'a>,
        variables: &'a [String],
        (condition, result): (Option<&'a Node>, Option<&'a Node>),
    ) -> Valued<'a> {
        let is_map = matches!(range, Val::Map(_) | Val::JsonMap(..));
        let pairs: Vec<(Val<'a>, Val<'a>)> = if is_map {
            range.entries().unwrap_or_default()
        } else {
            let items =
                range.items().ok_or_else(|| no_overload("loop", std::slice::from_ref(range)))?;
            items.into_iter().enumerate().map(|(at, item)| (Val::count(at), item)).collect()
        };
        self.budget.spend(pairs.len())?;
        let bound = self.names.len();
        let outcome = self.each(kind, pairs, is_map, variables, (condition, result));
        self.names.truncate(bound);
        outcome
    }

    fn each(
        &mut self,
        kind: Macro,
        pairs: Vec<(Val<'a>, Val<'a>)>,
        is_map: bool,
        variables: &'a [String],
        (condition, result): (Option<&'a Node>, Option<&'a Node>),
    ) -> Valued<'a> {
        let bound = self.names.len();
        let mut kept = Vec::new();
        let mut count = 0_usize;
        let mut failed = None;
        for (key, value) in pairs {
            self.names.truncate(bound);
            let item = if is_map { key.clone() } else { value.clone() };
            match variables {
                [one] => self.names.push((one.clone(), item.clone())),
                [first, second, ..] => {
                    self.names.push((first.clone(), key));
                    self.names.push((second.clone(), value));
                }
                [] => {}
            }
            let holds = match condition.map(|condition| self.truth(condition)) {
                None => true,
                Some(Ok(holds)) => holds,
                // As with `&&` and `||`: another item may decide.
                Some(Err(error))
                    if matches!(kind, Macro::All | Macro::Exists) && self.budget.left() > 0 =>
                {
                    failed = Some(error);
                    continue;
                }
                Some(Err(error)) => return Err(error),
            };
            match kind {
                Macro::All if !holds => return Ok(Val::Bool(false)),
                Macro::Exists if holds => return Ok(Val::Bool(true)),
                Macro::ExistsOne => count += usize::from(holds),
                Macro::Filter if holds => kept.push(item),
                Macro::Map if holds => {
                    if let Some(result) = result {
                        kept.push(self.node(result)?);
                    }
                }
                _ => {}
            }
        }
        match (kind, failed) {
            (_, Some(error)) => Err(error),
            (Macro::All, None) => Ok(Val::Bool(true)),
            (Macro::Exists, None) => Ok(Val::Bool(false)),
            (Macro::ExistsOne, None) => Ok(Val::Bool(count == 1)),
            (Macro::Map | Macro::Filter, None) => Ok(Val::list(kept)),
        }
    }
}

fn of_literal<'a>(literal: &'a Literal) -> Val<'a> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(is_so) => Val::Bool(*is_so),
        Literal::Int(number) => Val::Int(*number),
        Literal::Uint(number) => Val::Uint(*number),
        Literal::Double(number) => Val::Double(*number),
        Literal::Text(text) => Val::Text(text.as_str().into()),
        Literal::Bytes(bytes) => Val::Bytes(Rc::new(bytes.clone())),
    }
}

/// A field of an object by its escaped name, or an entry of a map by its plain one.
fn find<'a>(of: &Val<'a>, name: &str) -> Option<Val<'a>> {
    match of {
        Val::Optional(held) => find(held.as_deref()?, name),
        Val::JsonMap(_, Some(schema)) if !schema.properties.is_empty() || schema.embedded => {
            of.get(&Val::text(unescape(name)))
        }
        other => other.get(&Val::text(name)),
    }
}

fn select<'a>(of: &Val<'a>, name: &str, is_optional: bool) -> Valued<'a> {
    let found = find(of, name);
    if is_optional || matches!(of, Val::Optional(_)) {
        return Ok(Val::Optional(found.map(Rc::new)));
    }
    match found {
        Some(value) => Ok(value),
        None if matches!(of, Val::JsonMap(..) | Val::Map(_)) => Err(format!("no such key: {name}")),
        None => Err(no_overload(name, std::slice::from_ref(of))),
    }
}

fn index<'a>(of: &Val<'a>, at: &Val<'a>, is_optional: bool) -> Valued<'a> {
    let (held, is_maybe) = match of {
        Val::Optional(None) => return Ok(Val::Optional(None)),
        Val::Optional(Some(held)) => (&**held, true),
        other => (other, is_optional),
    };
    let is_list = matches!(held, Val::List(_) | Val::Joined(..) | Val::JsonList(..));
    let found = match at {
        Val::Int(place) if is_list => held.at(*place),
        Val::Uint(place) if is_list => i64::try_from(*place).ok().and_then(|at| held.at(at)),
        Val::Double(place) if is_list && place.fract() == 0.0 => held.at(*place as i64),
        _ if is_list => return Err(no_overload("_[_]", &[held.clone(), at.clone()])),
        key => held.get(key),
    };
    if is_maybe {
        return Ok(Val::Optional(found.map(Rc::new)));
    }
    found.ok_or_else(|| match at {
        Val::Int(place) if is_list => format!("index out of bounds: {place}"),
        Val::Text(key) => format!("no such key: {key}"),
        other => format!("no such key: {other:?}"),
    })
}

pub(super) fn overflow() -> String {
    "integer overflow".to_owned()
}

pub(super) fn no_overload(name: &str, values: &[Val<'_>]) -> String {
    let types: Vec<&str> = values.iter().map(Val::type_name).collect();
    format!("no such overload: {name}({})", types.join(", "))
}
