//! A bug in one request is an error of that request only.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use master_api::status::ApiError;

use crate::call::Response;

/// Runs the rest of the chain; a panic becomes a refusal.
pub async fn catch(
    chain: impl Future<Output = Result<Response, ApiError>>,
) -> Result<Response, ApiError> {
    match AssertUnwindSafe(chain).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            tracing::error!(panic = text, "a request panicked");
            Err(ApiError::Internal(
                "this request caused apiserver to panic. Look in the logs for details.".into(),
            ))
        }
    }
}
