//! Nothing but health is answered until this master has its copy of the objects.

use master_api::status::ApiError;

use crate::call::Call;
use crate::handler::is_public;
use crate::server::Server;

/// Refuses while the cache is empty: without roles, nobody could be judged.
pub fn check(server: &Server, call: &Call) -> Result<(), ApiError> {
    if server.cacher.revision() > 0 || is_public(&call.raw_path) {
        return Ok(());
    }
    Err(ApiError::Unavailable("this master is still reading the store".into()))
}
