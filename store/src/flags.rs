//! etcd's flags, each with its `ETCD_*` variable. A flag that is not here is refused by name.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{ArgAction, Parser};
use tracing_subscriber::EnvFilter;

/// A member of a consensus store that serves etcd's v3 API. Flags and ETCD_* variables are etcd's.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "kstore",
    version,
    after_help = "Other commands, each with --help: kstore snapshot save | status | restore, kstore recover"
)]
pub struct Flags {
    /// What this member is called.
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    pub name: String,
    /// Where data lies; `NAME.etcd` if not given.
    #[arg(long, env = "ETCD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where clients are served.
    #[arg(long, env = "ETCD_LISTEN_CLIENT_URLS", default_value = "http://localhost:2379")]
    pub listen_client_urls: String,
    /// Where other machines' clients reach this member; as listened on if not given.
    #[arg(long, env = "ETCD_ADVERTISE_CLIENT_URLS")]
    pub advertise_client_urls: Option<String>,
    /// Where other members are served.
    #[arg(long, env = "ETCD_LISTEN_PEER_URLS", default_value = "http://localhost:2380")]
    pub listen_peer_urls: String,
    /// Where other members reach this one.
    #[arg(long, env = "ETCD_INITIAL_ADVERTISE_PEER_URLS", default_value = "http://localhost:2380")]
    pub initial_advertise_peer_urls: String,
    /// All members of a new group: NAME=PEER-URL,... ; this one alone if not given.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER")]
    pub initial_cluster: Option<String>,
    /// `new` founds a group, `existing` joins one to which this member was added.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_STATE", default_value = "new")]
    pub initial_cluster_state: String,
    /// Tells groups apart that are made of the same addresses.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_TOKEN", default_value = "etcd-cluster")]
    pub initial_cluster_token: String,

