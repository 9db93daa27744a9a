//! Priority: the name of a priority class becomes the number that the scheduler compares.

use std::sync::Arc;

use master_api::access::Reader;
use master_api::status::ApiError;
use serde_json::{Value, json};

use crate::admission::{Operation, Plugin, Request};
use crate::json::{is_true, number, object_at, text};

const GROUP: &str = "scheduling.k8s.io";
const PREEMPT: &str = "PreemptLowerPriority";

#[derive(Debug)]
pub(super) struct Priority;

impl Plugin for Priority {
    fn mutate(&self, request: &Request<'_>, object: &mut Value) -> Result<(), ApiError> {
        if !request.is("", "pods") {
            return Ok(());
        }
        match (request.operation, request.old) {
            (Operation::Create, _) => complete(request, object),
            (Operation::Update, Some(old)) => {
                for field in ["priority", "preemptionPolicy"] {
                    let kept =
                        old.pointer(&format!("/spec/{field}")).filter(|value| !value.is_null());
                    let spec = object_at(object, &["spec"]);
                    if let Some(kept) = kept
                        && spec.get(field).is_none_or(Value::is_null)
                    {
                        spec[field] = kept.clone();
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn validate(
        &self,
        request: &Request<'_>,
        object: &Value,
        _warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let is_write = matches!(request.operation, Operation::Create | Operation::Update);
        if !request.is(GROUP, "priorityclasses") || !is_write || !is_true(object, "/globalDefault")
        {
            return Ok(());
        }
        match default_class(request.reader) {
            Some(other) if text(&other, "/metadata/name") != text(object, "/metadata/name") => {
                let name = text(&other, "/metadata/name");
                Err(request.forbidden(format!(
                    "PriorityClass {name} is already marked as default. Only one default can exist"
                )))
            }
            _ => Ok(()),
        }
    }
}

fn complete(request: &Request<'_>, pod: &mut Value) -> Result<(), ApiError> {
    let spec = object_at(pod, &["spec"]);
    let named = text(spec, "/priorityClassName").to_owned();
    let class = if named.is_empty() {
        default_class(request.reader)
    } else {
        let class = request.reader.get(GROUP, "priorityclasses", "", &named);
        let missing = || request.forbidden(format!("no PriorityClass with name {named} was found"));
        Some(class.ok_or_else(missing)?)
    };
    let value = class.as_ref().and_then(|class| number(class, "/value")).unwrap_or(0);
    let policy = class
        .as_ref()
        .map(|class| text(class, "/preemptionPolicy"))
        .filter(|policy| !policy.is_empty());
    let policy = policy.unwrap_or(PREEMPT);
    if let Some(given) = number(spec, "/priority").filter(|given| *given != value) {
        return Err(request.forbidden(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; \
             priority admission controller computed {value} from the given PriorityClass name"
        )));
    }
    let given = text(spec, "/preemptionPolicy");
    if !given.is_empty() && given != policy {
        return Err(request.forbidden(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; \
             priority admission controller computed {policy} from the given PriorityClass name"
        )));
    }
    if let Some(class) = &class {
        spec["priorityClassName"] = class["metadata"]["name"].clone();
    }
    spec["priority"] = json!(value);
    spec["preemptionPolicy"] = json!(policy);
    Ok(())
}

fn default_class(reader: &dyn Reader) -> Option<Arc<Value>> {
    let classes = reader.list(GROUP, "priorityclasses", None).into_iter();
    let defaults = classes.filter(|class| is_true(class, "/globalDefault"));
    defaults.min_by_key(|class| number(class, "/value"))
}
