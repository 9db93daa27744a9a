//! `/containerLogs`: which file, which part of it, for how long.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::{Response, StatusCode};
use node_cri::{Runtime, SharedRuntime};

use super::follow::{Options, Reader};
use super::{Body, Query, Server, text};
use crate::pod;
use crate::view::PodView;

/// Chunks that wait for a slow client.
const CHUNKS_MAX: usize = 8;
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Server {
    pub(super) async fn logs(
        &self,
        namespace: &str,
        name: &str,
        container: &str,
        query: &Query,
    ) -> Response<Body> {
        let options = match Options::parse(|key| query.get(key), self.cx.clock.unix_ms()) {
            Ok(options) => options,
            Err(message) => return text(StatusCode::BAD_REQUEST, message),
        };
        let view = match self.view(namespace, name).await {
            Ok(view) => view,
            Err(refusal) => return refusal,
        };
        let previous = query.is_true(&["previous"]);
        let Some(file) = self.log_file(namespace, name, &view, container, previous) else {
            let message = match previous {
                true => format!(
                    "previous terminated container \"{container}\" in pod \"{name}\" not found"
                ),
                false => format!(
                    "container \"{container}\" in pod \"{name}\" is waiting to start: {}",
                    self.waiting_reason(namespace, name, container)
                ),
            };
            return text(StatusCode::BAD_REQUEST, message);
        };
        let reader = match Reader::open(&self.cx.config.logs_dir(), &file, options.clone()) {
            Ok(reader) => reader,
            Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        let running = view.latest(container).filter(|found| found.is_running());
        let id = running.filter(|_| options.follow && !previous).map(|found| found.id.clone());
        let (sender, body) = Channel::new(CHUNKS_MAX);
        self.streams.lock().spawn(send(reader, sender, id, self.cx.runtime.clone()));
        let mut response = Response::new(body.boxed());
        let plain = hyper::header::HeaderValue::from_static("text/plain");
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, plain);
        response
    }

    /// The log relative to the directory of all logs, if the container has one.
    fn log_file(
        &self,
        namespace: &str,
        name: &str,
        view: &PodView,
        container: &str,
        previous: bool,
    ) -> Option<PathBuf> {
        let pod = self.find(namespace, name)?;
        pod::container(&pod, container)?;
        let directory = PathBuf::from(format!("{namespace}_{name}_{}", pod::uid(&pod)));
        let directory = directory.join(container);
        let entries = std::fs::read_dir(self.cx.config.logs_dir().join(&directory)).ok()?;
        let numbers = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.strip_suffix(".log").and_then(|number| number.parse::<u32>().ok())
        });
        let newest = view.latest(container).map(|found| found.restarts).or(numbers.max())?;
        let number = if previous { newest.checked_sub(1)? } else { newest };
        let file = directory.join(format!("{number}.log"));
        self.cx.config.logs_dir().join(&file).exists().then_some(file)
    }

    fn waiting_reason(&self, namespace: &str, name: &str, container: &str) -> String {
        let pod = self.find(namespace, name);
        let status = pod.and_then(|pod| self.cx.statuses.last(pod::uid(&pod)));
        let lists = status.map(|it| [it.container_statuses, it.init_container_statuses]);
        let mut all = lists.into_iter().flatten().flatten().flatten();
        let known = all.find(|known| known.name == container);
        let waiting = known.and_then(|known| known.state?.waiting?.reason);
        waiting.unwrap_or_else(|| "ContainerCreating".to_owned())
    }
}

type Sender = http_body_util::channel::Sender<Bytes, std::convert::Infallible>;

/// Sends what is there, and then what comes, while the container `following` runs.
async fn send(
    mut reader: Reader,
    mut sender: Sender,
    following: Option<String>,
    runtime: SharedRuntime,
) {
    let mut rounds = 0_u32;
    let mut is_over = following.is_none();
    loop {
        match reader.next_chunk() {
            Ok(chunk) if !chunk.is_empty() => {
                if sender.send_data(Bytes::from(chunk)).await.is_err() {
                    return;
                }
                continue;
            }
            Ok(_) if is_over || reader.is_full() => return,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "log not read on");
                return;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
        rounds += 1;
        // Asked seldom: whether there is still somebody who writes.
        if rounds.is_multiple_of(5)
            && let Some(id) = &following
        {
            is_over = !is_running(runtime.as_ref(), id).await;
        }
    }
}

async fn is_running(runtime: &dyn Runtime, id: &str) -> bool {
    match runtime.container_status(id).await {
        Ok(status) => status.state() == node_cri::v1::ContainerState::ContainerRunning,
        Err(error) => !error.is_not_found(),
    }
}