    /// Certificate shown to clients (PEM).
    #[arg(long, env = "ETCD_CERT_FILE", value_name = "FILE")]
    pub cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, env = "ETCD_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Authorities whose client certificates are accepted (PEM).
    #[arg(long, env = "ETCD_TRUSTED_CA_FILE", value_name = "FILE")]
    pub trusted_ca_file: Option<PathBuf>,
    /// Clients must show a certificate.
    #[arg(
        long,
        env = "ETCD_CLIENT_CERT_AUTH",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    pub client_cert_auth: bool,
    /// Certificate shown to other members, by both ends (PEM).
    #[arg(long, env = "ETCD_PEER_CERT_FILE", value_name = "FILE")]
    pub peer_cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, env = "ETCD_PEER_KEY_FILE", value_name = "FILE")]
    pub peer_key_file: Option<PathBuf>,
    /// Authorities whose members are let in (PEM).
    #[arg(long, env = "ETCD_PEER_TRUSTED_CA_FILE", value_name = "FILE")]
    pub peer_trusted_ca_file: Option<PathBuf>,
    /// Members must show a certificate; with https they always must.
    #[arg(
        long,
        env = "ETCD_PEER_CLIENT_CERT_AUTH",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    pub peer_client_cert_auth: bool,

    /// How often a leader shows that it lives, in milliseconds.
    #[arg(long, env = "ETCD_HEARTBEAT_INTERVAL", default_value_t = 100, value_name = "MS")]
    pub heartbeat_interval: u64,
    /// How long a silent leader is waited for, in milliseconds.
    #[arg(long, env = "ETCD_ELECTION_TIMEOUT", default_value_t = 1_000, value_name = "MS")]
    pub election_timeout: u64,
    /// `periodic` or `revision`.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_MODE", default_value = "periodic")]
    pub auto_compaction_mode: String,
    /// How much history is kept: a time (`5m`; a bare number means hours), or revisions; 0 keeps all.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_RETENTION", default_value = "0")]
    pub auto_compaction_retention: String,
    /// Bytes of a request, at most.
    #[arg(long, env = "ETCD_MAX_REQUEST_BYTES", default_value_t = 3 << 19, value_name = "BYTES")]
    pub max_request_bytes: usize,
    /// Operations of a transaction, at most.
    #[arg(long, env = "ETCD_MAX_TXN_OPS", default_value_t = 128, value_name = "COUNT")]
    pub max_txn_ops: usize,
    /// Members that were added as learners, at most.
    #[arg(
        long,
        alias = "experimental-max-learners",
        env = "ETCD_MAX_LEARNERS",
        default_value_t = 1,
        value_name = "COUNT"
    )]
    pub max_learners: usize,
    /// Entries of the log after which it is cut.
    #[arg(long, env = "ETCD_SNAPSHOT_COUNT", default_value_t = 10_000, value_name = "COUNT")]
    pub snapshot_count: u64,
    /// Bytes of values kept in memory, the most recently written ones; others are read from disk. Not
    /// etcd's: there, the operating system decides.
    #[arg(long, env = "KSTORE_CACHE_BYTES", default_value_t = 8 << 20, value_name = "BYTES")]
    pub cache_bytes: usize,
    /// Bytes of the database, at most; 0 leaves it to the disk.
    #[arg(
        long,
        env = "ETCD_QUOTA_BACKEND_BYTES",
        default_value_t = 0,
        allow_negative_numbers = true,
        value_name = "BYTES"
    )]
    pub quota_backend_bytes: i64,
    /// Free bytes of the disk below which nothing may grow; not etcd's. If not given: 2 % of it, at least
    /// 256 MiB, at most a quarter of it.
    #[arg(long, env = "KSTORE_DISK_RESERVE_BYTES", value_name = "BYTES")]
    pub disk_reserve_bytes: Option<u64>,
    /// How often members compare what they hold; 0 never.
    #[arg(
        long,
        alias = "experimental-corrupt-check-time",
        env = "ETCD_CORRUPT_CHECK_TIME",
        default_value = "10m",
        value_name = "TIME"
    )]
    pub corrupt_check_time: String,
    /// Whether a member that starts compares what it holds with the others.
    #[arg(
        long,
        env = "ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub experimental_initial_corrupt_check: Option<bool>,
    /// NAME=true|false,... ; of etcd's gates, InitialCorruptCheck has a meaning here.
    #[arg(long, env = "ETCD_FEATURE_GATES", value_name = "GATES")]
    pub feature_gates: Option<String>,
    /// How often a watch that asked for it hears how far it is.
    #[arg(
        long,
        alias = "experimental-watch-progress-notify-interval",
        env = "ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL",
        default_value = "10m"
    )]
    pub watch_progress_notify_interval: String,
    /// Where health and metrics are served too.
    #[arg(long, env = "ETCD_LISTEN_METRICS_URLS")]
    pub listen_metrics_urls: Option<String>,
    /// `basic`, or `extensive`: how long calls take is counted too.
    #[arg(long, env = "ETCD_METRICS", default_value = "basic")]
    pub metrics: String,
    /// What takes longer to be applied is said in the log, and counted.
    #[arg(
        long,
        alias = "experimental-warning-apply-duration",
        env = "ETCD_WARNING_APPLY_DURATION",
        default_value = "100ms",
        value_name = "TIME"
    )]
    pub warning_apply_duration: String,
    /// debug, info, warn or error.
    #[arg(long, env = "ETCD_LOG_LEVEL", default_value = "info")]
    pub log_level: String,

    #[command(flatten)]
    pub idle: Idle,
}

