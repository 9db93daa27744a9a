//! Watches on the wire: where they begin, what they say, how they end.

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use store_handle::{Command, Handle};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::world::{Socket, World, send};

const JSON: (&str, &str) = ("content-type", "application/json");
const MAPS: &str = "/api/v1/namespaces/a/configmaps";

async fn with_maps(count: usize) -> (World, kube::Client) {
    let world = World::start().await;
    let client = world.admin();
    let namespace = json!({"metadata": {"name": "a"}}).to_string();
    send(&client, "POST /api/v1/namespaces", &[JSON], namespace).await;
    for index in 0..count {
        make(&client, &format!("m{index}")).await;
    }
    (world, client)
}

/// Creates a ConfigMap; returns its resourceVersion.
async fn make(client: &kube::Client, name: &str) -> String {
    let map = json!({"metadata": {"name": name}}).to_string();
    let made = send(client, &format!("POST {MAPS}"), &[JSON], map).await;
    assert_eq!(made.code, 201, "{}", made.text);
    made.json["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

/// Watches for a second and returns each event as `TYPE name`.
async fn seen(client: &kube::Client, query: &str, headers: &[(&str, &str)]) -> Vec<Value> {
    let line = format!("GET {MAPS}?watch=true&timeoutSeconds=1&{query}");
    let answer = send(client, &line, headers, "").await;
    assert_eq!(answer.code, 200, "{}", answer.text);
    answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn shown(events: &[Value]) -> Vec<String> {
    let show = |event: &Value| {
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or("");
        format!("{} {name}", event["type"].as_str().unwrap()).trim().to_owned()
    };
    events.iter().map(show).collect()
}

#[tokio::test]
async fn streamed_list_ends_with_a_marked_bookmark() {
    let (world, client) = with_maps(2).await;
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let events = seen(&client, query, &[]).await;
    assert_eq!(shown(&events)[..3], ["ADDED m0", "ADDED m1", "BOOKMARK"]);
    let metadata = &events[2]["object"]["metadata"];
    assert_eq!(metadata["annotations"]["k8s.io/initial-events-end"], "true");
    assert!(metadata["resourceVersion"].as_str().unwrap().parse::<i64>().unwrap() > 0);
    world.end().await;
}

#[tokio::test]
async fn watch_as_a_table_sends_columns_once() {
    let (world, client) = with_maps(2).await;
    let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    let events = seen(&client, "", &[table]).await;
    assert_eq!(events[0]["object"]["rows"][0]["cells"][0], "m0");
    assert!(!events[0]["object"]["columnDefinitions"].as_array().unwrap().is_empty());
    assert!(events[1]["object"]["columnDefinitions"].as_array().unwrap().is_empty());
    world.end().await;
}

#[tokio::test]
async fn master_that_started_later_tells_what_happened_before() {
    let (mut world, client) = with_maps(1).await;
    let version = make(&client, "x").await;
    make(&client, "y").await;
    send(&client, &format!("DELETE {MAPS}/x"), &[], "").await;
    let second = world.second().await;
    let events = seen(&second, &format!("resourceVersion={version}"), &[]).await;
    assert_eq!(shown(&events), ["ADDED y", "DELETED x"]);
    world.end().await;
}

#[tokio::test]
async fn history_that_is_gone_is_an_error_event_with_410() {
    let (mut world, client) = with_maps(1).await;
    let version = make(&client, "x").await;
    make(&client, "y").await;
    make(&client, "z").await;
    let revision = world.handle.revision();
    world.handle.propose(Command::Compact { revision }, None).await.unwrap();
    let second = world.second().await;
    let events = seen(&second, &format!("resourceVersion={version}"), &[]).await;
    assert_eq!(shown(&events), ["ERROR"]);
    assert_eq!(
        (&events[0]["object"]["code"], &events[0]["object"]["reason"]),
        (&json!(410), &json!("Expired"))
    );
    world.end().await;
}

#[tokio::test]
async fn write_through_one_master_is_read_through_the_other() {
    let (mut world, client) = with_maps(0).await;
    let second = world.second().await;
    for index in 0..20 {
        make(&client, &format!("n{index}")).await;
        let read = send(&second, &format!("GET {MAPS}/n{index}"), &[], "").await;
        assert_eq!(read.code, 200, "{}", read.text);
    }
    world.end().await;
}

#[tokio::test]
async fn page_of_a_revision_that_is_gone_offers_to_go_on() {
    let (world, client) = with_maps(3).await;
    let first = send(&client, &format!("GET {MAPS}?limit=1"), &[], "").await.json;
    make(&client, "m1a").await;
    let revision = world.handle.revision();
    world.handle.propose(Command::Compact { revision }, None).await.unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let gone = send(&client, &format!("GET {MAPS}?limit=5&continue={token}"), &[], "").await;
    assert_eq!((gone.code, &gone.json["reason"]), (410, &json!("Expired")));
    let token = gone.json["metadata"]["continue"].as_str().unwrap();
    let rest = send(&client, &format!("GET {MAPS}?limit=5&continue={token}"), &[], "").await.json;
    let names: Vec<_> =
        rest["items"].as_array().unwrap().iter().map(|i| &i["metadata"]["name"]).collect();
    assert_eq!(names, ["m1", "m1a", "m2"]);
    world.end().await;
}

/// The next event on a WebSocket as `TYPE name`; `None` once the server has closed it.
async fn told(socket: &mut Socket) -> Option<String> {
    let next = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
    match next.expect("it tells or closes").unwrap().unwrap() {
        Message::Text(text) => Some(shown(&[serde_json::from_str(&text).unwrap()]).remove(0)),
        Message::Close(_) => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn watch_over_a_websocket_tells_each_event_in_a_message() {
    let (world, client) = with_maps(1).await;
    let path = format!("{MAPS}?watch=true");
    let mut socket = world.web_socket(Some("browser"), &path, &[]).await.unwrap();
    assert_eq!(told(&mut socket).await.as_deref(), Some("ADDED m0"));
    make(&client, "later").await;
    assert_eq!(told(&mut socket).await.as_deref(), Some("ADDED later"));
    socket.close(None).await.unwrap();

    let short = format!("{path}&timeoutSeconds=1&resourceVersion=0");
    let mut socket = world.web_socket(Some("browser"), &short, &["any"]).await.unwrap();
    assert_eq!(told(&mut socket).await.as_deref(), Some("ADDED later"));
    assert_eq!(told(&mut socket).await.as_deref(), Some("ADDED m0"));
    assert_eq!(told(&mut socket).await, None, "closed after its time");

    let refused = async |user, path: &str, protocols: &[&str]| match world
        .web_socket(user, path, protocols)
        .await
    {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(Some("browser"), &path, &["one", "two"]).await, 400);
    assert_eq!(refused(None, &path, &[]).await, 401);
    let forged = ["base64url.bearer.authorization.k8s.io.bm9uZQ", "any"];
    assert_eq!(refused(None, &path, &forged).await, 401);
    assert_eq!(refused(Some("browser"), &format!("{path}&labelSelector=%21%21"), &[]).await, 400);
    world.end().await;
}
