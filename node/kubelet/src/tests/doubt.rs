//! A node whose copy of itself is old, and whose masters take their time to say what it is now.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use kube::client::Body;
use master_client::masters::{MastersConfig, connect_with_handle};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Node, PLAIN};

type Answer = BoxBody<Bytes, Infallible>;

/// An API that shows a pod and an old node in its lists, and whose watches say nothing.
#[derive(Debug, Clone, Default)]
struct Api {
    /// The zone that the node is in by now; none is not told.
    zone: Arc<Mutex<Option<String>>>,
}

fn node(zone: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "node-1", "uid": "n", "labels": {"zone": zone}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}},
    })
}

impl Api {
    async fn answer(&self, request: Request<Body>) -> Response<Answer> {
        let uri = request.uri();
        let is_watch = uri.query().unwrap_or_default().contains("watch=true");
        if is_watch {
            let silence = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
            return Response::new(StreamBody::new(silence).boxed());
        }
        let list = |kind: &str, items: &[Value]| json!({"apiVersion": "v1", "kind": kind, "metadata": {"resourceVersion": "1"}, "items": items});
        let (code, body) = match uri.path() {
            "/api/v1/pods" => {
                let pod = json!({
                    "metadata": {"name": "a", "namespace": "ns", "uid": "a"},
                    "spec": {"nodeSelector": {"zone": "new"}, "containers": [{"name": "b", "image": "app:1"}]},
                });
                (200, list("PodList", &[pod]))
            }
            "/api/v1/nodes" => (200, list("NodeList", &[node("old")])),
            "/api/v1/services" => (200, list("ServiceList", &[])),
            "/api/v1/nodes/node-1" => {
                let zone = self.zone.lock().clone();
                match zone {
                    Some(zone) => (200, node(&zone)),
                    None => std::future::pending().await,
                }
            }
            _ => (404, json!({"kind": "Status", "status": "Failure", "code": 404})),
        };
        let bytes = serde_json::to_vec(&body).unwrap();
        Response::builder().status(code).body(Full::new(Bytes::from(bytes)).boxed()).unwrap()
    }
}

async fn begins(node: &Node, container: &str, within: Duration) -> bool {
    let begins = async {
        while node.started(container) == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(within, begins).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_word_on_the_node_but_who_needs_it() {
    let api = Api::default();
    let wire = api.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let wire = wire.clone();
        async move { Ok::<_, Infallible>(wire.answer(request).await) }
    });
    let config = MastersConfig::new(vec!["http://127.0.0.1:1".parse().unwrap()]);
    let (_, masters) = connect_with_handle(config).unwrap();
    let node = Node::with_masters(Some((kube::Client::new(service, "default"), masters)));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(node.started("b"), 0);
    // A static pod, meanwhile.
    node.apply(PLAIN);
    assert!(begins(&node, "a", Duration::from_secs(3)).await);
    assert_eq!(node.started("b"), 0);
    *api.zone.lock() = Some("new".to_owned());
    assert!(begins(&node, "b", Duration::from_secs(25)).await);
    assert_eq!(node.started("a"), 1);
}