/// Flags of etcd that deployments give and that have nothing to do here.
#[derive(Clone, Debug, clap::Args)]
pub struct Idle {
    /// Accepted: only the latest snapshot is kept.
    #[arg(long, env = "ETCD_MAX_SNAPSHOTS", hide = true)]
    pub max_snapshots: Option<u64>,
    /// Accepted: the log is cut by itself.
    #[arg(long, env = "ETCD_MAX_WALS", hide = true)]
    pub max_wals: Option<u64>,
    /// Accepted: it is always so.
    #[arg(long, env = "ETCD_STRICT_RECONFIG_CHECK", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    pub strict_reconfig_check: Option<bool>,
    /// Accepted: it is always so.
    #[arg(long, env = "ETCD_PRE_VOTE", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    pub pre_vote: Option<bool>,
    /// Accepted.
    #[arg(long, env = "ETCD_LOGGER", hide = true)]
    pub logger: Option<String>,
    /// Accepted: the log goes to standard output.
    #[arg(long, env = "ETCD_LOG_OUTPUTS", hide = true)]
    pub log_outputs: Option<String>,
    /// Accepted: what comes together is written together.
    #[arg(long, env = "ETCD_BACKEND_BATCH_LIMIT", hide = true)]
    pub backend_batch_limit: Option<u64>,
    /// Accepted: nothing waits to be written.
    #[arg(long, env = "ETCD_BACKEND_BATCH_INTERVAL", hide = true)]
    pub backend_batch_interval: Option<String>,
    /// Accepted: there is no such database.
    #[arg(long, env = "ETCD_BACKEND_BBOLT_FREELIST_TYPE", hide = true)]
    pub backend_bbolt_freelist_type: Option<String>,
    /// Accepted: who starts does not wait longer than others.
    #[arg(long, env = "ETCD_INITIAL_ELECTION_TICK_ADVANCE", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    pub initial_election_tick_advance: Option<bool>,
    /// Accepted: there are no passwords.
    #[arg(long, env = "ETCD_BCRYPT_COST", hide = true)]
    pub bcrypt_cost: Option<u64>,
    /// Accepted: there are no tokens.
    #[arg(long, env = "ETCD_AUTH_TOKEN_TTL", hide = true)]
    pub auth_token_ttl: Option<u64>,
}

impl Flags {
    /// Reads the process's flags and variables; ends the process if they are not understood.
    pub fn parse_from_process() -> Self {
        Self::parse_from(double_dashed(std::env::args()))
    }

    /// Variables of the process that look like etcd's and mean nothing here, as `ETCD_CONFIG_FILE` does.
    pub fn unknown_variables() -> Vec<String> {
        let command = <Self as clap::CommandFactory>::command();
        let known: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_env).collect();
        unknown(&known, std::env::vars_os().map(|(name, _)| name))
    }

    /// What of the log is printed.
    pub fn log_filter(&self) -> EnvFilter {
        let filter = format!("{},openraft=warn", self.log_level);
        EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"))
    }
}

fn unknown(known: &[&OsStr], variables: impl Iterator<Item = OsString>) -> Vec<String> {
    let unknown = variables.filter(|name| !known.contains(&name.as_os_str()));
    let names = unknown.filter_map(|name| name.into_string().ok());
    names.filter(|name| name.starts_with("ETCD_")).collect()
}

/// Go's flags may have one dash or two.
fn double_dashed(args: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    args.map(|arg| match arg.strip_prefix('-') {
        Some(rest) if rest.len() > 1 && !rest.starts_with('-') => format!("--{rest}"),
        _ => arg,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Flags, clap::Error> {
        let all = std::iter::once("kstore").chain(args.iter().copied()).map(str::to_owned);
        Flags::try_parse_from(double_dashed(all))
    }

    #[test]
    fn flags_are_read_as_etcd_reads_them() {
        for args in [&["--name", "a"][..], &["--name=a"], &["-name", "a"], &["-name=a"]] {
            assert_eq!(parse(args).unwrap().name, "a", "{args:?}");
        }
        #[rustfmt::skip]
        let cases = [
            (&["--client-cert-auth"][..],    true),
            (&["--client-cert-auth=true"],   true),
            (&["--client-cert-auth=false"],  false),
            (&[],                            false),
        ];
        for (args, expected) in cases {
            assert_eq!(parse(args).unwrap().client_cert_auth, expected, "{args:?}");
        }
    }

    #[test]
    fn variables_that_only_look_like_ours_are_named() {
        let variables = ["ETCD_NAME", "ETCD_CONFIG_FILE", "HOME", "ETCDCTL_API"];
        let known = [OsStr::new("ETCD_NAME")];
        assert_eq!(
            unknown(&known, variables.map(OsString::from).into_iter()),
            ["ETCD_CONFIG_FILE"]
        );
    }

    #[test]
    fn unknown_flag_is_refused_by_name() {
        let error = parse(&["--discovery", "x"]).unwrap_err().to_string();
        assert!(error.contains("--discovery"), "{error}");
    }
}
