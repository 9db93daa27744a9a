//! Kinds whose only particulars are a table, a default or a simple rule.

use master_api::field::FieldPath;
use master_api::meta;
use master_api::names;
use master_api::status::FieldError;
use serde_json::{Value, json};

use crate::admissionregistration::rules::{
    binding_rules, mutating_binding_rules, mutating_rules, policy_rules,
};
use crate::admissionregistration::{type_check, webhooks as webhook};
use crate::autoscalers;
use crate::check;
use crate::fill::{absent, made};
use crate::plain::Plain;
use crate::pod::containers::container_resource;
use crate::pod::validate::tolerations;
use crate::rules::{self, Must};
use crate::statuses;
use crate::table::{Cell, count, or};

pub const CONTROLLER_REVISIONS: Plain = Plain::bare().validate(revision_rules).cells(&[
    Cell::NAME,
    Cell::text("Controller", |revision, _| controller(revision).into()),
    Cell::text("Revision", |revision, _| count(revision, &["revision"])),
    Cell::AGE,
]);

pub const LEASES: Plain = Plain::bare().validate(lease).cells(&[
    Cell::NAME,
    Cell::text("Holder", |lease, _| or(lease, &["spec", "holderIdentity"], "")),
    Cell::AGE,
]);

pub const PRIORITY_CLASSES: Plain = Plain::bare()
    .generation_of_creation()
    .default(priority_class)
    .validate(priority_class_rules)
    .cells(&[
        Cell::NAME,
        Cell::integer("Value", |class, _| count(class, &["value"])),
        Cell::boolean("Global-Default", |class, _| meta::is_true(class, &["globalDefault"]).into()),
        Cell::AGE,
        Cell::text("PreemptionPolicy", |class, _| or(class, &["preemptionPolicy"], "")),
    ]);

pub const RUNTIME_CLASSES: Plain = Plain::bare().validate(runtime_class_rules).cells(&[
    Cell::NAME,
    Cell::text("Handler", |class, _| or(class, &["handler"], "")),
    Cell::AGE,
]);

pub const AUTOSCALERS: Plain = Plain::bare()
    .status_and_metadata()
    .default(autoscaler)
    .validate(autoscalers::rules)
    .validate_status(statuses::autoscaler)
    .cells(&[
        Cell::NAME,
        Cell::text("Reference", |autoscaler, _| {
            let text = |field: &str| meta::text(autoscaler, &["spec", "scaleTargetRef", field]);
            format!("{}/{}", text("kind"), text("name")).into()
        }),
        Cell::text("Targets", |autoscaler, _| targets(autoscaler).into()),
        Cell::text("MinPods", |autoscaler, _| {
            meta::number(autoscaler, &["spec", "minReplicas"])
                .map_or("<unset>".into(), |number| number.to_string().into())
        }),
        Cell::text("MaxPods", |autoscaler, _| count(autoscaler, &["spec", "maxReplicas"])),
        Cell::text("Replicas", |autoscaler, _| count(autoscaler, &["status", "currentReplicas"])),
        Cell::AGE,
    ]);

pub const WEBHOOK_CONFIGURATIONS: Plain =
    Plain::bare().generation().default(webhooks).validate(webhook::rules).cells(&[
        Cell::NAME,
        Cell::integer("Webhooks", |configuration, _| {
            meta::items(configuration, &["webhooks"]).len().into()
        }),
        Cell::AGE,
    ]);

pub const MUTATING_WEBHOOK_CONFIGURATIONS: Plain =
    WEBHOOK_CONFIGURATIONS.default(mutating_webhooks);

pub const ADMISSION_POLICIES: Plain = Plain::bare()
    .judged(type_check::status)
    .generation()
    .default(admission_policy)
    .validate(policy_rules)
    .validate_status(statuses::admission_policy)
    .cells(&[
        Cell::NAME,
        Cell::integer("Validations", |policy, _| {
            meta::items(policy, &["spec", "validations"]).len().into()
        }),
        Cell::text("ParamKind", |policy, _| param_kind(policy)),
        Cell::AGE,
    ]);

/// `MutatingAdmissionPolicy` has no status.
pub const MUTATING_POLICIES: Plain =
    Plain::bare().generation().default(admission_policy).validate(mutating_rules).cells(&[
        Cell::NAME,
        Cell::integer("Mutations", |policy, _| {
            meta::items(policy, &["spec", "mutations"]).len().into()
        }),
        Cell::text("ParamKind", |policy, _| param_kind(policy)),
        Cell::AGE,
    ]);

