//! What a member must know before it starts: its flags, checked whole before a port binds.

mod tls;

use std::path::PathBuf;
use std::time::Duration;

use store_env::net::Listening;
use store_etcd::front::{Front, Names};
use store_etcd::urls::{self, BadUrl, Url};
use store_rocks::space::Limits;

pub use self::tls::{Allowed, TlsFiles};
pub use crate::flags::Flags;

/// What is wrong with the flags.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("--{flag}: {source}")]
    Url { flag: &'static str, source: BadUrl },
    #[error("--{flag}: {reason}")]
    Flag { flag: &'static str, reason: String },
}

/// How a member without data begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It founds a group, with the others that are named here.
    New,
    /// It was added to a group, whose members are among those named here.
    Existing,
}

/// How history is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retention {
    All,
    /// What is younger than this is kept.
    For(Duration),
    /// So many of the latest revisions are kept.
    Revisions(i64),
}

/// A name in `--initial-cluster`, with its peer URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub urls: Vec<Url>,
}

/// A member's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub name: String,
    pub data_dir: PathBuf,
    pub listen_client: Vec<Url>,
    /// Plain HTTP only; then the others speak gRPC only.
    pub listen_http: Vec<Url>,
    pub listening: Listening,
    pub advertise_client: Vec<Url>,
    pub listen_peer: Vec<Url>,
    pub advertise_peer: Vec<Url>,
    pub listen_metrics: Vec<Url>,
    pub initial_cluster: Vec<Named>,
    pub origin: Origin,
    pub token: String,
    pub client_tls: Option<TlsFiles>,
    pub peer_tls: Option<TlsFiles>,
    pub heartbeat_ms: u64,
    pub election_ms: u64,
    pub snapshot_entries: u64,
    /// Entries that are kept for members that lag.
    pub keep_entries: u64,
    /// Bytes of values that are kept in memory.
    pub cache_bytes: usize,
    pub retention: Retention,
    pub limits: Limits,
    /// How often members compare what they hold.
    pub compare_every: Option<Duration>,
    /// Whether this member does so when it starts.
    pub compares_at_start: bool,
    /// What takes longer to be applied is said in the log.
    pub slow_apply: Duration,
    pub api: store_etcd::Options,
}

impl Config {
    /// Checks flags.
    pub fn check(flags: Flags) -> Result<Self, ConfigError> {
        let invalid = |flag, reason: &str| Err(ConfigError::Flag { flag, reason: reason.into() });
        let listen_client = list("listen-client-urls", &flags.listen_client_urls)?;
        let advertise_client = match &flags.advertise_client_urls {
            Some(text) => list("advertise-client-urls", text)?,
            None => listen_client.clone(),
        };
        let listen_peer = some("listen-peer-urls", &flags.listen_peer_urls)?;
        let advertise_peer = peer_urls(&flags.initial_advertise_peer_urls)?;
        let initial_cluster =
            founders(&flags.name, flags.initial_cluster.as_deref(), &advertise_peer)?;
        let origin = origin(&flags.initial_cluster_state)?;
        if flags.heartbeat_interval == 0 || flags.election_timeout < 5 * flags.heartbeat_interval {
            return invalid("election-timeout", "is at least five times --heartbeat-interval");
        }
        let (client_tls, peer_tls) = (tls::of_clients(&flags)?, tls::of_members(&flags)?);
        let listen_http = match &flags.listen_client_http_urls {
            Some(text) => list("listen-client-http-urls", text)?,
            None => Vec::new(),
        };
        if client_tls.is_none() && listen_client.iter().chain(&listen_http).any(|url| url.is_tls) {
            return invalid("cert-file", "is needed to listen on https");
        }
        if listen_peer.iter().any(|url| url.is_tls != peer_tls.is_some()) {
            return invalid("listen-peer-urls", "is https just when --peer-cert-file is given");
        }
        let listen_metrics = match &flags.listen_metrics_urls {
            Some(text) => list("listen-metrics-urls", text)?,
            None => Vec::new(),
        };
        let (compare_every, compares_at_start) = comparisons(&flags)?;
        let slow_apply = time("warning-apply-duration", &flags.warning_apply_duration)?;
        let listening = Listening { shares_port: flags.socket_reuse_port };
        let quota_bytes = u64::try_from(flags.quota_backend_bytes).ok().filter(|max| *max > 0);
        let limits = Limits { quota_bytes, reserve_bytes: flags.disk_reserve_bytes };
        let api = api(&flags)?;
        Ok(Self {
            api,
            data_dir: flags.data_dir.unwrap_or_else(|| format!("{}.etcd", flags.name).into()),
            name: flags.name,
            listen_client,
            listen_http,
            listening,
            advertise_client,
            listen_peer,
            advertise_peer,
            listen_metrics,
            initial_cluster,
            origin,
            token: flags.initial_cluster_token,
            client_tls,
            peer_tls,
            heartbeat_ms: flags.heartbeat_interval,
            election_ms: flags.election_timeout,
            snapshot_entries: flags.snapshot_count.max(100),
            keep_entries: flags.snapshot_catchup_entries.max(1),
            cache_bytes: flags.cache_bytes,
            retention: retention(&flags.auto_compaction_mode, &flags.auto_compaction_retention)?,
            limits,
            compare_every,
            compares_at_start,
            slow_apply,
        })
    }
}

