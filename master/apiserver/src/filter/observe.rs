//! Counts and times every request.

use http::StatusCode;

use crate::call::Call;
use crate::metrics::Labels;
use crate::server::Server;

/// A request under way.
#[derive(Debug)]
pub struct Seen {
    began_ms: u64,
}

/// Slower requests are logged.
const SLOW_MS: u64 = 1_000;

impl Seen {
    /// Notes the time.
    pub fn begin(server: &Server) -> Self {
        Self { began_ms: server.clock.monotonic_ms() }
    }

    /// Counts the request by what it was about, with labels from what is served only.
    pub fn end(self, server: &Server, call: &Call, code: StatusCode) {
        let took_ms = server.clock.monotonic_ms().saturating_sub(self.began_ms);
        let info = &call.info;
        let known = info.is_resource && server.served().catalog.knows(&info.group, &info.resource);
        let labels = Labels {
            verb: info.verb.clone(),
            group: if known { info.group.clone() } else { String::new() },
            resource: if known { info.resource.clone() } else { String::new() },
            subresource: if known && code.is_success() {
                info.subresource.clone()
            } else {
                String::new()
            },
        };
        server.metrics.observe(labels, code.as_u16(), took_ms);
        let (id, user, path) = (&call.id, &call.identity.user, &call.raw_path);
        if took_ms >= SLOW_MS && !info.is_long_running() {
            tracing::info!(
                id,
                user,
                verb = info.verb,
                path,
                code = code.as_u16(),
                took_ms,
                "slow request"
            );
        } else {
            tracing::debug!(
                id,
                user,
                verb = info.verb,
                path,
                code = code.as_u16(),
                took_ms,
                "request"
            );
        }
    }
}
