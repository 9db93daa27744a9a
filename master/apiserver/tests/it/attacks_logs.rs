//! What attackers could read in logs.

use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::attacks::{MERGE, default_account, made, post};
use crate::world::{World, send};

/// What is logged, for a test to read.
#[derive(Clone, Debug, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_repeats_a_secret_or_a_token() {
    let logged = Logged::default();
    let writer = logged.clone();
    let ours = "master_api=trace,master_apiserver=trace,master_auth=trace,master_registry=trace,store_handle=trace";
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(ours)
        .with_writer(move || writer.clone())
        .finish();
    // With one subscriber in the process, threads of other tests would decide that nobody is interested.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let _while_this_test_runs = tracing::subscriber::set_default(subscriber);

    let world = World::bootstrapped().await;
    let admin = world.admin();
    let (hidden, encoded) = ("hunter2-hunter2", "aHVudGVyMi1odW50ZXIy");
    let secrets = "/api/v1/namespaces/default/secrets";
    made(&admin, secrets, json!({"metadata": {"name": "s"}, "stringData": {"k": hidden}})).await;
    let patch = json!({"stringData": {"k": format!("{hidden}!")}}).to_string();
    send(&admin, &format!("PATCH {secrets}/s"), &[MERGE], patch).await;
    send(&admin, &format!("GET {secrets}/s"), &[], "").await;
    post(&admin, secrets, json!({"metadata": {"name": "s"}, "data": {"k": format!("{encoded}!")}}))
        .await;
    default_account(&admin).await;
    let account = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let answer = made(&admin, account, json!({"spec": {}})).await;
    let token = answer["status"]["token"].as_str().unwrap();
    let forged = format!("{token}-forged");
    for bearer in [token, &forged] {
        send(&world.bearer(Some(bearer)), &format!("GET {secrets}/s"), &[], "").await;
    }
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    post(&admin, reviews, json!({"spec": {"token": token}})).await;
    world.end().await;

    let text = String::from_utf8_lossy(&logged.0.lock().unwrap()).into_owned();
    assert!(text.contains("/secrets/s"), "requests are logged: {text}");
    for secret in [hidden, &encoded[..12], token.rsplit('.').next().unwrap()] {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a secret in a log");
    }
}