/// What clients may ask, and how they are told.
fn api(flags: &Flags) -> Result<store_etcd::Options, ConfigError> {
    let invalid = |flag, reason: &str| Err(ConfigError::Flag { flag, reason: reason.into() });
    let progress = duration(&flags.watch_progress_notify_interval);
    let Some(progress_every) = progress.filter(|every| !every.is_zero()) else {
        return invalid("watch-progress-notify-interval", "is a time such as 10m");
    };
    let times_calls = match &flags.metrics[..] {
        "basic" => false,
        "extensive" => true,
        _ => return invalid("metrics", "is `basic` or `extensive`"),
    };
    let slow_call = flags.warning_unary_request_duration.as_deref();
    let slow_call = slow_call.map(|text| time("warning-unary-request-duration", text));
    Ok(store_etcd::Options {
        request_bytes_max: flags.max_request_bytes,
        txn_ops_max: flags.max_txn_ops,
        learners_max: flags.max_learners,
        progress_every,
        times_calls,
        slow_call: slow_call.transpose()?,
        front: front(flags)?,
    })
}

/// How often members compare what they hold, and whether this one does when it starts.
fn comparisons(flags: &Flags) -> Result<(Option<Duration>, bool), ConfigError> {
    let every = time("corrupt-check-time", &flags.corrupt_check_time)?;
    let at_start = gate(flags.feature_gates.as_deref(), "InitialCorruptCheck")?
        .or(flags.experimental_initial_corrupt_check)
        .unwrap_or(true);
    Ok(((!every.is_zero()).then_some(every), at_start))
}

/// How clients are met.
fn front(flags: &Flags) -> Result<Front, ConfigError> {
    let every = time("grpc-keepalive-interval", &flags.grpc_keepalive_interval)?;
    let timeout = time("grpc-keepalive-timeout", &flags.grpc_keepalive_timeout)?;
    Ok(Front {
        has_gateway: flags.enable_grpc_gateway,
        origins: Names::parse(&flags.cors),
        hosts: Names::parse(&flags.host_whitelist),
        streams_max: flags.max_concurrent_streams,
        // Without a time to wait for the answer nobody is asked.
        keep_alive_every: (!every.is_zero() && !timeout.is_zero()).then_some(every),
        keep_alive_timeout: timeout,
    })
}

/// etcd's gates. What those are about that have no meaning here is always done, or never needed.
const GATES: [&str; 9] = [
    "AllAlpha",
    "AllBeta",
    "CompactHashCheck",
    "InitialCorruptCheck",
    "LeaseCheckpoint",
    "LeaseCheckpointPersist",
    "SetMemberLocalAddr",
    "StopGRPCServiceOnDefrag",
    "TxnModeWriteWithSharedBuffer",
];

/// What a gate is set to; other gates of etcd's are passed over.
fn gate(gates: Option<&str>, name: &str) -> Result<Option<bool>, ConfigError> {
    let mut found = None;
    for part in gates.unwrap_or_default().split(',').filter(|part| !part.trim().is_empty()) {
        let both = part.trim().split_once('=');
        let Some((gate, Ok(is_on))) = both.map(|(gate, value)| (gate, value.parse())) else {
            let reason = format!("{part:?} is not NAME=true or NAME=false");
            return Err(ConfigError::Flag { flag: "feature-gates", reason });
        };
        if !GATES.contains(&gate) {
            let reason = format!("there is no gate {gate}; there are {}", GATES.join(", "));
            return Err(ConfigError::Flag { flag: "feature-gates", reason });
        }
        if gate == name {
            found = Some(is_on);
        }
    }
    Ok(found)
}

