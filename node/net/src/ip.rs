//! Runs `ip` and `nft`, and writes switches of the kernel; in the network namespace this process is in.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const DEADLINE: Duration = Duration::from_secs(20);

/// Why the kernel's network was not changed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error("cannot run {tool}: {source}")]
    Missing { tool: String, source: std::io::Error },
    #[error("`{command}`: {told}")]
    Refused { command: String, told: String },
    #[error("`{command}` did not end in {DEADLINE:?}")]
    Stuck { command: String },
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
}

/// Runs `ip` with these words; its output.
pub async fn ip(args: &[&str]) -> Result<String, NetError> {
    run("ip", args, "").await
}

/// One nft transaction.
pub async fn nft(text: &str) -> Result<String, NetError> {
    run("nft", &["-f", "-"], text).await
}

/// Runs a tool with `input`; what it printed, or what it complained about.
pub async fn run(tool: &str, args: &[&str], input: &str) -> Result<String, NetError> {
    let missing = |source| NetError::Missing { tool: tool.to_owned(), source };
    let command = || format!("{tool} {}", args.join(" "));
    let mut child = Command::new(tool)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(missing)?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let work = async {
        // A tool that does not read its input says so by its exit status.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(DEADLINE, work)
        .await
        .map_err(|_| NetError::Stuck { command: command() })?
        .map_err(missing)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NetError::Refused { command: command(), told })
}

/// Sets `net.<key>` of this namespace.
pub async fn sysctl(key: &str, value: &str) -> Result<(), NetError> {
    let path = format!("/proc/sys/net/{}", key.replace('.', "/"));
    tokio::fs::write(&path, value).await.map_err(|source| NetError::File { path, source })
}
