//! Tasks with a parent: whoever starts one waits for it, and its end is never unseen.
//!
//! # Invariants
//! - [`Group::run`] returns only once none of its tasks is running any more.
//! - The first task that ends before a stop was asked for stops the others and is named as the cause.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this module is the one owner of spawned tasks"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// What a task reports when it cannot go on.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// What a task returns.
pub type TaskResult = Result<(), TaskError>;

/// Why a group came down.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// A task ended although nobody had asked for it.
    #[error("task `{0}` ended before it was asked to")]
    EndedEarly(String),
    /// A task gave up.
    #[error("task `{name}` failed: {source}")]
    Failed { name: String, source: TaskError },
    /// A task panicked.
    #[error("task `{name}` panicked: {source}")]
    Panicked { name: String, source: JoinError },
    /// Tasks that did not stop in time were aborted.
    #[error("aborted after {grace:?}: {names:?}")]
    Aborted { grace: Duration, names: Vec<String> },
}

/// Named tasks that live and die together.
#[derive(Debug)]
pub struct Group {
    stop: CancellationToken,
    tasks: JoinSet<TaskResult>,
    names: BTreeMap<String, String>,
}

impl Group {
    /// A group that stops when `parent` does.
    pub fn under(parent: &CancellationToken) -> Self {
        Self { stop: parent.child_token(), tasks: JoinSet::new(), names: BTreeMap::new() }
    }

    /// The signal that the tasks of this group listen to.
    pub fn stop_signal(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task, which must return soon after the token it is given is cancelled.
    pub fn spawn<F, Fut>(&mut self, name: impl Into<String>, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = TaskResult> + Send + 'static,
    {
        let handle = self.tasks.spawn(task(self.stop.clone()));
        self.names.insert(handle.id().to_string(), name.into());
    }

    /// Waits until the group is told to stop or a task ends, then brings the others down.
    pub async fn run(mut self, grace: Duration) -> Result<(), GroupError> {
        let cause = tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(()),
            Some(ended) = self.tasks.join_next_with_id() => Err(self.verdict(ended)),
        };
        self.stop.cancel();
        if tokio::time::timeout(grace, self.wait_for_all()).await.is_ok() {
            return cause;
        }
        let names = self.names.values().cloned().collect();
        self.tasks.shutdown().await;
        cause.and(Err(GroupError::Aborted { grace, names }))
    }

    async fn wait_for_all(&mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let error = self.verdict(ended);
            if !matches!(error, GroupError::EndedEarly(_)) {
                tracing::warn!(%error, "while stopping");
            }
        }
    }

    fn verdict(&mut self, ended: Result<(Id, TaskResult), JoinError>) -> GroupError {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let name = self.names.remove(&id.to_string()).unwrap_or_default();
        match ended {
            Ok((_, Ok(()))) => GroupError::EndedEarly(name),
            Ok((_, Err(source))) => GroupError::Failed { name, source },
            Err(source) => GroupError::Panicked { name, source },
        }
    }
}

/// Short-lived tasks of one owner (a connection, a request): aborted when this is dropped.
#[derive(Debug, Default)]
pub struct Crew {
    tasks: JoinSet<()>,
}

impl Crew {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that ends by itself. A panic in it is logged when its end is noticed.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        while let Some(ended) = self.tasks.try_join_next() {
            report(ended);
        }
        self.tasks.spawn(task);
    }

    /// How many tasks have not been seen to end.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether no task is known to run.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Waits for the next task to end; pending for ever while there is none.
    pub async fn next_ended(&mut self) {
        match self.tasks.join_next().await {
            Some(ended) => report(ended),
            None => std::future::pending().await,
        }
    }

    /// Waits at most `grace` for all of them, then aborts the rest.
    pub async fn finish(mut self, grace: Duration) {
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                report(ended)
            }
        };
        if tokio::time::timeout(grace, all).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task panicked");
    }
}

/// Runs work that blocks (a file system, a database) off the event loop.
///
/// Never on a path that runs under simulation: it starts a thread.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    async fn until_stopped(stop: CancellationToken) -> TaskResult {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn first_failure_stops_the_others_and_is_named() {
        let mut group = Group::under(&CancellationToken::new());
        group.spawn("reader", until_stopped);
        group.spawn("writer", |_| async { Err("disk full".into()) });
        let error = group.run(GRACE).await.unwrap_err();
        assert_eq!(error.to_string(), "task `writer` failed: disk full");
    }

    #[tokio::test(start_paused = true)]
    async fn early_end_is_an_error_and_a_wanted_one_is_none() {
        let root = CancellationToken::new();
        let mut group = Group::under(&root);
        group.spawn("short", |_| async { Ok(()) });
        let error = group.run(GRACE).await.unwrap_err();
        assert_eq!(error.to_string(), "task `short` ended before it was asked to");

        let mut group = Group::under(&root);
        group.spawn("reader", until_stopped);
        root.cancel();
        group.run(GRACE).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn deaf_task_is_aborted_after_the_grace_period() {
        let root = CancellationToken::new();
        let mut group = Group::under(&root);
        group.spawn("deaf", |_| std::future::pending());
        root.cancel();
        let error = group.run(GRACE).await.unwrap_err();
        assert_eq!(error.to_string(), r#"aborted after 5s: ["deaf"]"#);
    }
}
