//! A configuration file with etcd's keys, in YAML or JSON, read as the flags that it stands for.
//!
//! # Invariants
//! - A key that is no flag is refused by name: what is misspelt has no silent effect.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Map, Value};

/// Sections, what their keys' flags begin with, and keys whose flags are called otherwise.
type Section = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const SECTIONS: &[Section] = &[
    (
        "client-transport-security",
        "",
        &[
            ("allowed-hostname", "client-cert-allowed-hostname"),
            ("client-crl-file", "client-crl-file"),
        ],
    ),
    (
        "peer-transport-security",
        "peer-",
        &[
            ("allowed-cn", "peer-cert-allowed-cn"),
            ("allowed-hostname", "peer-cert-allowed-hostname"),
        ],
    ),
    ("socket-options", "socket-", &[]),
    ("discovery-config", "discovery-", &[]),
];

/// Times, which stand in the file as so many nanoseconds.
const TIMES: [&str; 12] = [
    "backend-batch-interval",
    "grpc-keepalive-min-time",
    "grpc-keepalive-interval",
    "grpc-keepalive-timeout",
    "corrupt-check-time",
    "experimental-corrupt-check-time",
    "watch-progress-notify-interval",
    "experimental-watch-progress-notify-interval",
    "warning-apply-duration",
    "experimental-warning-apply-duration",
    "warning-unary-request-duration",
    "experimental-warning-unary-request-duration",
];

/// The arguments that the file stands for.
pub(super) fn arguments(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    read(&text).with_context(|| format!("the configuration file {}", path.display()))
}

fn read(text: &str) -> anyhow::Result<Vec<String>> {
    let content: Value = serde_saphyr::from_str(text)?;
    let all = match content {
        Value::Object(all) => all,
        Value::Null => Map::new(),
        _ => anyhow::bail!("does not hold keys and values"),
    };
    let mut arguments = Vec::new();
    for (key, value) in &all {
        let Some((_, prefix, renamed)) = SECTIONS.iter().find(|(name, ..)| name == key) else {
            // Of etcd up to 3.5, and in its sample since.
            if !key.starts_with("proxy") {
                arguments.extend(argument(key, value)?);
            }
            continue;
        };
        let section = match value {
            Value::Object(section) => section,
            Value::Null => continue,
            _ => anyhow::bail!("{key} does not hold keys and values"),
        };
        for (key, value) in section {
            let renamed = renamed.iter().find(|(name, _)| name == key);
            let flag = renamed.map_or_else(|| format!("{prefix}{key}"), |(_, flag)| (*flag).into());
            arguments.extend(argument(&flag, value)?);
        }
    }
    Ok(arguments)
}

/// `--flag=value`; nothing for a key without a value.
fn argument(flag: &str, value: &Value) -> anyhow::Result<Option<String>> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) if text.is_empty() => return Ok(None),
        Value::String(text) => text.clone(),
        Value::Bool(is_on) => is_on.to_string(),
        Value::Number(number) if TIMES.contains(&flag) => format!("{number}ns"),
        Value::Number(number) => number.to_string(),
        Value::Array(all) => {
            let each: Option<Vec<&str>> = all.iter().map(Value::as_str).collect();
            each.with_context(|| format!("{flag} is not a list of texts"))?.join(",")
        }
        Value::Object(_) => anyhow::bail!("{flag} has no keys of its own"),
    };
    Ok(Some(format!("--{flag}={text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_flags() {
        let text = "
name: 'm1'
data-dir:
quota-backend-bytes: 0
pre-vote: true
proxy: 'off'
cipher-suites: [A, B]
grpc-keepalive-interval: 5000000000
auto-compaction-retention: \"1\"
client-transport-security:
  cert-file: a.pem
  client-cert-auth: true
  allowed-hostname: [a, b]
peer-transport-security:
  cert-file: b.pem
  trusted-ca-file: ''
  allowed-cn: [c]
socket-options:
  reuse-port: true
";
        let expected = [
            "--auto-compaction-retention=1",
            "--cert-file=a.pem",
            "--cipher-suites=A,B",
            "--client-cert-allowed-hostname=a,b",
            "--client-cert-auth=true",
            "--grpc-keepalive-interval=5000000000ns",
            "--name=m1",
            "--peer-cert-allowed-cn=c",
            "--peer-cert-file=b.pem",
            "--pre-vote=true",
            "--quota-backend-bytes=0",
            "--socket-reuse-port=true",
        ];
        let mut found = read(text).unwrap();
        found.sort();
        assert_eq!(found, expected);
        assert_eq!(read(r#"{"name": "m1"}"#).unwrap(), ["--name=m1"]);
        assert_eq!(read("").unwrap(), Vec::<String>::new());
        assert!(read("- a").is_err() && read("name: {a: b}").is_err());
    }
}
