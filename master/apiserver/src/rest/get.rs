//! Get: one object.

use http::StatusCode;
use master_api::status::ApiError;

use super::options::{Freshness, get_freshness};
use super::{Target, answer};
use crate::call::{Call, Response};
use crate::server::Server;

/// Answers with the object.
pub async fn run(server: &Server, call: &Call, target: &Target) -> Result<Response, ApiError> {
    wait(server, get_freshness(&call.query)?).await?;
    let entry = server.cacher.entry(&target.table, &target.key());
    let entry = target.shown(entry.ok_or_else(|| target.not_found())?);
    answer(server, call, StatusCode::OK, &target.resource, &entry)
}

/// Waits until what this master has is fresh enough.
pub async fn wait(server: &Server, freshness: Freshness) -> Result<(), ApiError> {
    match freshness {
        Freshness::Any | Freshness::Exact(_) => Ok(()),
        Freshness::Latest => server.catch_up().await,
        Freshness::NotOlderThan(revision) => {
            // Somebody else may have told the client of a revision that is still on its way here.
            let time_max = std::time::Duration::from_secs(3);
            if server.cacher.wait_for(revision, time_max).await {
                return Ok(());
            }
            let current = server.cacher.revision();
            Err(ApiError::VersionTooLarge { asked: revision, current })
        }
    }
}
