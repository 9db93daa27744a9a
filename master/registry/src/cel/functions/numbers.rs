//! Arithmetic, conversions of numbers, and Kubernetes' quantities.

use jiff::{SignedDuration, Timestamp};
use master_api::quantity::Quantity;

use super::Answer;
use crate::cel::ast::Binary;
use crate::cel::eval::{no_overload, overflow};
use crate::cel::value::Val;

/// `+`, `-`, `*`, `/`, `%`.
pub(in crate::cel) fn arithmetic<'a>(
    operator: Binary,
    left: &Val<'a>,
    right: &Val<'a>,
) -> Result<Val<'a>, String> {
    let by_zero =
        || if operator == Binary::Modulo { "modulus by zero" } else { "division by zero" };
    match (left, right) {
        (Val::Int(left), Val::Int(right)) => {
            let result = match operator {
                Binary::Add => left.checked_add(*right),
                Binary::Subtract => left.checked_sub(*right),
                Binary::Multiply => left.checked_mul(*right),
                _ if *right == 0 => return Err(by_zero().to_owned()),
                Binary::Divide => left.checked_div(*right),
                _ => left.checked_rem(*right),
            };
            result.map(Val::Int).ok_or_else(overflow)
        }
        (Val::Uint(left), Val::Uint(right)) => {
            let result = match operator {
                Binary::Add => left.checked_add(*right),
                Binary::Subtract => left.checked_sub(*right),
                Binary::Multiply => left.checked_mul(*right),
                _ if *right == 0 => return Err(by_zero().to_owned()),
                Binary::Divide => left.checked_div(*right),
                _ => left.checked_rem(*right),
            };
            result.map(Val::Uint).ok_or_else(overflow)
        }
        (Val::Double(left), Val::Double(right)) => match operator {
            Binary::Add => Ok(Val::Double(left + right)),
            Binary::Subtract => Ok(Val::Double(left - right)),
            Binary::Multiply => Ok(Val::Double(left * right)),
            Binary::Divide => Ok(Val::Double(left / right)),
            _ => Err(no_overload("_%_", &[Val::Double(*left), Val::Double(*right)])),
        },
        _ => joined(operator, left, right),
    }
}

/// Sums of what is no number.
fn joined<'a>(operator: Binary, left: &Val<'a>, right: &Val<'a>) -> Result<Val<'a>, String> {
    let moved = |at: &Timestamp, ns: i64| {
        at.checked_add(SignedDuration::from_nanos(ns)).map(Val::Timestamp).map_err(|_| overflow())
    };
    match (operator, left, right) {
        (Binary::Add, Val::Text(left), Val::Text(right)) => Ok(Val::text(format!("{left}{right}"))),
        (Binary::Add, Val::Bytes(left), Val::Bytes(right)) => {
            Ok(Val::Bytes(std::rc::Rc::new([left.as_slice(), right.as_slice()].concat())))
        }
        (Binary::Add, Val::Duration(left), Val::Duration(right)) => {
            left.checked_add(*right).map(Val::Duration).ok_or_else(overflow)
        }
        (Binary::Subtract, Val::Duration(left), Val::Duration(right)) => {
            left.checked_sub(*right).map(Val::Duration).ok_or_else(overflow)
        }
        (Binary::Add, Val::Timestamp(at), Val::Duration(ns))
        | (Binary::Add, Val::Duration(ns), Val::Timestamp(at)) => moved(at, *ns),
        (Binary::Subtract, Val::Timestamp(at), Val::Duration(ns)) => {
            moved(at, ns.checked_neg().ok_or_else(overflow)?)
        }
        (Binary::Subtract, Val::Timestamp(left), Val::Timestamp(right)) => {
            let ns = left.duration_since(*right).as_nanos();
            i64::try_from(ns).map(Val::Duration).map_err(|_| overflow())
        }
        _ => match (operator, super::added(left, right)) {
            (Binary::Add, Some(sum)) => Ok(sum),
            _ => Err(no_overload(operator.name(), &[left.clone(), right.clone()])),
        },
    }
}

pub(super) fn call<'a>(name: &str, values: &[Val<'a>]) -> Answer<'a> {
    match (name, values) {
        ("int", [of]) => Some(integer(of)),
        ("uint", [of]) => Some(unsigned(of)),
        ("double", [of]) => Some(double(of)),
        ("quantity", [Val::Text(text)]) => {
            Some(Quantity::parse(text).map(Val::Quantity).map_err(|error| error.to_string()))
        }
        ("isQuantity", [Val::Text(text)]) => Some(Ok(Val::Bool(Quantity::parse(text).is_ok()))),
        (_, [Val::Quantity(amount), rest @ ..]) => quantity(name, *amount, rest),
        _ => None,
    }
}

fn conversion(from: &Val<'_>, to: &str) -> String {
    format!("type conversion error from '{}' to '{to}'", from.type_name())
}

fn integer<'a>(of: &Val<'a>) -> Result<Val<'a>, String> {
    let found = match of {
        Val::Int(number) => Some(*number),
        Val::Uint(number) => return i64::try_from(*number).map(Val::Int).map_err(|_| overflow()),
        Val::Double(number) if number.abs() < 9.2e18 => Some(*number as i64),
        Val::Double(_) => return Err(overflow()),
        Val::Text(text) => text.parse().ok(),
        Val::Timestamp(at) => Some(at.as_second()),
        _ => None,
    };
    found.map(Val::Int).ok_or_else(|| conversion(of, "int"))
}

fn unsigned<'a>(of: &Val<'a>) -> Result<Val<'a>, String> {
    let found = match of {
        Val::Uint(number) => Some(*number),
        Val::Int(number) => return u64::try_from(*number).map(Val::Uint).map_err(|_| overflow()),
        Val::Double(number) if (0.0..1.8e19).contains(number) => Some(*number as u64),
        Val::Double(_) => return Err(overflow()),
        Val::Text(text) => text.parse().ok(),
        _ => None,
    };
    found.map(Val::Uint).ok_or_else(|| conversion(of, "uint"))
}

fn double<'a>(of: &Val<'a>) -> Result<Val<'a>, String> {
    let found = match of {
        Val::Double(number) => Some(*number),
        Val::Int(number) => Some(*number as f64),
        Val::Uint(number) => Some(*number as f64),
        Val::Text(text) => text.parse().ok(),
        _ => None,
    };
    found.map(Val::Double).ok_or_else(|| conversion(of, "double"))
}

fn quantity<'a>(name: &str, amount: Quantity, rest: &[Val<'a>]) -> Answer<'a> {
    let other = match rest {
        [Val::Quantity(other)] => Some(*other),
        [Val::Int(units)] => Some(Quantity::from_units(*units)),
        _ => None,
    };
    Some(Ok(match (name, other) {
        ("sign", None) => Val::Int(amount.cmp(&Quantity::ZERO) as i64),
        ("isInteger", None) => Val::Bool(amount.is_whole()),
        ("asInteger", None) if amount.is_whole() => Val::Int(amount.units()),
        ("asInteger", None) => {
            return Some(Err("cannot convert value to integer".to_owned()));
        }
        ("asApproximateFloat", None) => Val::Double(amount.millis() as f64 / 1e3),
        ("isGreaterThan", Some(other)) => Val::Bool(amount > other),
        ("isLessThan", Some(other)) => Val::Bool(amount < other),
        ("compareTo", Some(other)) => Val::Int(amount.cmp(&other) as i64),
        ("add", Some(other)) => Val::Quantity(amount + other),
        ("sub", Some(other)) => Val::Quantity(amount - other),
        _ => return None,
    }))
}
