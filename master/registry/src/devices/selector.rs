//! Expressions that select devices: what they may speak of, and cost.

use std::rc::Rc;

use master_api::field::FieldPath;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::Value;

use super::forms::bounded;
use crate::cel::cost::Sizes;
use crate::cel::{Names, Program, Type};
use crate::check::Findings;

const SELECTORS_MAX: usize = 32;
const EXPRESSION_BYTES_MAX: usize = 10 << 10;
const COST_MAX: u64 = 1_000_000;

/// What is wrong with the selectors of a class or a request.
pub(super) fn check(holder: &Value, path: &FieldPath, errors: &mut Findings) {
    let selectors = bounded(holder, "selectors", SELECTORS_MAX, path, errors);
    for (index, selector) in selectors.iter().enumerate() {
        let place = path.child("selectors").index(index).child("cel");
        if meta::at(selector, &["cel"]).is_none() {
            errors.push(FieldError::required(place, ""));
            continue;
        }
        let source = meta::text(selector, &["cel", "expression"]);
        errors.extend(wrong(source, &place.child("expression")));
    }
}

fn wrong(source: &str, path: &FieldPath) -> Option<FieldError> {
    if source.len() > EXPRESSION_BYTES_MAX {
        return Some(FieldError::too_long(path.clone(), EXPRESSION_BYTES_MAX));
    }
    let invalid = |detail: String| Some(FieldError::invalid(path.clone(), source, detail));
    let names = names();
    match Program::compile(source, &names) {
        Ok((program, Type::Bool | Type::Dyn)) => {
            let is_costly = program.cost_max(&names, &sizes()) > COST_MAX;
            is_costly
                .then(|| FieldError::forbidden(path.clone(), "too complex, exceeds cost limit"))
        }
        Ok((_, other)) => {
            invalid(format!("must evaluate to bool or the unknown type, not {other}"))
        }
        Err(error) => invalid(format!("compilation failed: {error}")),
    }
}

fn names() -> Names<'static> {
    let by_domain = |of: Type<'static>| Type::Map(Box::new(Type::Map(Box::new(of))));
    let fields = [
        ("driver", Type::Text),
        ("attributes", by_domain(Type::Dyn)),
        ("capacity", by_domain(Type::Quantity)),
        ("allowMultipleAllocations", Type::Bool),
    ];
    let fields = fields.map(|(name, kind)| (name.to_owned(), kind));
    Names::from([("device", Type::Made(Rc::new(fields.into())))])
}

/// How large what they speak of may be.
fn sizes() -> Sizes {
    const DOMAIN_BYTES_MAX: u64 = 63;
    const ID_BYTES_MAX: u64 = 32;
    const NAMES_MAX: u64 = 32;
    let by_domain = |of: Sizes| Sizes::map_of(of, NAMES_MAX, DOMAIN_BYTES_MAX);
    let by_id = |of: Sizes| Sizes::map_of(of, NAMES_MAX, ID_BYTES_MAX);
    let device = Sizes::object_of([
        ("driver", Sizes::text(63)),
        ("attributes", by_domain(by_id(Sizes::text(64)).open())),
        ("capacity", by_domain(by_id(Sizes::text(0)))),
        ("allowMultipleAllocations", Sizes::text(1)),
    ]);
    device.named("device")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: Option<&str>) {
        let found = wrong(source, &FieldPath::new("e")).map(|error| error.to_string());
        assert_eq!(found.as_deref(), expected, "{source}");
    }

    #[test]
    fn selectors_are_judged_by_what_they_give_and_cost() {
        check("device.driver == 'x' && device.attributes['x'].model == 'y'", None);
        check("device.attributes['x'].shared", None);
        check("device.capacity['x'].memory.isGreaterThan(quantity('5Gi'))", None);
        check(
            "1",
            Some("e: Invalid value: \"1\": must evaluate to bool or the unknown type, not int"),
        );
        let all = |inner: &str| format!("device.attributes.all(a, {inner})");
        let deep = all(&all(&all("device.attributes[a].all(b, device.driver.contains(b))")));
        check(&deep, Some("e: Forbidden: too complex, exceeds cost limit"));
        check(
            &"x".repeat(EXPRESSION_BYTES_MAX + 1),
            Some("e: Too long: may not be more than 10240 bytes"),
        );
    }
}
