//! The Common Expression Language, as far as Kubernetes' validation rules use it.
//!
//! A rule is compiled once, against the schema of what it is about, and evaluated with a budget of steps:
//! a rule that is wrong is refused when it is written, and one that never ends is ended.
//!
//! Pure. Knows nothing of objects, definitions or the API.
//!
//! # Path
//! `custom/rules.rs` → [`Program::compile`] (lex, parse, check) → [`Program::run`] (eval)

mod ast;
mod check;
pub mod cost;
mod eval;
mod functions;
mod lex;
mod parse;
mod signatures;
mod types;
mod value;

use std::collections::BTreeMap;

pub use eval::Budget;
pub use functions::{Access, Authority};
pub use types::Type;
pub(crate) use types::{KEYWORDS, unescape};
pub use value::Val;

use crate::custom::structural::Structural;

/// A name with its type, for expressions to use.
pub type Names<'a> = BTreeMap<&'static str, Type<'a>>;

/// Of several problems no more are told once there is so much text: each repeats its line.
const SHOWN_BYTES_MAX: usize = 16 << 10;

/// An expression that has been found to be well formed and typed.
#[derive(Debug)]
pub struct Program {
    root: ast::Node,
}

impl Program {
    /// Compiles an expression over some names; also returns its type.
    ///
    /// # Errors
    /// What is wrong, with the place, as cel-go writes it.
    pub fn compile<'a>(source: &str, names: &Names<'a>) -> Result<(Self, Type<'a>), String> {
        let root = parse::parse(source).map_err(|error| error.shown(source))?;
        let kind = check::check(&root, names).map_err(|problems| {
            let mut shown = String::new();
            for problem in problems {
                if shown.len() > SHOWN_BYTES_MAX {
                    break;
                }
                let line = if shown.is_empty() { "" } else { "\n" };
                shown = shown + line + &problem.shown(source);
            }
            shown
        })?;
        Ok((Self { root }, kind))
    }

    /// Evaluates with values for the names.
    ///
    /// # Errors
    /// Why there is no value: a missing key, an overflow, a spent budget.
    pub fn run<'a>(
        &'a self,
        names: &[(&'static str, Val<'a>)],
        budget: &mut Budget,
    ) -> Result<Val<'a>, String> {
        eval::run(&self.root, names, budget)
    }

    /// What the expression may cost at most, whose names and sizes are these.
    pub fn cost_max(&self, names: &Names<'_>, sizes: &cost::Sizes) -> u64 {
        cost::estimate(&self.root, names, sizes)
    }

    /// Whether the expression uses a name.
    pub fn uses(&self, name: &str) -> bool {
        self.root.uses(name)
    }
}

/// Whether an expression uses a library that is not here: only who has it can say that it is wrong.
pub(crate) fn asks_unknown(source: &str) -> bool {
    source.contains("includes(")
}

/// Whether a name of several words (`authorizer.requestResource`) is what a field of another name reads as.
fn is_qualified(known: &str, first: &str, field: &str) -> bool {
    known.strip_prefix(first).and_then(|rest| rest.strip_prefix('.')) == Some(field)
}

/// A value of JSON under its schema.
pub fn json<'a>(value: &'a serde_json::Value, schema: Option<&'a Structural>) -> Val<'a> {
    value::of_json(value, schema)
}

/// Something that is wrong at a place of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    /// In characters from the start.
    at: usize,
    message: String,
}

impl Problem {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    /// With the line and a mark under the place.
    fn shown(&self, source: &str) -> String {
        if source.is_empty() {
            // There is no line to show.
            return format!("ERROR: <input>:1:0: {}", self.message);
        }
        let before: String = source.chars().take(self.at).collect();
        let line = before.matches('\n').count();
        let column = before.chars().rev().take_while(|c| *c != '\n').count();
        let text = source.lines().nth(line).unwrap_or_default();
        let dots = ".".repeat(column);
        format!(
            "ERROR: <input>:{}:{}: {}\n | {text}\n | {dots}^",
            line + 1,
            column + 1,
            self.message
        )
    }
}

#[cfg(test)]
mod tests;
