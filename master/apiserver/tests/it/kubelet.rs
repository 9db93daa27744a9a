//! What is proxied to a kubelet, and what never is.

use std::sync::Arc;

use http::StatusCode;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use store_env::task::Crew;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::world::{World, send};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A kubelet that answers logs, agrees to exec by echoing, and misbehaves on attach.
async fn answer(
    mut request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Full<bytes::Bytes>>, std::convert::Infallible> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or("").to_owned();
    let mut response =
        http::Response::new(Full::new(bytes::Bytes::from(format!("{path}?{query}"))));
    if path.starts_with("/attach/") {
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert("location", "https://127.0.0.1/evil".parse().unwrap());
    }
    if path.starts_with("/exec/") {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("upgrade", "websocket".parse().unwrap());
        let protocols = request.headers()["sec-websocket-protocol"].to_str().unwrap();
        let first = protocols.split(", ").next().unwrap().parse().unwrap();
        response.headers_mut().insert("sec-websocket-protocol", first);
        response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
        let key = request.headers()["sec-websocket-key"].to_str().unwrap();
        response.headers_mut().insert("sec-websocket-accept", accept(key).parse().unwrap());
        let upgraded = hyper::upgrade::on(&mut request);
        // The test's own runtime ends it with the test.
        ECHOES.with_borrow_mut(|crew| {
            crew.spawn(async move {
                let mut stream = TokioIo::new(upgraded.await.unwrap());
                let mut bytes = [0; 64];
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    stream.write_all(&bytes[..count]).await.unwrap();
                }
            });
        });
    }
    Ok(response)
}

/// RFC 6455 §4.2.2.
fn accept(key: &str) -> String {
    use base64::Engine as _;
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hash)
}

thread_local! {
    static ECHOES: std::cell::RefCell<Crew> = std::cell::RefCell::default();
}

/// A world with a node `n`, whose kubelet shows a certificate for `name`, and a pod `p` on it.
async fn with_kubelet(name: &str) -> (World, kube::Client, Crew) {
    let world = World::bootstrapped().await;
    let config = world.kubelet_tls(name);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut crew = Crew::new();
    crew.spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .with_upgrades();
            ECHOES.with_borrow_mut(|crew| crew.spawn(async move { drop(connection.await) }));
        }
    });
    let client = world.admin();
    let node = json!({"metadata": {"name": "n"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    let made = send(&client, "POST /api/v1/nodes", &[JSON], node.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let line = "PATCH /api/v1/nodes/n/status";
    let merge = ("content-type", "application/merge-patch+json");
    let patched =
        send(&client, line, &[merge], json!({"status": node["status"]}).to_string()).await;
    assert_eq!(patched.code, 200, "{}", patched.text);
    let account = json!({"metadata": {"name": "default"}}).to_string();
    send(&client, "POST /api/v1/namespaces/default/serviceaccounts", &[JSON], account).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n",
        "containers": [{"name": "c", "image": "i"}]}});
    let made =
        send(&client, "POST /api/v1/namespaces/default/pods", &[JSON], pod.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text);
    (world, client, crew)
}

#[tokio::test]
async fn logs_come_from_the_nodes_kubelet() {
    let (world, client, _kubelet) = with_kubelet("system:node:n").await;
    let line = "GET /api/v1/namespaces/default/pods/p/log?follow=true&tailLines=5&container=c";
    let logs = send(&client, line, &[], "").await;
    assert_eq!(
        (logs.code, &*logs.text),
        (200, "/containerLogs/default/p/c?follow=true&tailLines=5")
    );
    let wrong = "GET /api/v1/namespaces/default/pods/p/log?container=x";
    let refused = send(&client, wrong, &[], "").await;
    assert_eq!(
        (refused.code, refused.text.contains("container x is not valid for pod p")),
        (400, true)
    );
    let homeless =
        json!({"metadata": {"name": "h"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pods = "POST /api/v1/namespaces/default/pods";
    send(&client, pods, &[JSON], homeless.to_string()).await;
    let none = send(&client, "GET /api/v1/namespaces/default/pods/h/log", &[], "").await;
    assert_eq!((none.code, &*none.text), (204, ""));
    let proxied = send(&client, "GET /api/v1/nodes/n/proxy/proxy/summary?a=b", &[], "").await;
    assert_eq!((proxied.code, &*proxied.text), (200, "/proxy/summary?a=b"));
    world.end().await;
}

#[tokio::test]
async fn server_that_is_not_the_node_gets_nothing() {
    let (world, client, _kubelet) = with_kubelet("system:node:other").await;
    let line = "GET /api/v1/namespaces/default/pods/p/log";
    let refused = send(&client, line, &[], "").await;
    assert_eq!(refused.code, 500);
    assert!(refused.text.contains("not that node's kubelet"), "{}", refused.text);
    world.end().await;
}

#[tokio::test]
async fn tunnel_opens_only_after_the_kubelet_agreed() {
    let (world, client, _kubelet) = with_kubelet("system:node:n").await;
    let plain =
        send(&client, "POST /api/v1/namespaces/default/pods/p/exec?command=ls", &[], "").await;
    assert_eq!((plain.code, plain.text.contains("Upgrade request required")), (400, true));

    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::default_namespaced(client.clone());
    let params =
        kube::api::AttachParams::default().container("c").stdin(true).stdout(true).stderr(false);
    // The echo speaks no exec protocol; that the handshake is answered by the kubelet is what counts.
    pods.exec("p", ["ls"], &params).await.unwrap();
    let refused = pods.attach("p", &params).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("500"), "{refused}");
    world.end().await;
}