/// How a member without data begins.
fn origin(state: &str) -> Result<Origin, ConfigError> {
    match state {
        "new" => Ok(Origin::New),
        "existing" => Ok(Origin::Existing),
        _ => Err(ConfigError::Flag {
            flag: "initial-cluster-state",
            reason: "is `new` or `existing`".into(),
        }),
    }
}

/// Where other members reach this one.
pub(crate) fn peer_urls(text: &str) -> Result<Vec<Url>, ConfigError> {
    some("initial-advertise-peer-urls", text)
}

/// The members to begin with, among them `name`, which is at `mine`.
pub(crate) fn founders(
    name: &str,
    initial_cluster: Option<&str>,
    mine: &[Url],
) -> Result<Vec<Named>, ConfigError> {
    let invalid =
        |reason: &str| Err(ConfigError::Flag { flag: "initial-cluster", reason: reason.into() });
    let members = match initial_cluster {
        Some(text) => named(text)?,
        None => vec![Named { name: name.into(), urls: mine.to_vec() }],
    };
    match members.iter().find(|named| named.name == name) {
        None => invalid("does not hold this member's --name"),
        Some(found) if sorted(&found.urls) != sorted(mine) => {
            invalid("has other URLs for this member than --initial-advertise-peer-urls")
        }
        Some(_) => Ok(members),
    }
}

/// In an order that does not depend on how they were written down.
pub(crate) fn sorted(urls: &[Url]) -> Vec<String> {
    let mut texts: Vec<String> = urls.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

fn list(flag: &'static str, text: &str) -> Result<Vec<Url>, ConfigError> {
    urls::parse_list(text).map_err(|source| ConfigError::Url { flag, source })
}

fn some(flag: &'static str, text: &str) -> Result<Vec<Url>, ConfigError> {
    match list(flag, text)? {
        urls if urls.is_empty() => {
            Err(ConfigError::Flag { flag, reason: "give at least one URL".into() })
        }
        urls => Ok(urls),
    }
}

/// `a=http://...,a=http://...,b=http://...`
fn named(text: &str) -> Result<Vec<Named>, ConfigError> {
    let flag = "initial-cluster";
    let mut all: Vec<Named> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((name, url)) = part.split_once('=') else {
            let reason = format!("{part:?} is not NAME=URL");
            return Err(ConfigError::Flag { flag, reason });
        };
        let url = Url::parse(url).map_err(|source| ConfigError::Url { flag, source })?;
        match all.iter_mut().find(|named| named.name == name) {
            Some(named) => named.urls.push(url),
            None => all.push(Named { name: name.into(), urls: vec![url] }),
        }
    }
    Ok(all)
}

fn retention(mode: &str, text: &str) -> Result<Retention, ConfigError> {
    let flag = "auto-compaction-retention";
    let invalid = |reason: &str| ConfigError::Flag { flag, reason: reason.into() };
    match mode {
        "periodic" => {
            let hours = text.parse::<u64>().ok().map(|hours| Duration::from_secs(hours * 3600));
            let keep = hours.or_else(|| duration(text)).ok_or_else(|| invalid("is a time"))?;
            Ok(if keep.is_zero() { Retention::All } else { Retention::For(keep) })
        }
        "revision" => match text.parse() {
            Ok(0) => Ok(Retention::All),
            Ok(count @ 1..) => Ok(Retention::Revisions(count)),
            _ => Err(invalid("is a number of revisions")),
        },
        _ => Err(ConfigError::Flag {
            flag: "auto-compaction-mode",
            reason: "is `periodic` or `revision`".into(),
        }),
    }
}

/// A time; 0 needs no unit.
fn time(flag: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let reason = || ConfigError::Flag { flag, reason: "is a time such as 10m".into() };
    if text == "0" { Ok(Duration::ZERO) } else { duration(text).ok_or_else(reason) }
}

