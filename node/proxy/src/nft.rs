//! Runs `nft` and `conntrack`: text in, an error with its words out.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::rules::Ruleset;

/// 45,000 services take three seconds; what takes longer than this is stuck.
const DEADLINE: Duration = Duration::from_secs(60);

/// Why the kernel was not programmed.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    #[error("cannot run {tool}: {source} (install the package `{package}`)")]
    Missing { tool: &'static str, package: &'static str, source: std::io::Error },
    #[error("nft refused: {0}")]
    Refused(String),
    #[error("nft did not answer in {DEADLINE:?}")]
    Stuck,
}

/// Applies one transaction: all of it or nothing.
pub async fn apply(text: &str) -> Result<(), NftError> {
    let missing = |source| NftError::Missing { tool: "nft", package: "nftables", source };
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(missing)?;
    let mut input = child.stdin.take().expect("stdin is piped");
    let run = async {
        // nft reads everything before it answers; a pipe that breaks is told by its exit status.
        let _ = input.write_all(text.as_bytes()).await;
        drop(input);
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(DEADLINE, run).await.map_err(|_| NftError::Stuck)?;
    let output = output.map_err(missing)?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(NftError::Refused(told.lines().take(5).collect::<Vec<_>>().join("; ")))
}

/// Removes the table, if it is there.
pub async fn remove(table: &str) -> Result<(), NftError> {
    apply(&format!("table ip {table}\ndelete table ip {table}\n")).await
}

/// Forgets UDP flows whose target is gone: they would be sent there for as long as they last.
pub async fn forget_flows(old: &Ruleset, new: &Ruleset, node_ip: Ipv4Addr) {
    for (front, (target, _)) in old.dropped(new) {
        let original = front.address.unwrap_or(node_ip).to_string();
        let (port, target) = (front.port.to_string(), target.to_string());
        let args = [
            "-D",
            "-p",
            "udp",
            "--orig-dst",
            &original,
            "--orig-port-dst",
            &port,
            "--reply-src",
            &target,
        ];
        let run = Command::new("conntrack")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .status();
        match tokio::time::timeout(DEADLINE, run).await {
            // A status other than 0 means that there was no such flow.
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot run conntrack: stale UDP flows stay"),
            Err(_) => tracing::warn!("conntrack did not answer"),
        }
    }
}
