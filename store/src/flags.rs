//! etcd's flags, each with its `ETCD_*` variable, or a file with all of them. A flag that is not here is refused by
//! name.

mod file;
mod other;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};
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
    /// Names, one of which the certificate of a client must be for: NAME,...
    #[arg(long, env = "ETCD_CLIENT_CERT_ALLOWED_HOSTNAME", value_name = "NAMES")]
    pub client_cert_allowed_hostname: Option<String>,
    /// Client certificates that were revoked (PEM or DER).
    #[arg(long, env = "ETCD_CLIENT_CRL_FILE", value_name = "FILE")]
    pub client_crl_file: Option<PathBuf>,
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
    /// Certificate that this member shows when it dials others, if not the same (PEM).
    #[arg(long, env = "ETCD_PEER_CLIENT_CERT_FILE", value_name = "FILE")]
    pub peer_client_cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, env = "ETCD_PEER_CLIENT_KEY_FILE", value_name = "FILE")]
    pub peer_client_key_file: Option<PathBuf>,
    /// Common names, one of which the certificate of a member must have: NAME,...
    #[arg(long, env = "ETCD_PEER_CERT_ALLOWED_CN", value_name = "NAMES")]
    pub peer_cert_allowed_cn: Option<String>,
    /// Names, one of which the certificate of a member must be for: NAME,...
    #[arg(long, env = "ETCD_PEER_CERT_ALLOWED_HOSTNAME", value_name = "NAMES")]
    pub peer_cert_allowed_hostname: Option<String>,
    /// Certificates of members that were revoked (PEM or DER).
    #[arg(long, env = "ETCD_PEER_CRL_FILE", value_name = "FILE")]
    pub peer_crl_file: Option<PathBuf>,
    /// The lowest version of TLS: `TLS1.2` or `TLS1.3`.
    #[arg(long, env = "ETCD_TLS_MIN_VERSION", default_value = "TLS1.2", value_name = "VERSION")]
    pub tls_min_version: String,
    /// The highest version of TLS; as high as there is if not given.
    #[arg(long, env = "ETCD_TLS_MAX_VERSION", default_value = "", value_name = "VERSION")]
    pub tls_max_version: String,
    /// Cipher suites, as Go names them: NAME,... ; all good ones if not given.
    #[arg(long, env = "ETCD_CIPHER_SUITES", default_value = "", value_name = "NAMES")]
    pub cipher_suites: String,

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
    /// Entries that are kept in the log for members that lag.
    #[arg(
        long,
        alias = "experimental-snapshot-catchup-entries",
        env = "ETCD_SNAPSHOT_CATCHUP_ENTRIES",
        default_value_t = 5_000,
        value_name = "COUNT"
    )]
    pub snapshot_catchup_entries: u64,
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
    /// Where clients are served over plain HTTP only; the client URLs then serve gRPC only.
    #[arg(long, env = "ETCD_LISTEN_CLIENT_HTTP_URLS")]
    pub listen_client_http_urls: Option<String>,
    /// Whether the API is served as JSON over HTTP, too.
    #[arg(
        long,
        env = "ETCD_ENABLE_GRPC_GATEWAY",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    pub enable_grpc_gateway: bool,
    /// Origins whose pages may ask over HTTP: URL,... ; `*` are all.
    #[arg(long, env = "ETCD_CORS", default_value = "*", value_name = "ORIGINS")]
    pub cors: String,
    /// Names of this machine that may be asked for over HTTP without TLS: NAME,... ; `*` are all.
    #[arg(long, env = "ETCD_HOST_WHITELIST", default_value = "*", value_name = "NAMES")]
    pub host_whitelist: String,
    /// Calls under way on one connection, at most.
    #[arg(long, env = "ETCD_MAX_CONCURRENT_STREAMS", default_value_t = store_etcd::front::STREAMS_MAX, value_name = "COUNT")]
    pub max_concurrent_streams: u32,
    /// How often a silent client is asked whether it is there; 0 never.
    #[arg(long, env = "ETCD_GRPC_KEEPALIVE_INTERVAL", default_value = "2h", value_name = "TIME")]
    pub grpc_keepalive_interval: String,
    /// How long it may take to answer.
    #[arg(long, env = "ETCD_GRPC_KEEPALIVE_TIMEOUT", default_value = "20s", value_name = "TIME")]
    pub grpc_keepalive_timeout: String,
    /// Whether other processes may listen on the same ports.
    #[arg(
        long,
        env = "ETCD_SOCKET_REUSE_PORT",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    pub socket_reuse_port: bool,
    /// A call that takes longer is said in the log; none if not given.
    #[arg(
        long,
        alias = "experimental-warning-unary-request-duration",
        env = "ETCD_WARNING_UNARY_REQUEST_DURATION",
        value_name = "TIME"
    )]
    pub warning_unary_request_duration: Option<String>,
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
    /// How the log is written.
    #[arg(long, env = "ETCD_LOG_FORMAT", default_value = "console")]
    pub log_format: LogFormat,
    /// Where the log goes: `stdout` (`default`) or `stderr`.
    #[arg(long, env = "ETCD_LOG_OUTPUTS", default_value = "default")]
    pub log_outputs: LogOutput,
    /// Reads all of this from a file instead (YAML or JSON); other flags and variables are then passed over.
    #[arg(long, env = "ETCD_CONFIG_FILE", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Console,
    Json,
}

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogOutput {
    #[value(alias = "default")]
    Stdout,
    Stderr,
}

