//! Delete a collection: each object that matches, some at a time.

use std::future::ready;

use futures::{StreamExt as _, TryStreamExt as _};
use master_api::status::ApiError;
use serde_json::json;

use super::delete::{Deleted, Outspoken, delete, options};
use super::{Target, list};
use crate::call::{Call, Response};
use crate::respond;
use crate::server::Server;

/// How many deletions are under way at once: enough to share a sync of the log among them.
const AT_ONCE: usize = 64;

/// Answers with the list of what was deleted.
pub async fn run(server: &Server, call: &mut Call, target: &Target) -> Result<Response, ApiError> {
    let options = options(call).await?;
    if options.uid.is_some() || options.resource_version.is_some() {
        return Err(ApiError::bad_request("preconditions are not supported for a collection"));
    }
    let found = list::all(server, call, target).await?;
    let (asked, options) = (&*call, &options);
    let each = found.into_iter().map(|entry| async move {
        let mut target = target.named(entry.name());
        if target.resource.namespaced {
            target.namespace = entry.namespace().to_owned();
        }
        match delete(server, asked, &target, options).await {
            Ok(outcome) => Ok(Some(outcome)),
            // Somebody else was faster: that is what was wanted.
            Err(ApiError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    });
    let outcomes = futures::stream::iter(each).buffered(AT_ONCE);
    let outcomes: Vec<_> = outcomes.try_filter_map(|it| ready(Ok(it))).try_collect().await?;
    let entry = |outcome: Outspoken| match outcome.said(&mut call.warnings) {
        Deleted::Gone(entry) | Deleted::Pending(entry) => entry,
    };
    let deleted: Vec<_> = outcomes.into_iter().map(entry).collect();
    let resource = &target.resource;
    let metadata = json!({ "resourceVersion": server.cacher.revision().to_string() });
    let (kind, api_version) = (resource.list_kind(), resource.api_version());
    let pieces = list::pieces(&kind, &api_version, &metadata, &deleted, list::push_whole);
    Ok(respond::pieces(pieces))
}