/// Kept for clients: no request is passed on to another API server.
pub const API_SERVICES: Plain = Plain::bare()
    .path_names()
    .status()
    .default(api_service)
    .validate(api_service_rules)
    .validate_status(statuses::api_service)
    .cells(&[
        Cell::NAME,
        Cell::text("Service", |service, _| {
            let text = |field: &str| meta::text(service, &["spec", "service", field]);
            match (text("namespace"), text("name")) {
                (_, "") => "Local".into(),
                (namespace, name) => format!("{namespace}/{name}").into(),
            }
        }),
        Cell::text("Available", |service, _| available(service).into()),
        Cell::AGE,
    ]);

fn available(service: &Value) -> String {
    let conditions = meta::items(service, &["status", "conditions"]);
    let found = conditions.iter().find(|one| meta::text(one, &["type"]) == "Available");
    let text = |field: &str| found.map_or("", |one| meta::text(one, &[field]));
    match (text("status"), text("reason")) {
        ("", _) => "Unknown".to_owned(),
        ("True", _) => "True".to_owned(),
        (status, reason) => format!("{status} ({reason})"),
    }
}

fn api_service_rules(service: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = FieldPath::new("spec");
    let spec = &service["spec"];
    let (group, version) = (meta::text(spec, &["group"]), meta::text(spec, &["version"]));
    let wanted = format!("{version}.{group}");
    if meta::name(service) != wanted {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.push(FieldError::invalid("metadata.name", meta::name(service), detail));
    }
    check::well_formed(spec, "group", &path, names::dns1123_subdomain, &mut errors);
    check::named(spec, "version", &path, names::dns1035_label, &mut errors);
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
        let priority = meta::number(spec, &[field]).unwrap_or_default();
        if !(1..=most).contains(&priority) {
            let detail = format!("must be positive and less than {most}");
            errors.push(FieldError::invalid(path.child(field), priority, detail));
        }
    }
    if spec["service"].is_object() {
        let path = path.child("service");
        check::required(&spec["service"], "namespace", &path, &mut errors);
        check::required(&spec["service"], "name", &path, &mut errors);
        rules::check(&spec["service"], &path, &[("port", rules::PORT)], &mut errors);
    } else if spec["insecureSkipTLSVerify"] == true {
        let detail = "local APIServices may not have insecureSkipTLSVerify";
        errors.push(FieldError::invalid(path.child("insecureSkipTLSVerify"), true, detail));
    }
    errors
}

pub const SERVICE_ACCOUNTS: Plain = Plain::bare().cells(&[Cell::NAME, Cell::AGE]);

/// Of a `ValidatingAdmissionPolicy`.
pub const VALIDATING_BINDINGS: Plain = ADMISSION_POLICY_BINDINGS.validate(binding_rules);

pub const ADMISSION_POLICY_BINDINGS: Plain =
    Plain::bare().generation().default(admission_binding).validate(mutating_binding_rules).cells(
        &[
            Cell::NAME,
            Cell::text("PolicyName", |binding, _| or(binding, &["spec", "policyName"], "")),
            Cell::text("ParamRef", |binding, _| {
                let text = |field: &str| meta::text(binding, &["spec", "paramRef", field]);
                match (text("namespace"), text("name")) {
                    (_, "") => "<unset>".into(),
                    ("", name) => name.into(),
                    (namespace, name) => format!("{namespace}/{name}").into(),
                }
            }),
            Cell::AGE,
        ],
    );

fn param_kind(policy: &Value) -> Value {
    let text = |field: &str| meta::text(policy, &["spec", "paramKind", field]);
    match text("kind") {
        "" => "<unset>".into(),
        kind => format!("{}/{kind}", text("apiVersion")).into(),
    }
}

fn controller(object: &Value) -> String {
    meta::controller(object).map_or("<none>".to_owned(), |owner| {
        let (group, _) = meta::split_api_version(&owner.api_version);
        let kind = owner.kind.to_lowercase();
        if group.is_empty() {
            format!("{kind}/{}", owner.name)
        } else {
            format!("{kind}.{group}/{}", owner.name)
        }
    })
}

/// A revision holds an object, and keeps it.
fn revision_rules(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let root = FieldPath::default();
    rules::check(new, &root, &[("revision", Must::NotBeNegative)], &mut errors);
    match &new["data"] {
        Value::Null => errors.push(FieldError::required("data", "data is mandatory")),
        Value::Object(_) => {}
        _ => errors.push(FieldError::required("data", "data must be a valid JSON object")),
    }
    if let Some(old) = old {
        check::immutable(new, old, &["data"], &mut errors);
    }
    errors
}

