//! The node as the masters have it now, read when somebody doubts the copy of it.
//!
//! # Path
//! `kubelet.rs` asks → here → the API → `kubelet.rs` judges the pods that it asked for

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use store_env::task::TaskResult;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admit::{Facts, Fresh};
use crate::context::Context;
use crate::error::Result;
use crate::objects::within;

const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// The uids of pods that wait for a word on the node. None wait for none.
pub(crate) type Waiting = BTreeSet<String>;

/// Answers until told to stop. Each question is answered once; a new one that comes meanwhile, next.
pub(crate) async fn run(
    cx: Arc<Context>,
    mut questions: watch::Receiver<Waiting>,
    answers: watch::Sender<Option<Facts>>,
    stop: CancellationToken,
) -> TaskResult {
    loop {
        let answer = async {
            if questions.wait_for(|waiting| !waiting.is_empty()).await.is_err() {
                std::future::pending::<()>().await;
            }
            answer(&cx, &mut questions).await
        };
        let facts = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            facts = answer => facts,
        };
        answers.send_replace(Some(facts));
        let news = async {
            if questions.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = news => {}
        }
    }
}

/// Reads the node, as often as it takes.
async fn answer(cx: &Context, questions: &mut watch::Receiver<Waiting>) -> Facts {
    let mut pause = RETRY_FIRST;
    loop {
        // Taken before: what is read then is newer than these pods.
        let waiting = questions.borrow_and_update().clone();
        match read(cx).await {
            Ok(Some(node)) => return Facts::read(&node, Fresh::For(waiting)),
            Ok(None) => return Facts::own(&cx.config, cx.machine, Fresh::For(waiting)),
            Err(error) => tracing::debug!(%error, "node not read: new pods wait"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

async fn read(cx: &Context) -> Result<Option<Node>> {
    let api: Api<Node> = Api::all(cx.objects.client("the node")?);
    within("node", api.get_opt(&cx.config.node_name)).await
}
