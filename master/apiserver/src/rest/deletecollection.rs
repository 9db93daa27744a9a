//! Delete a collection: each object that matches, some at a time.

use std::future::ready;

use futures::{StreamExt as _, TryStreamExt as _};
use master_api::meta;
use master_api::status::ApiError;

use super::delete::{delete, options};
use super::{Target, list};
use crate::call::{Call, Response};
use crate::server::Server;

/// How many deletions are under way at once: enough to share a sync of the log among them.
const AT_ONCE: usize = 64;

/// Answers with the list of what was deleted, as it was.
pub async fn run(server: &Server, call: &mut Call, target: &Target) -> Result<Response, ApiError> {
    let options = options(call).await?;
    let page = list::matching(server, call, target).await?;
    let (asked, common) = (&*call, &options);
    // The page may be of a while ago: what has its name by now, but is another, stays.
    let is_any = common.uid.is_none();
    let each = page.entries().to_vec().into_iter().map(|entry| async move {
        let mut target = target.named(entry.name());
        if target.resource.namespaced {
            target.namespace = entry.namespace().to_owned();
        }
        let mut options = common.clone();
        options.uid.get_or_insert_with(|| meta::uid(entry.value()).to_owned());
        match delete(server, asked, &target, &options).await {
            Ok(outcome) => {
                let mut warnings = Vec::new();
                outcome.said(&mut warnings);
                Ok(Some(warnings))
            }
            // Somebody else was faster: that is what was wanted.
            Err(ApiError::NotFound { .. }) => Ok(None),
            Err(error @ ApiError::Conflict { .. }) if is_any => {
                let known = server.fresh(&target).await?;
                let is_there =
                    known.is_some_and(|it| Some(meta::uid(it.value())) == options.uid.as_deref());
                if is_there { Err(error) } else { Ok(None) }
            }
            Err(error) => Err(error),
        }
    });
    let said = futures::stream::iter(each).buffered(AT_ONCE);
    let said: Vec<Vec<String>> = said.try_filter_map(|it| ready(Ok(it))).try_collect().await?;
    call.warnings.extend(said.into_iter().flatten());
    list::render(server, call, target, page)
}