impl Flags {
    /// Reads the process's flags and variables, or the file that they name; ends the process if they are not
    /// understood.
    pub fn parse_from_process() -> Self {
        let read = Self::read(std::env::args(), std::env::vars_os());
        read.unwrap_or_else(|error| error.exit())
    }

    fn read(
        args: impl Iterator<Item = String>,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, clap::Error> {
        let flags = Self::try_parse_from(other::sift(double_dashed(args)).map_err(invalid)?)?;
        let Some(path) = flags.config_file else {
            other::sift_variables(variables).map_err(invalid)?;
            return Ok(flags);
        };
        let arguments = file::arguments(&path).map_err(|error| invalid(format!("{error:#}")))?;
        let all = std::iter::once("kstore".to_owned()).chain(arguments);
        // No variable has an empty name.
        let command = Self::command().mut_args(|arg| arg.env(""));
        let found = command.try_get_matches_from(other::sift(all).map_err(invalid)?)?;
        Self::from_arg_matches(&found)
    }

    /// Variables of the process that look like etcd's and mean nothing here.
    pub fn unknown_variables() -> Vec<String> {
        let command = Self::command();
        let known: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_env).collect();
        unknown(&known, std::env::vars_os().map(|(name, _)| name))
    }

    /// What of the log is printed.
    pub fn log_filter(&self) -> EnvFilter {
        let filter = format!("{},openraft=warn", self.log_level);
        EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"))
    }
}

fn invalid(reason: String) -> clap::Error {
    Flags::command().error(ErrorKind::ValueValidation, reason)
}

fn unknown(known: &[&OsStr], variables: impl Iterator<Item = OsString>) -> Vec<String> {
    let unknown = variables.filter(|name| !known.contains(&name.as_os_str()));
    let names = unknown.filter_map(|name| name.into_string().ok());
    names.filter(|name| name.starts_with("ETCD_") && !other::is_variable(name)).collect()
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
        Flags::read(all, std::iter::empty())
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
        let error = parse(&["--experimental-x", "x"]).unwrap_err().to_string();
        assert!(error.contains("--experimental-x"), "{error}");
        let error = parse(&["--discovery", "x"]).unwrap_err().to_string();
        assert!(error.contains("--initial-cluster"), "{error}");
    }

    /// As etcd 3.6.16's help lists them.
    const OF_ETCD: &str = include_str!("flags/etcd-3.6.txt");

    #[test]
    fn each_flag_of_etcds_is_known_once() {
        let command = Flags::command();
        let knows = |arg: &clap::Arg, name: &str| {
            let aliases = arg.get_all_aliases().unwrap_or_default();
            arg.get_long() == Some(name) || aliases.contains(&name)
        };
        for name in OF_ETCD.lines() {
            let is_flag = command.get_arguments().any(|arg| knows(arg, name));
            assert!(is_flag != other::Other::find(name).is_some(), "--{name}: {is_flag}");
        }
        let variable = |arg: &clap::Arg| arg.get_env().map(|name| name.to_owned());
        for arg in
            command.get_arguments().filter(|arg| OF_ETCD.lines().any(|name| knows(arg, name)))
        {
            let name = arg.get_long().map(other::variable).map(OsString::from);
            assert_eq!(variable(arg), name, "{:?}", arg.get_long());
        }
    }

    #[test]
    fn a_file_takes_the_place_of_flags() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.yml");
        let text =
            "name: m1\nforce-new-cluster: false\nclient-transport-security: {cert-file: a.pem}\n";
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let flags = parse(&["--config-file", path, "--name", "m2"]).unwrap();
        assert_eq!((&flags.name[..], flags.cert_file), ("m1", Some("a.pem".into())));
        std::fs::write(path, "nmae: m1\n").unwrap();
        let error = parse(&["--config-file", path]).unwrap_err().to_string();
        assert!(error.contains("--nmae"), "{error}");
    }
}
