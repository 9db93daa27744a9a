//! How a person ends a program: SIGTERM or SIGINT, answered by an orderly stop.

use std::future::Future;
use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Runs `app` to its end; the first signal cancels `stop`, and is then waited out. Returns what `app` returns.
///
/// # Errors
/// If the system gives no signals; `app` has not begun then.
pub async fn run_until_signalled<T, E: From<io::Error>>(
    stop: CancellationToken,
    app: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::pin!(app);
    tokio::select! {
        biased;
        ended = &mut app => return ended,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.cancel();
    app.await
}