fn lease(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let path = FieldPath::new("spec");
    let mut errors = Vec::new();
    if let Some(seconds) = meta::number(new, &["spec", "leaseDurationSeconds"])
        && seconds <= 0
    {
        let detail = "must be greater than 0";
        errors.push(FieldError::invalid(path.child("leaseDurationSeconds"), seconds, detail));
    }
    check::not_negative(&new["spec"], "leaseTransitions", &path, &mut errors);
    errors
}

fn priority_class(class: &mut Value) {
    if let Some(fields) = class.as_object_mut() {
        absent(fields, "preemptionPolicy", "PreemptLowerPriority");
        absent(fields, "value", 0);
    }
}

fn priority_class_rules(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    const USER_MAX: i64 = 1_000_000_000;
    let mut errors = Vec::new();
    let name = meta::name(new);
    let value = meta::number(new, &["value"]).unwrap_or_default();
    let known = matches!(name, "system-cluster-critical" | "system-node-critical");
    if name.starts_with("system-") && !known {
        let detail = "priority class names with 'system-' prefix are reserved for system use only";
        errors.push(FieldError::forbidden("metadata.name", detail));
    }
    let policies = &["PreemptLowerPriority", "Never"];
    let root = FieldPath::default();
    let rule = ("preemptionPolicy", Must::BeChosen("", policies));
    rules::check(new, &root, &[rule], &mut errors);
    if !known && value > USER_MAX {
        let detail = format!("maximum allowed value of a user defined priority is {USER_MAX}");
        errors.push(FieldError::forbidden("value", detail));
    }
    if let Some(old) = old {
        if old["value"] != new["value"] {
            errors.push(FieldError::forbidden("value", "may not be changed in an update."));
        }
        check::immutable(new, old, &["preemptionPolicy"], &mut errors);
    }
    errors
}

fn runtime_class_rules(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = FieldPath::default();
    check::named(new, "handler", &path, names::dns1123_label, &mut errors);
    let overhead = FieldPath::new("overhead").child("limits");
    for (name, amount) in new["overhead"]["podFixed"].as_object().into_iter().flatten() {
        errors.extend(container_resource(name, &overhead.key(name)));
        let rule = ("", Must::NotBeNegative);
        rules::check(amount, &overhead.key(name), &[rule], &mut errors);
    }
    let scheduling = FieldPath::new("scheduling");
    let rule = ("nodeSelector", Must::BeLabels);
    rules::check(&new["scheduling"], &scheduling, &[rule], &mut errors);
    tolerations(&new["scheduling"], &scheduling.child("tolerations"), &mut errors);
    let listed = meta::items(new, &["scheduling", "tolerations"]);
    for (at, toleration) in listed.iter().enumerate() {
        if listed[..at].contains(toleration) {
            let path = scheduling.child("tolerations").index(at);
            errors.push(FieldError::duplicate(path, toleration.clone()));
        }
    }
    if let Some(old) = old {
        check::immutable(new, old, &["handler"], &mut errors);
    }
    errors
}

fn autoscaler(autoscaler: &mut Value) {
    let Some(fields) = autoscaler.as_object_mut() else { return };
    let spec = made(fields, "spec");
    absent(spec, "minReplicas", 1);
    let target = json!({"type": "Utilization", "averageUtilization": 80});
    let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
    absent(spec, "metrics", cpu);
    if let Some(behavior) = crate::fill::object(spec, "behavior") {
        let relative = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let absolute = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        let up = made(behavior, "scaleUp");
        absent(up, "stabilizationWindowSeconds", 0);
        absent(up, "selectPolicy", "Max");
        absent(up, "policies", json!([absolute, relative]));
        let down = made(behavior, "scaleDown");
        absent(down, "selectPolicy", "Max");
        absent(down, "policies", json!([relative]));
    }
}

/// `cpu: 12%/80%`, with what is not known yet as `<unknown>`.
fn targets(autoscaler: &Value) -> String {
    let metrics = meta::items(autoscaler, &["spec", "metrics"]);
    let current = meta::items(autoscaler, &["status", "currentMetrics"]);
    let shown: Vec<String> = metrics
        .iter()
        .enumerate()
        .map(|(at, metric)| {
            let wanted = meta::number(metric, &["resource", "target", "averageUtilization"]);
            let path = ["resource", "current", "averageUtilization"];
            let is = current.get(at).and_then(|metric| meta::number(metric, &path));
            let text = |number: Option<i64>, absent: &str| {
                number.map_or(absent.to_owned(), |number| format!("{number}%"))
            };
            let name = meta::text(metric, &["resource", "name"]);
            format!("{name}: {}/{}", text(is, "<unknown>"), text(wanted, "<auto>"))
        })
        .collect();
    if shown.is_empty() { "<none>".to_owned() } else { shown.join(", ") }
}

