//! `v1/podtemplates`.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use serde_json::Value;

use crate::pod::{defaults, validate, warnings};
use crate::strategy::{Shape, Strategy};
use crate::table::{self, Cell, tabled};
use crate::workload;

#[derive(Clone, Copy, Debug)]
pub struct PodTemplates;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Containers", |object, _| containers(object, "name")),
    Cell::text("Images", |object, _| containers(object, "image")),
    Cell::text("Pod Labels", |object, _| {
        table::pairs(&object["template"]["metadata"]["labels"]).into()
    }),
];

fn containers(object: &Value, field: &str) -> Value {
    workload::list(master_api::meta::items(object, &["template", "spec", "containers"]), field)
        .into()
}

impl Strategy for PodTemplates {
    fn shape(&self) -> Shape {
        Shape { generation: true, ..Shape::default() }
    }

    fn default(&self, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            defaults::template(fields);
        }
    }

    fn validate(&self, new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate::template(&new["template"], &FieldPath::new("template"), &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        warnings::of_template(new, old, &["template"])
    }

    tabled!(CELLS);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_template_is_defaulted_and_judged() {
        let mut object =
            json!({"template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}});
        PodTemplates.default(&mut object);
        assert_eq!(object["template"]["spec"]["dnsPolicy"], "ClusterFirst");
        assert!(PodTemplates.validate(&object, None).is_empty());
        assert!(!PodTemplates.validate(&json!({}), None).is_empty());
    }
}
