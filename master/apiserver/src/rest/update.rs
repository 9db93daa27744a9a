//! Update: the whole object, on the condition that it is the version the client saw.

use http::StatusCode;
use master_api::meta;
use master_api::status::{ApiError, FieldError};
use serde_json::Value;

use super::change::{Change, Rules, change};
use super::ownership::Ownership;
use super::{Target, answer, body, create, metadata};
use crate::call::{Call, Response};
use crate::server::Server;

/// Resources that an update creates if they are not there, as upstream's strategies say.
const CREATED_ON_UPDATE: [(&str, &str); 10] = [
    ("", "endpoints"),
    ("", "events"),
    ("", "limitranges"),
    ("", "services"),
    ("coordination.k8s.io", "leases"),
    ("node.k8s.io", "runtimeclasses"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
];

/// Resources whose update must name the version that it replaces, besides those that users define.
const VERSION_DEMANDED: [(&str, &str); 15] = [
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("coordination.k8s.io", "leases"),
    ("node.k8s.io", "runtimeclasses"),
    ("policy", "poddisruptionbudgets"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "csistoragecapacities"),
    ("storage.k8s.io", "volumeattachments"),
];

/// Answers with the new version.
pub async fn run(
    server: &Server,
    call: &mut Call,
    target: &Target,
    rules: Rules,
) -> Result<Response, ApiError> {
    let mut object = body::object(call, &target.resource).await?;
    metadata::place(&mut object, target)?;
    let produce = |old: &Value| replacement(target, &object, old);
    let subresource = call.info.subresource.clone();
    let wanted = Change {
        subresource: &subresource,
        rules,
        ownership: Ownership::Changed,
        produce: &produce,
    };
    let resource = &target.resource;
    let names = (&*resource.group, &*resource.plural);
    match change(server, call, target, &wanted).await {
        Err(ApiError::NotFound { .. })
            if rules == Rules::Whole && CREATED_ON_UPDATE.contains(&names) =>
        {
            may_create(server, call)?;
            absent(target, &object)?;
            // What is not there has no version that could be meant.
            meta::set(&mut object, "resourceVersion", Value::Null);
            let entry = create::create(server, call, target, object, Ownership::Changed).await?;
            answer(server, call, StatusCode::CREATED, resource, &entry)
        }
        outcome => {
            let entry = outcome?;
            answer(server, call, StatusCode::OK, resource, &entry)
        }
    }
}

/// Whoever names a uid means an object that is there.
fn absent(target: &Target, sent: &Value) -> Result<(), ApiError> {
    match meta::uid(sent) {
        "" => Ok(()),
        uid => Err(target.conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: "
        ))),
    }
}

/// The client's object, if it replaces the very object and version that is there.
pub fn replacement(target: &Target, sent: &Value, old: &Value) -> Result<Value, ApiError> {
    let (sent_uid, uid) = (meta::uid(sent), meta::uid(old));
    if !sent_uid.is_empty() && sent_uid != uid {
        let message = format!(
            "Precondition failed: UID in precondition: {sent_uid}, UID in object meta: {uid}"
        );
        return Err(target.conflict(message));
    }
    successor(target, sent, old)
}

/// The same for what was made of the old object: another uid is one of its fields' faults.
pub fn successor(target: &Target, sent: &Value, old: &Value) -> Result<Value, ApiError> {
    let version = meta::resource_version(sent);
    let names = (&*target.resource.group, &*target.resource.plural);
    if version.is_empty() || version == "0" {
        if VERSION_DEMANDED.contains(&names) || target.resource.custom.is_some() {
            let detail = "must be specified for an update";
            let error = FieldError::invalid("metadata.resourceVersion", 0, detail);
            return Err(ApiError::invalid(names.0, names.1, &target.name, vec![error]));
        }
    } else if version != meta::resource_version(old) {
        if version.parse::<u64>().is_err() {
            let text = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
            return Err(ApiError::Untyped(text));
        }
        return Err(target.modified());
    }
    Ok(sent.clone())
}

/// Who may update may not thereby create.
pub fn may_create(server: &Server, call: &Call) -> Result<(), ApiError> {
    let mut attributes = call.info.attributes(&call.identity);
    attributes.verb = "create".into();
    let decision = server.authorizer.authorize(&attributes);
    if decision.allowed {
        return Ok(());
    }
    let message = master_auth::authz::forbidden_message(&attributes, &decision.reason);
    Err(ApiError::forbidden(&attributes.group, &attributes.resource, &attributes.name, message))
}
