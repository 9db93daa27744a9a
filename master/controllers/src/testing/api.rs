//! An API server that says what a test wants, under a controller's context, and remembers what it was asked.

use std::convert::Infallible;
use std::sync::Arc;

use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use store_env::clock::TokioClock;

use crate::context::{Config, CsrSubject, Cx, SignRequest, Signer};
use crate::events::{self, Writer};
use crate::informers::Informers;
use crate::unseen::Unseen;

/// What was asked: a method, a path, a body.
pub(crate) type Asked = (String, String, Value);

/// An API server.
pub(crate) struct Api {
    pub(crate) cx: Cx,
    /// What controllers said.
    pub(crate) writer: Writer,
    asked: Arc<Mutex<Vec<Asked>>>,
}

#[derive(Debug)]
struct Nobody;

impl Signer for Nobody {
    fn inspect(&self, _: &str) -> Result<CsrSubject, String> {
        Err("nobody".to_owned())
    }

    fn sign(&self, _: &SignRequest) -> Result<String, String> {
        Err("nobody".to_owned())
    }
}

impl Api {
    /// A server that answers a request with a code and an object; the stores are empty and listed.
    pub(crate) fn new(
        answer: impl Fn(&Informers, &Asked) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let informers = Arc::new(Informers::listed());
        let (asked, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
        let service = {
            let (informers, asked) = (informers.clone(), asked.clone());
            tower::service_fn(move |request: http::Request<Body>| {
                let (informers, asked, answer) = (informers.clone(), asked.clone(), answer.clone());
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect_bytes().await.unwrap();
                    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                    let it = (head.method.to_string(), head.uri.path().to_owned(), body);
                    let (code, object) = answer(&informers, &it);
                    asked.lock().push(it);
                    let said = Body::from(object.to_string().into_bytes());
                    Ok::<_, Infallible>(http::Response::builder().status(code).body(said).unwrap())
                }
            })
        };
        let (events, writer) = events::channel();
        let config = Config::new(String::new(), "10.244.0.0/16".to_owned(), Arc::new(Nobody));
        let cx = Cx {
            client: kube::Client::new(service, "default"),
            informers,
            clock: TokioClock::shared(1_800_000_000_000),
            config: Arc::new(config),
            events,
            unseen: Unseen::default(),
        };
        Self { cx, writer, asked }
    }

    /// The bodies of the requests of this method to paths that end so.
    pub(crate) fn asked(&self, method: &str, path: &str) -> Vec<Value> {
        let all = self.asked.lock();
        let is_it = |it: &&Asked| it.0 == method && it.1.ends_with(path);
        all.iter().filter(is_it).map(|it| it.2.clone()).collect()
    }
}

/// What a server says that refuses.
pub(crate) fn refusal(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": reason});
    (code, status)
}
