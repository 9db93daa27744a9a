//! Watch fan-out: many watchers of one selector, and how long after the call each of them has each event.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Method;
use http_body_util::BodyExt as _;
use store_env::task::Crew;
use tokio::sync::mpsc;

use super::figures::Figures;
use super::{Bench, config_map, json_body};
use crate::bench::api::Api;

/// How long the last events may take.
const LAST_EVENTS_MAX: Duration = Duration::from_secs(60);

/// `watchers` watch while `creates` objects are made, `per_s` in a second.
pub(super) async fn run(
    bench: &Bench,
    row: &str,
    watchers: usize,
    creates: usize,
    per_s: u64,
) -> anyhow::Result<()> {
    if !bench.wants(row) {
        return Ok(());
    }
    // Streams on one connection are bounded by the server: a hundred each.
    let api = Arc::new(Api::connect(&bench.args.kubeconfig, watchers.div_ceil(100).max(1)).await?);
    let path = format!("/api/v1/namespaces/{}/configmaps", bench.namespace);
    let watched = format!("{path}?watch=true&labelSelector=watch%3Dyes");
    let (sender, mut seen) = mpsc::channel(1024);
    let mut crew = Crew::new();
    for watcher in 0..watchers {
        let response = api.send(watcher, Method::GET, &watched, None).await?;
        super::refusal(response.status(), b"")?;
        let (sender, clock) = (sender.clone(), bench.clock.clone());
        crew.spawn(async move {
            let mut body = response.into_body();
            let mut line = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                let Some(data) = frame.data_ref() else { continue };
                line.extend_from_slice(data);
                let now_us = clock.monotonic_us();
                while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                    let whole: Vec<u8> = line.drain(..=end).collect();
                    if let Some(sent_us) = sent_us(&whole)
                        && sender.send(now_us.saturating_sub(sent_us)).await.is_err()
                    {
                        return;
                    }
                }
            }
        });
    }
    drop(sender);
    let cpu_before = bench.servers.cpu_us();
    let started_us = bench.clock.monotonic_us();
    let expected = watchers * creates;
    let collect = async {
        let mut took_us = Vec::with_capacity(expected);
        while took_us.len() < expected
            && let Some(us) = seen.recv().await
        {
            took_us.push(us);
        }
        took_us
    };
    let make = async {
        let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / per_s));
        for index in 0..creates {
            tick.tick().await;
            let mut map = config_map(&format!("watched-{index}"));
            map["metadata"]["labels"] = serde_json::json!({ "watch": "yes" });
            map["data"]["sentUs"] = bench.clock.monotonic_us().to_string().into();
            bench.api.ask(index, Method::POST, &path, json_body(&map)).await?;
        }
        anyhow::Ok(())
    };
    let whole = LAST_EVENTS_MAX + Duration::from_secs(creates as u64 / per_s);
    let both = async { tokio::join!(collect, make) };
    let (took_us, made) = tokio::time::timeout(whole, both).await.context("events are missing")?;
    made?;
    ensure!(took_us.len() == expected, "{} of {expected} events came", took_us.len());
    let wall_us = bench.clock.monotonic_us() - started_us;
    bench.print(row, &Figures { took_us, wall_us, cpu_us: bench.servers.cpu_us() - cpu_before });
    Ok(())
}

/// When the object of an event was sent, if the event brings a new one.
fn sent_us(line: &[u8]) -> Option<u64> {
    let text =
        std::str::from_utf8(line).ok().filter(|text| text.starts_with(r#"{"type":"ADDED""#))?;
    // Field sets name it, too: only the place with a number counts.
    let (_, after) = text.split_once(r#""sentUs":""#)?;
    after.split('"').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_is_read_off_an_event() {
        let event = br#"{"type":"ADDED","object":{"data":{"sentUs":"1234","value":"x"}}}"#;
        assert_eq!(sent_us(event), Some(1234));
        assert_eq!(sent_us(br#"{"type":"BOOKMARK","object":{}}"#), None);
    }
}
