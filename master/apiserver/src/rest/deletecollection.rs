//! Delete a collection: each object that matches, one after the other.

use std::sync::Arc;

use master_api::status::ApiError;
use serde_json::json;

use super::delete::{DeleteOptions, Deleted, delete, options};
use super::{Target, list};
use crate::call::{Call, Response};
use crate::respond;
use crate::server::Server;

/// Answers with the list of what was deleted.
pub async fn run(server: &Server, call: &mut Call, target: &Target) -> Result<Response, ApiError> {
    let options = options(call).await?;
    if options.uid.is_some() || options.resource_version.is_some() {
        return Err(ApiError::bad_request("preconditions are not supported for a collection"));
    }
    let found = list::all(server, call, target).await?;
    let mut deleted = Vec::with_capacity(found.len());
    for entry in found {
        let mut target = target.named(entry.name());
        if target.resource.namespaced {
            target.namespace = entry.namespace().to_owned();
        }
        match delete(server, call, &target, &DeleteOptions { ..options.clone() }).await {
            Ok(Deleted::Gone(entry) | Deleted::Pending(entry)) => deleted.push(Arc::clone(&entry)),
            // Somebody else was faster: that is what was wanted.
            Err(ApiError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let resource = &target.resource;
    let metadata = json!({ "resourceVersion": server.cacher.revision().to_string() });
    let (kind, api_version) = (resource.list_kind(), resource.api_version());
    Ok(respond::pieces(list::pieces(&kind, &api_version, &metadata, &deleted)))
}
