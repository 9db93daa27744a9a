//! Flags of etcd's that have no effect here: those that are accepted, and those that are refused with what to use in
//! their place.
//!
//! # Invariants
//! - What is refused is accepted when it is given the value that turns it off, as sample configurations do.
//! - Each flag of etcd 3.6 is either here or in [`super::Flags`].

use std::ffi::OsString;

/// A flag of etcd's without an effect here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Other {
    pub(super) name: &'static str,
    /// Whether it needs no value, as Go's flags of yes or no.
    is_switch: bool,
    /// What it must not be given, and then what to use in its place.
    refused: Option<Refused>,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    /// Values besides nothing that leave it off.
    off: &'static [&'static str],
    instead: &'static str,
}

/// Accepted, whatever the value.
const fn idle(name: &'static str) -> Other {
    Other { name, is_switch: false, refused: None }
}

const fn idle_switch(name: &'static str) -> Other {
    Other { name, is_switch: true, refused: None }
}

/// Refused, unless it is off.
const fn refused(name: &'static str, instead: &'static str) -> Other {
    Other { name, is_switch: false, refused: Some(Refused { off: &[], instead }) }
}

const fn refused_switch(name: &'static str, instead: &'static str) -> Other {
    Other { name, is_switch: true, refused: Some(Refused { off: &["false"], instead }) }
}

const DISCOVERY: &str = "name the members with --initial-cluster";
const TRACING: &str = "look at grpc_server_handling_seconds (--metrics=extensive)";
const MLOCK: &str = "run it on a machine without swap, or with MemorySwapMax=0 in its unit";

/// All of them, in the order of etcd's help.
#[rustfmt::skip]
pub(super) const OTHERS: &[Other] = &[
    // Member.
    refused("wal-dir", "make `log` in the data directory a mount, or a link to where it shall lie"),
    idle("max-snapshots"),
    idle("max-wals"),
    refused_switch("memory-mlock", MLOCK),
    refused_switch("experimental-memory-mlock", MLOCK),
    idle("backend-bbolt-freelist-type"),
    idle("backend-batch-interval"),
    idle("backend-batch-limit"),
    idle("grpc-keepalive-min-time"),
    idle_switch("socket-reuse-address"),
    idle("raft-read-timeout"),
    idle("raft-write-timeout"),
    idle_switch("initial-election-tick-advance"),
    // Clustering.
    refused("discovery", DISCOVERY),
    refused("discovery-token", DISCOVERY),
    refused("discovery-endpoints", DISCOVERY),
    refused("discovery-srv", DISCOVERY),
    idle("discovery-srv-name"),
    idle("discovery-dial-timeout"),
    idle("discovery-request-timeout"),
    idle("discovery-keepalive-time"),
    idle("discovery-keepalive-timeout"),
    idle_switch("discovery-insecure-transport"),
    idle_switch("discovery-insecure-skip-tls-verify"),
    idle("discovery-cert"),
    idle("discovery-key"),
    idle("discovery-cacert"),
    idle("discovery-user"),
    idle("discovery-password"),
    idle("discovery-fallback"),
    idle("discovery-proxy"),
    idle_switch("strict-reconfig-check"),
    idle_switch("pre-vote"),
    idle("v2-deprecation"),
    // Security.
    idle("client-cert-file"),
    idle("client-key-file"),
    refused_switch("auto-tls", "make a certificate, and give it with --cert-file and --key-file"),
    refused_switch("peer-auto-tls", "members prove who they are: give --peer-cert-file, --peer-key-file and --peer-trusted-ca-file"),
    idle("self-signed-cert-validity"),
    idle_switch("peer-skip-client-san-verification"),
    idle_switch("experimental-peer-skip-client-san-verification"),
    // Auth.
    idle("auth-token"),
    idle("bcrypt-cost"),
    idle("auth-token-ttl"),
    // Profiling and logging.
    idle_switch("enable-pprof"),
    idle("logger"),
    refused_switch("enable-log-rotation", "let whoever takes its standard output rotate it"),
    idle("log-rotation-config-json"),
    // Tracing.
    refused_switch("enable-distributed-tracing", TRACING),
    refused_switch("experimental-enable-distributed-tracing", TRACING),
    idle("distributed-tracing-address"),
    idle("experimental-distributed-tracing-address"),
    idle("distributed-tracing-service-name"),
    idle("experimental-distributed-tracing-service-name"),
    idle("distributed-tracing-instance-id"),
    idle("experimental-distributed-tracing-instance-id"),
    idle("distributed-tracing-sampling-rate"),
    idle("experimental-distributed-tracing-sampling-rate"),
    // Features.
    idle_switch("experimental-compact-hash-check-enabled"),
    idle("experimental-compact-hash-check-time"),
    idle("compact-hash-check-time"),
    idle_switch("experimental-enable-lease-checkpoint"),
    idle_switch("experimental-enable-lease-checkpoint-persist"),
    idle("experimental-compaction-batch-limit"),
    idle("compaction-batch-limit"),
    idle("experimental-compaction-sleep-interval"),
    idle("compaction-sleep-interval"),
    idle_switch("experimental-txn-mode-write-with-shared-buffer"),
    idle("experimental-bootstrap-defrag-threshold-megabytes"),
    idle("bootstrap-defrag-threshold-megabytes"),
    idle("experimental-downgrade-check-time"),
    idle("downgrade-check-time"),
    idle_switch("experimental-stop-grpc-service-on-defrag"),
    // Unsafe.
    refused_switch("force-new-cluster", "found the group anew with `kstore recover`"),
    refused_switch("unsafe-no-fsync", "what is acknowledged is always on disk: put a test's data directory on tmpfs"),
];

