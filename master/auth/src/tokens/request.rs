//! TokenRequest: a token for a service account, bound to a pod, secret or node, for a time.

use std::sync::Arc;

use jiff::Timestamp;
use master_api::access::{Identity, Reader};
use master_api::status::{ApiError, FieldError};
use serde_json::{Value, json};

use crate::admission::check_token;
use crate::authn::user_name;
use crate::authz::node_name;
use crate::json::{number, text, texts};
use crate::tokens::{Bound, Claims, Reference, Tokens};

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
/// What a node asks for a mounted token's life where the pod did not say: many clients read such a token once, so that it
/// is good for longer than it says, while its pod is there.
const MOUNTED_S: i64 = 3607;
const MOUNTED_MAX_S: i64 = 365 * 24 * 3600;
const EXPIRATION_DEFAULT_S: i64 = 3600;
const EXPIRATION_MIN_S: i64 = 600;
const EXPIRATION_MAX_S: i64 = 1 << 32;

impl Tokens {
    /// Answers a TokenRequest for a service account: the request with its status filled. `identity` is
    /// who asks: a node gets tokens for its own pods only.
    pub fn issue_for_token_request(
        &self,
        reader: &dyn Reader,
        account: &Value,
        request: &Value,
        identity: &Identity,
        now_s: i64,
    ) -> Result<Value, ApiError> {
        let (namespace, name) =
            (text(account, "/metadata/namespace"), text(account, "/metadata/name"));
        is_about(request, account)?;
        if let Some(node) = node_name(identity) {
            let refused = |reason: String| ApiError::forbidden("", "serviceaccounts", name, reason);
            check_token(reader, node, namespace, request).map_err(refused)?;
        }
        let lifetime_s = lifetime_s(request)?;
        let asked = texts(request, "/spec/audiences");
        let audiences = self.audiences_or_own(&asked);
        let mut claims = Claims {
            aud: audiences.clone(),
            exp: now_s + lifetime_s,
            iat: now_s,
            iss: String::new(),
            jti: uuid::Uuid::new_v4().to_string(),
            kubernetes: Bound {
                namespace: namespace.to_owned(),
                serviceaccount: reference(account),
                ..Bound::default()
            },
            nbf: now_s,
            sub: user_name(namespace, name),
        };
        if let Some(to) = request.pointer("/spec/boundObjectRef").filter(|to| to.is_object()) {
            bind(reader, &mut claims.kubernetes, to)?;
        }
        let is_own = audiences.iter().all(|audience| self.audiences.contains(audience));
        if claims.kubernetes.pod.is_some() && is_own && lifetime_s == MOUNTED_S {
            claims.kubernetes.warnafter = Some(claims.exp);
            claims.exp = now_s + MOUNTED_MAX_S;
        }
        let token = self.issue(&claims).map_err(ApiError::internal)?;
        tracing::debug!(
            user = identity.user,
            account = claims.sub,
            jti = claims.jti,
            "token issued"
        );
        let expires = Timestamp::from_second(now_s + lifetime_s).map_err(ApiError::internal)?;
        let mut answer = request.clone();
        answer["metadata"]["name"] = json!(name);
        answer["metadata"]["namespace"] = json!(namespace);
        answer["metadata"]["uid"] = json!(text(account, "/metadata/uid"));
        answer["metadata"]["creationTimestamp"] =
            json!(Timestamp::from_second(now_s).map_err(ApiError::internal)?.to_string());
        answer["spec"]["audiences"] = json!(audiences);
        answer["spec"]["expirationSeconds"] = json!(lifetime_s);
        answer["status"] = json!({ "token": token, "expirationTimestamp": expires.to_string() });
        Ok(answer)
    }
}

/// What a request says of its account is true of it.
fn is_about(request: &Value, account: &Value) -> Result<(), ApiError> {
    let said = |field: &str| {
        let pointer = format!("/metadata/{field}");
        let (asked, own) = (text(request, &pointer), text(account, &pointer));
        (!asked.is_empty() && asked != own).then_some((asked, own))
    };
    let name = text(account, "/metadata/name");
    if let Some((asked, _)) = said("name") {
        let detail = "must match the service account name if specified";
        let error = FieldError::invalid("metadata.name", asked, detail);
        return Err(ApiError::invalid(GROUP, KIND, name, vec![error]));
    }
    if said("namespace").is_some() {
        let message =
            "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(message));
    }
    match said("uid") {
        Some((asked, own)) => {
            let message = format!(
                "the UID in the token request ({asked}) does not match the UID of the service account ({own})"
            );
            Err(ApiError::conflict(GROUP, KIND, name, message))
        }
        None => Ok(()),
    }
}

fn lifetime_s(request: &Value) -> Result<i64, ApiError> {
    let asked = number(request, "/spec/expirationSeconds").unwrap_or(EXPIRATION_DEFAULT_S);
    let wrong = match asked {
        ..EXPIRATION_MIN_S => "may not specify a duration less than 10 minutes",
        seconds if seconds > EXPIRATION_MAX_S => {
            "may not specify a duration larger than 2^32 seconds"
        }
        _ => return Ok(asked),
    };
    let error = FieldError::invalid("spec.expirationSeconds", asked, wrong);
    Err(ApiError::invalid(GROUP, KIND, "", vec![error]))
}

fn reference(object: &Value) -> Reference {
    Reference {
        name: text(object, "/metadata/name").to_owned(),
        uid: text(object, "/metadata/uid").to_owned(),
    }
}

fn bind(reader: &dyn Reader, bound: &mut Bound, to: &Value) -> Result<(), ApiError> {
    let (kind, version, name) = (text(to, "/kind"), text(to, "/apiVersion"), text(to, "/name"));
    let find = |resource: &str, namespace: &str| -> Result<Arc<Value>, ApiError> {
        let object = reader.get("", resource, namespace, name);
        let object = object.ok_or_else(|| ApiError::not_found("", resource, name))?;
        let (asked, found) = (text(to, "/uid"), text(&object, "/metadata/uid"));
        if asked.is_empty() || asked == found {
            return Ok(object);
        }
        let message = format!(
            "the UID in the bound object reference ({asked}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        );
        Err(ApiError::conflict("", resource, name, message))
    };
    match (version, kind) {
        ("v1", "Pod") => {
            let pod = find("pods", &bound.namespace)?;
            let account = text(&pod, "/spec/serviceAccountName");
            if account != bound.serviceaccount.name {
                let message = format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    bound.serviceaccount.name
                );
                return Err(ApiError::bad_request(message));
            }
            let node = text(&pod, "/spec/nodeName");
            if !node.is_empty() {
                let uid = reader
                    .get("", "nodes", "", node)
                    .map(|node| reference(&node).uid)
                    .unwrap_or_default();
                bound.node = Some(Reference { name: node.to_owned(), uid });
            }
            bound.pod = Some(reference(&pod));
        }
        ("v1", "Secret") => {
            bound.secret = Some(reference(find("secrets", &bound.namespace)?.as_ref()))
        }
        ("v1", "Node") => bound.node = Some(reference(find("nodes", "")?.as_ref())),
        _ => {
            return Err(ApiError::bad_request(format!(
                "cannot bind token to object of type {version}, Kind={kind}"
            )));
        }
    }
    Ok(())
}