fn webhooks(configuration: &mut Value) {
    let Some(fields) = configuration.as_object_mut() else { return };
    for webhook in crate::fill::objects(fields, "webhooks") {
        absent(webhook, "failurePolicy", "Fail");
        absent(webhook, "matchPolicy", "Equivalent");
        absent(webhook, "namespaceSelector", json!({}));
        absent(webhook, "objectSelector", json!({}));
        absent(webhook, "timeoutSeconds", 10);
        for rule in crate::fill::objects(webhook, "rules") {
            absent(rule, "scope", "*");
        }
        if let Some(config) = crate::fill::object(webhook, "clientConfig")
            && let Some(service) = crate::fill::object(config, "service")
        {
            absent(service, "port", 443);
        }
    }
}

fn mutating_webhooks(configuration: &mut Value) {
    webhooks(configuration);
    let Some(fields) = configuration.as_object_mut() else { return };
    for webhook in crate::fill::objects(fields, "webhooks") {
        absent(webhook, "reinvocationPolicy", "Never");
    }
}

fn api_service(service: &mut Value) {
    let Some(fields) = service.as_object_mut() else { return };
    if let Some(service) = crate::fill::object(made(fields, "spec"), "service") {
        absent(service, "port", 443);
    }
}

fn admission_policy(policy: &mut Value) {
    let Some(fields) = policy.as_object_mut() else { return };
    let spec = made(fields, "spec");
    absent(spec, "failurePolicy", "Fail");
    if let Some(constraints) = crate::fill::object(spec, "matchConstraints") {
        absent(constraints, "matchPolicy", "Equivalent");
        absent(constraints, "namespaceSelector", json!({}));
        absent(constraints, "objectSelector", json!({}));
        for list in ["resourceRules", "excludeResourceRules"] {
            for rule in crate::fill::objects(constraints, list) {
                absent(rule, "scope", "*");
            }
        }
    }
}

fn admission_binding(binding: &mut Value) {
    let spec = binding.as_object_mut().and_then(|fields| crate::fill::object(fields, "spec"));
    if let Some(matching) = spec.and_then(|spec| crate::fill::object(spec, "matchResources")) {
        absent(matching, "matchPolicy", "Equivalent");
        absent(matching, "namespaceSelector", json!({}));
        absent(matching, "objectSelector", json!({}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_services_are_named_by_what_they_serve() {
        let service = |name: &str, minimum: i64| {
            let spec = json!({"group": "acme.io", "version": "v1", "groupPriorityMinimum": minimum, "versionPriority": 15});
            let service = json!({"metadata": {"name": name}, "spec": spec});
            let found = api_service_rules(&service, None);
            found.iter().map(|finding| finding.field.clone()).collect::<Vec<_>>()
        };
        assert_eq!(service("v1.acme.io", 100), [""; 0]);
        assert_eq!(service("v2.acme.io", 0), ["metadata.name", "spec.groupPriorityMinimum"]);
    }

    #[test]
    fn a_priority_class_keeps_its_value() {
        let class = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value, "preemptionPolicy": "Never"});
        let fields = |new: Value, old: Option<Value>| -> Vec<String> {
            let errors = priority_class_rules(&new, old.as_ref());
            errors.into_iter().map(|error| error.field).collect()
        };
        assert_eq!(fields(class("x", 5), None), [""; 0]);
        assert_eq!(fields(class("system-x", 5), None), ["metadata.name"]);
        assert_eq!(fields(class("system-node-critical", 2_000_001_000), None), [""; 0]);
        assert_eq!(fields(class("x", 2_000_000_000), None), ["value"]);
        assert_eq!(fields(class("x", 5), Some(class("x", 6))), ["value"]);
    }

    #[test]
    fn autoscalers_show_current_and_wanted() {
        let mut object = json!({"spec": {"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}});
        autoscaler(&mut object);
        assert_eq!(targets(&object), "cpu: <unknown>/80%");
        object["spec"]["scaleTargetRef"]["apiVersion"] = "apps/v1".into();
        assert_eq!(autoscalers::rules(&object, None), []);
    }
}
