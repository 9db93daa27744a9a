//! The functions of expressions, by name.

mod access;
mod addresses;
mod formats;
mod lists;
mod numbers;
mod text;
mod times;
mod versions;

pub use access::{Access, Authority};
pub(super) use addresses::Url;
pub(super) use formats::Format;
pub(super) use lists::added;
pub(super) use numbers::arithmetic;

use super::eval::{Budget, no_overload};
use super::value::Val;

/// What a family of functions makes of a call: nothing, if it is not its own.
type Answer<'a> = Option<Result<Val<'a>, String>>;

/// Calls a function; a method's value is its first argument.
pub(super) fn call<'a>(
    name: &str,
    values: &[Val<'a>],
    budget: &mut Budget,
) -> Result<Val<'a>, String> {
    let own = general(name, values);
    own.or_else(|| text::call(name, values, budget))
        .or_else(|| lists::call(name, values, budget))
        .or_else(|| numbers::call(name, values))
        .or_else(|| times::call(name, values))
        .or_else(|| addresses::call(name, values))
        .or_else(|| versions::call(name, values))
        .or_else(|| formats::call(name, values))
        .or_else(|| access::call(name, values, budget))
        .unwrap_or_else(|| Err(no_overload(name, values)))
}

fn general<'a>(name: &str, values: &[Val<'a>]) -> Answer<'a> {
    Some(match (name, values) {
        ("size", [of]) => of.size().map(Val::count).ok_or_else(|| no_overload(name, values)),
        ("type", [of]) => Ok(Val::Type(of.type_name())),
        ("dyn", [of]) => Ok(of.clone()),
        ("bool", [Val::Bool(is_so)]) => Ok(Val::Bool(*is_so)),
        ("bool", [Val::Text(text)]) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
            _ => Err("type conversion error from 'string' to 'bool'".to_owned()),
        },
        ("optional.of", [of]) => Ok(Val::some(of.clone())),
        ("optional.none", []) => Ok(Val::Optional(None)),
        ("optional.ofNonZeroValue", [of]) => {
            Ok(if is_zero(of) { Val::Optional(None) } else { Val::some(of.clone()) })
        }
        ("hasValue", [Val::Optional(held)]) => Ok(Val::Bool(held.is_some())),
        ("value", [Val::Optional(held)]) => match held {
            Some(held) => Ok((**held).clone()),
            None => Err("optional.none() dereference".to_owned()),
        },
        _ => return None,
    })
}

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null | Val::Bool(false) | Val::Int(0) | Val::Uint(0) | Val::Duration(0) => true,
        Val::Double(number) => *number == 0.0,
        other => other.size() == Some(0),
    }
}
