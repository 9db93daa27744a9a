//! Kinds that are answered and not kept: who is this, may they do that; and bindings by their old path.

use std::sync::Arc;

use http::StatusCode;
use master_api::status::{self, ApiError};
use master_api::{meta, time};
use master_auth::authz::review;
use master_auth::tokens::review::token_review;
use master_registry::Resource;
use serde_json::Value;

use super::binding;
use crate::call::{Call, Response};
use crate::rest::{Target, answer_value, body, ownership};
use crate::server::Server;

/// Answers a create of such a kind.
pub async fn run(
    server: &Server,
    call: &mut Call,
    resource: &Arc<Resource>,
) -> Result<Response, ApiError> {
    if call.info.verb != "create" || !call.info.name.is_empty() {
        return Err(ApiError::NoSuchMethod);
    }
    let mut sent = body::object(call, resource).await?;
    if !matches!(&*resource.plural, "bindings" | "selfsubjectrulesreviews" | "selfsubjectreviews") {
        own(server, call, &Target::of(resource, call), &mut sent);
    }
    // What is asked about was perhaps changed a moment ago, through another master.
    server.catch_up().await?;
    let (authorizer, identity) = (&*server.authorizer, &call.identity);
    let answered = match &*resource.plural {
        "tokenreviews" => token_review(&server.authenticator, &sent).map_err(ApiError::BadRequest),
        "subjectaccessreviews" => review::subject_access(authorizer, &sent),
        "localsubjectaccessreviews" => {
            let namespace = &call.info.namespace;
            if ![namespace.as_str(), ""].contains(&meta::namespace(&sent)) {
                let message = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(ApiError::bad_request(message));
            }
            meta::set(&mut sent, "namespace", namespace.as_str());
            review::subject_access(authorizer, &sent)
        }
        "selfsubjectaccessreviews" => review::self_subject_access(authorizer, &sent, identity),
        "selfsubjectrulesreviews" => {
            review::self_subject_rules(authorizer, &sent, identity).map_err(ApiError::BadRequest)
        }
        "selfsubjectreviews" => {
            Ok(review::self_subject(&sent, identity, &time::seconds(server.now())))
        }
        "bindings" => {
            let mut target = Target::of(resource, call).named(meta::name(&sent));
            let pods =
                server.served().catalog.find("", "v1", "pods").ok_or(ApiError::NoSuchPath)?.clone();
            target.table = crate::cacher::table_name("", "pods");
            target.resource = pods;
            target.namespace = call.info.namespace.clone();
            binding::bind(server, call, &target, &sent).await?;
            Ok(status::done(StatusCode::CREATED.as_u16()))
        }
        _ => return Err(ApiError::NoSuchPath),
    };
    answer_value(call, StatusCode::CREATED, &answered?)
}

/// Notes who owns the question's fields, as with every object that is created.
fn own(server: &Server, call: &Call, target: &Target, review: &mut Value) {
    let owners = ownership::take(review);
    target.complete(review);
    let manager = ownership::manager(server, call, target, "");
    let owners = ownership::created(target, &manager, owners, review);
    ownership::put(review, owners);
}