/// A time as Go writes it: `1h30m`, `500ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let number: u64 = number.parse().ok()?;
        let unit_ns = match &after[..unit] {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        sum += Duration::from_nanos(number.checked_mul(unit_ns)?);
        rest = &after[unit..];
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn check(args: &str) -> Result<Config, String> {
        let flags = Flags::try_parse_from(std::iter::once("kstore").chain(args.split_whitespace()));
        Config::check(flags.unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn mistakes_are_named_with_their_flag() {
        #[rustfmt::skip]
        let cases = [
            ("",                                                   ""),
            ("--initial-cluster a=http://h:1",                     "--initial-cluster: does not hold this member's --name"),
            ("--name a --initial-cluster a=http://h:1",            "--initial-cluster: has other URLs for this member than --initial-advertise-peer-urls"),
            ("--initial-cluster x",                                "--initial-cluster: \"x\" is not NAME=URL"),
            ("--listen-client-urls h:1",                           "--listen-client-urls: \"h:1\" is not http://HOST:PORT or https://HOST:PORT"),
            ("--listen-client-urls https://h:1",                   "--cert-file: is needed to listen on https"),
            ("--cert-file c",                                      "--cert-file: certificate and key are given together"),
            ("--cert-file c --key-file k --client-cert-auth",      "--cert-file: client certificates are checked against a trusted-ca-file, which is missing"),
            ("--initial-cluster-state old",                        "--initial-cluster-state: is `new` or `existing`"),
            ("--heartbeat-interval 300",                           "--election-timeout: is at least five times --heartbeat-interval"),
            ("--corrupt-check-time x",                             "--corrupt-check-time: is a time such as 10m"),
            ("--feature-gates InitialCorruptCheck",                "--feature-gates: \"InitialCorruptCheck\" is not NAME=true or NAME=false"),
            ("--auto-compaction-retention x",                      "--auto-compaction-retention: is a time"),
            ("--feature-gates A=true",                             "--feature-gates: there is no gate A; there are AllAlpha, AllBeta, CompactHashCheck, InitialCorruptCheck, LeaseCheckpoint, LeaseCheckpointPersist, SetMemberLocalAddr, StopGRPCServiceOnDefrag, TxnModeWriteWithSharedBuffer"),
            ("--cert-file c --key-file k --client-crl-file l",     "--client-crl-file: needs --client-cert-auth and --cert-file: nothing is checked without"),
            ("--client-cert-auth --client-cert-allowed-hostname h", "--client-cert-allowed-hostname: needs --client-cert-auth and --cert-file: nothing is checked without"),
            ("--peer-cert-allowed-cn n",                           "--peer-cert-allowed-cn: needs --peer-cert-file: members do not speak TLS without"),
            ("--peer-cert-file c --peer-key-file k --peer-trusted-ca-file a --peer-cert-allowed-cn n --peer-cert-allowed-hostname h", "--peer-cert-allowed-hostname: and --peer-cert-allowed-cn exclude each other"),
            ("--tls-min-version TLS1.3 --tls-max-version TLS1.2",  "--tls-min-version: is TLS1.2 or TLS1.3, and --tls-max-version not below it"),
            ("--metrics some",                                     "--metrics: is `basic` or `extensive`"),
            ("--auto-compaction-mode revision --auto-compaction-retention 1h", "--auto-compaction-retention: is a number of revisions"),
        ];
        for (args, expected) in cases {
            assert_eq!(check(args).err().unwrap_or_default(), expected, "{args}");
        }
    }

    #[test]
    fn checks_and_limits_are_on_unless_they_are_turned_off() {
        #[rustfmt::skip]
        let cases = [
            ("",                                                  Some(600), true,  None),
            ("--corrupt-check-time 0",                            None,      true,  None),
            ("--experimental-corrupt-check-time=0s",              None,      true,  None),
            ("--experimental-initial-corrupt-check=false",        Some(600), false, None),
            ("--experimental-initial-corrupt-check",              Some(600), true,  None),
            ("--feature-gates AllBeta=true,InitialCorruptCheck=false",  Some(600), false, None),
            ("--quota-backend-bytes=8589934592",                  Some(600), true,  Some(8 << 30)),
            ("--quota-backend-bytes -1",                          Some(600), true,  None),
        ];
        for (args, every_s, at_start, quota) in cases {
            let config = check(args).unwrap();
            let every = config.compare_every.map(|every| every.as_secs());
            let found = (every, config.compares_at_start, config.limits.quota_bytes);
            assert_eq!(found, (every_s, at_start, quota), "{args}");
        }
    }

    #[test]
    fn retention_is_read_as_etcd_reads_it() {
        #[rustfmt::skip]
        let cases = [
            ("periodic", "0",     Retention::All),
            ("periodic", "1",     Retention::For(Duration::from_secs(3600))),
            ("periodic", "1h30m", Retention::For(Duration::from_secs(5400))),
            ("revision", "1000",  Retention::Revisions(1000)),
        ];
        for (mode, text, expected) in cases {
            assert_eq!(retention(mode, text).unwrap(), expected, "{mode} {text}");
        }
    }
}
