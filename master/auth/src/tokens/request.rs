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
        for (field, own) in [("name", name), ("namespace", namespace)] {
            let asked = text(request, &format!("/metadata/{field}"));
            if !asked.is_empty() && asked != own {
                let message = format!(
                    "metadata.{field}: Invalid value: {asked:?}: must match the service account {field}"
                );
                return Err(ApiError::bad_request(message));
            }
        }
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
        let token = self.issue(&claims).map_err(ApiError::internal)?;
        tracing::debug!(
            user = identity.user,
            account = claims.sub,
            jti = claims.jti,
            "token issued"
        );
        let expires = Timestamp::from_second(claims.exp).map_err(ApiError::internal)?;
        let mut answer = request.clone();
        answer["metadata"]["name"] = json!(name);
        answer["metadata"]["namespace"] = json!(namespace);
        answer["metadata"]["creationTimestamp"] =
            json!(Timestamp::from_second(now_s).map_err(ApiError::internal)?.to_string());
        answer["spec"]["audiences"] = json!(audiences);
        answer["spec"]["expirationSeconds"] = json!(lifetime_s);
        answer["status"] = json!({ "token": token, "expirationTimestamp": expires.to_string() });
        Ok(answer)
    }
}

fn lifetime_s(request: &Value) -> Result<i64, ApiError> {
    let asked = number(request, "/spec/expirationSeconds").unwrap_or(EXPIRATION_DEFAULT_S);
    let wrong = match asked {
        ..EXPIRATION_MIN_S => "may not specify a duration less than 10 minutes",
        EXPIRATION_MAX_S.. => "may not specify a duration larger than 2^32 seconds",
        _ => return Ok(asked),
    };
    let error = FieldError::invalid("spec.expirationSeconds", asked, wrong);
    Err(ApiError::invalid("authentication.k8s.io", "TokenRequest", "", vec![error]))
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
