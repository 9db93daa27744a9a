//! DefaultIngressClass: an ingress that names no class gets the one marked as default.

use master_api::status::ApiError;
use serde_json::{Value, json};

use crate::admission::default_storage_class::newest_default;
use crate::admission::{Operation, Plugin, Request};
use crate::json::object_at;

const GROUP: &str = "networking.k8s.io";
const MARK: &str = "ingressclass.kubernetes.io/is-default-class";
/// Where classes were named before there was a field for them.
const OLD_NAME: &str = "/metadata/annotations/kubernetes.io~1ingress.class";

#[derive(Debug)]
pub(super) struct DefaultIngressClass;

impl Plugin for DefaultIngressClass {
    fn mutate(&self, request: &Request<'_>, ingress: &mut Value) -> Result<(), ApiError> {
        let is_create = request.operation == Operation::Create;
        if !request.is(GROUP, "ingresses") || !is_create || names_class(ingress) {
            return Ok(());
        }
        let classes = request.reader.list(GROUP, "ingressclasses", None);
        if let Some(name) = newest_default(&classes, &[MARK]) {
            object_at(ingress, &["spec"])["ingressClassName"] = json!(name);
        }
        Ok(())
    }
}

fn names_class(ingress: &Value) -> bool {
    ingress.pointer("/spec/ingressClassName").is_some_and(|name| !name.is_null())
        || ingress.pointer(OLD_NAME).is_some()
}
