//! Lifecycle hooks: what a container wants done right after its start and before its stop.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use node_cri::Runtime;

use crate::probe::handler::{self, Verdict};

/// For hooks that have no other bound.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Runs a hook of the container `id` to its end, or for `timeout`.
pub(crate) async fn run(
    runtime: &dyn Runtime,
    container: &Container,
    id: &str,
    hook: &LifecycleHandler,
    ip: Option<IpAddr>,
    timeout: Option<Duration>,
) -> Verdict {
    let timeout = timeout.unwrap_or(TIMEOUT);
    let work = async {
        if let Some(action) = &hook.exec {
            let command = action.command.clone().unwrap_or_default();
            return handler::exec(runtime, id, &command, timeout).await;
        }
        if let Some(action) = &hook.sleep {
            let seconds = u64::try_from(action.seconds).unwrap_or_default();
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            return Ok(());
        }
        let ip = ip.ok_or("the pod has no address")?;
        if let Some(action) = &hook.http_get {
            return handler::http(container, action, ip, timeout).await;
        }
        if let Some(action) = &hook.tcp_socket {
            let port = handler::port(container, &action.port)?;
            return handler::tcp(ip, port, timeout).await;
        }
        Ok(())
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(verdict) => verdict,
        Err(_) => Err(format!("no end within {} s", timeout.as_secs())),
    }
}