impl Other {
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        OTHERS.iter().find(|other| other.name == name)
    }

    /// The name of its variable.
    fn variable(&self) -> String {
        variable(self.name)
    }

    fn check(&self, given: &str, value: &str) -> Result<(), String> {
        match self.refused {
            Some(Refused { off, instead }) if !value.is_empty() && !off.contains(&value) => {
                Err(format!("{given} is not supported: {instead}"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The name of a flag's variable.
pub(super) fn variable(flag: &str) -> String {
    format!("ETCD_{}", flag.to_uppercase().replace('-', "_"))
}

/// The arguments without those that have no effect here; what is wrong with them.
pub(super) fn sift(args: impl Iterator<Item = String>) -> Result<Vec<String>, String> {
    let mut args = args.peekable();
    let mut kept: Vec<String> = args.next().into_iter().collect();
    while let Some(arg) = args.next() {
        let text = arg.strip_prefix("--").unwrap_or_default();
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let Some(other) = Other::find(name) else {
            kept.push(arg);
            continue;
        };
        let value = match value {
            Some(value) => value,
            None if other.is_switch => "true".into(),
            None => args.next().ok_or_else(|| format!("--{name} needs a value"))?,
        };
        other.check(&format!("--{name}"), &value)?;
    }
    Ok(kept)
}

/// Whether variables of the process are refused; those that are known here are not to be called unknown.
pub(super) fn sift_variables(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), String> {
    for (name, value) in variables {
        let name = name.to_string_lossy();
        if let Some(other) = OTHERS.iter().find(|other| other.variable() == name) {
            other.check(&name, &value.to_string_lossy())?;
        }
    }
    Ok(())
}

/// Whether it is the variable of a flag without an effect.
pub(super) fn is_variable(name: &str) -> bool {
    OTHERS.iter().any(|other| other.variable() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sifted(line: &str) -> Result<String, String> {
        let args = std::iter::once("kstore").chain(line.split_whitespace()).map(str::to_owned);
        sift(args).map(|kept| kept[1..].join(" "))
    }

    #[test]
    fn flags_without_effect_are_taken_out_or_refused() {
        let refused = |name: &str| format!("{name} is not supported: ");
        #[rustfmt::skip]
        let cases = [
            ("--name a --max-wals 5 --pre-vote --data-dir d",  Ok("--name a --data-dir d")),
            ("--max-wals=5 --pre-vote=false --enable-pprof",   Ok("")),
            ("--force-new-cluster=false --wal-dir= --name a",  Ok("--name a")),
            ("--force-new-cluster",                            Err(refused("--force-new-cluster"))),
            ("--wal-dir /wal",                                 Err(refused("--wal-dir"))),
            ("--discovery=http://a",                           Err(refused("--discovery"))),
            ("--logger",                                       Err("--logger needs a value".into())),
        ];
        for (line, expected) in cases {
            match (sifted(line), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{line}"),
                (Err(found), Err(expected)) => assert!(found.starts_with(&expected), "{found}"),
                (found, _) => panic!("{line}: {found:?}"),
            }
        }
    }

    #[test]
    fn variables_of_such_flags_are_refused_too() {
        let sifted = |name: &str, value: &str| {
            sift_variables([(name.into(), value.into())].into_iter()).map_err(|text| text.len())
        };
        assert_eq!(sifted("ETCD_MAX_WALS", "5"), Ok(()));
        assert_eq!(sifted("ETCD_FORCE_NEW_CLUSTER", "false"), Ok(()));
        assert!(sifted("ETCD_FORCE_NEW_CLUSTER", "true").is_err());
        assert_eq!(sifted("HOME", "/root"), Ok(()));
    }
}
