//! `v1/resourcequotas`.

use master_api::field::FieldPath;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::Value;

use crate::check;
use crate::strategy::{Shape, Strategy};
use crate::table::{Cell, tabled};

#[derive(Clone, Copy, Debug)]
pub struct ResourceQuotas;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Request", |quota, _| usage(quota, false).into()),
    Cell::text("Limit", |quota, _| usage(quota, true).into()),
    Cell::AGE,
];

/// `pods: 1/10, requests.cpu: 0/2`, or only the limits.
fn usage(quota: &Value, limits: bool) -> String {
    let amount = |list: &str, name: &str| match meta::text(quota, &["status", list, name]) {
        "" => "0".to_owned(),
        text => text.to_owned(),
    };
    let hard = meta::at(quota, &["status", "hard"]).and_then(Value::as_object);
    let names = hard.into_iter().flatten().map(|(name, _)| name);
    names
        .filter(|name| (*name == "limits" || name.starts_with("limits.")) == limits)
        .map(|name| format!("{name}: {}/{}", amount("used", name), amount("hard", name)))
        .collect::<Vec<_>>()
        .join(", ")
}

impl Strategy for ResourceQuotas {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: false }
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = FieldPath::new("spec").child("hard");
        check::amounts(&new["spec"]["hard"], &path, &mut errors);
        if let Some(old) = old
            && new["spec"]["scopes"] != old["spec"]["scopes"]
        {
            let shown = new["spec"]["scopes"].clone();
            errors.push(FieldError::invalid("spec.scopes", shown, "field is immutable"));
        }
        errors
    }

    tabled!(CELLS);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_show_what_is_used_of_what() {
        let quota =
            json!({"status": {"hard": {"pods": "10", "limits.cpu": "4"}, "used": {"pods": "3"}}});
        assert_eq!(
            (usage(&quota, false), usage(&quota, true)),
            ("pods: 3/10".into(), "limits.cpu: 0/4".into())
        );
    }
}
