//! Probes, check by check, as etcd names and prints them: `/livez`, `/readyz`, a path below them for each check,
//! `?verbose` for one line a check, `?exclude=CHECK` for all others.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use http::StatusCode;
use store_handle::{KeyRange, RangeRequest};

use crate::facade::Facade;

/// What is asked of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Check {
    SerializableRead,
    LinearizableRead,
    NonLearner,
    DataCorruption,
}

/// How often each check of each probe went well, and how often not.
#[derive(Debug, Default)]
pub(crate) struct Checks(std::sync::Mutex<BTreeMap<(&'static str, Check), Outcomes>>);

#[derive(Clone, Copy, Debug, Default)]
struct Outcomes {
    well: u64,
    failed: u64,
    is_well: bool,
}

/// What became of one check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) probe: &'static str,
    pub(crate) check: &'static str,
    pub(crate) well: u64,
    pub(crate) failed: u64,
    /// The last time.
    pub(crate) is_well: bool,
}

impl Checks {
    fn note(&self, probe: &'static str, check: Check, is_well: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let outcomes = all.entry((probe, check)).or_default();
        outcomes.is_well = is_well;
        *(if is_well { &mut outcomes.well } else { &mut outcomes.failed }) += 1;
    }

    /// Those that were run.
    pub(crate) fn run(&self) -> impl Iterator<Item = Run> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.into_iter().map(|((probe, check), outcomes)| {
            let Outcomes { well, failed, is_well } = outcomes;
            Run { probe, check: check.name(), well, failed, is_well }
        })
    }
}

const LIVE: &[Check] = &[Check::SerializableRead];
const READY: &[Check] =
    &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
            Self::DataCorruption => "data_corruption",
        }
    }

    async fn run(self, facade: &Facade) -> Result<(), String> {
        match self {
            Self::SerializableRead => {
                let (range, limit) = (KeyRange::key("a"), 1);
                let request = RangeRequest { range, limit, ..RangeRequest::default() };
                facade.handle.range(&request).map(drop).map_err(|error| error.to_string())
            }
            Self::LinearizableRead if facade.leadership().leader.is_none() => {
                Err("no leader".to_owned())
            }
            Self::LinearizableRead => {
                facade.read_index().await.map(drop).map_err(|status| status.message().to_owned())
            }
            Self::NonLearner if facade.is_learner() => Err("this member has no vote".to_owned()),
            Self::DataCorruption if facade.is_corrupt() => Err("alarm CORRUPT".to_owned()),
            Self::NonLearner | Self::DataCorruption => Ok(()),
        }
    }
}

/// What a probe at this path is answered; `None` if there is no such probe.
pub(crate) async fn answer(
    facade: &Facade,
    path: &str,
    query: &str,
) -> Option<(StatusCode, String)> {
    let (probe, checks) = chosen(path, query)?;
    let (mut lines, mut has_failed) = (String::new(), false);
    for check in checks {
        let name = check.name();
        let outcome = check.run(facade).await;
        facade.metrics.checks.note(probe, check, outcome.is_ok());
        match outcome {
            Ok(()) => lines += &format!("[+]{name} ok\n"),
            Err(reason) => {
                has_failed = true;
                lines += &format!("[-]{name} failed: {reason}\n");
            }
        }
    }
    Some(match (has_failed, is_asked(query, "verbose")) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, lines),
        (false, true) => (StatusCode::OK, lines + "ok\n"),
        (false, false) => (StatusCode::OK, "ok\n".to_owned()),
    })
}

/// Whether there is a probe at this path.
pub(crate) fn is_there(path: &str) -> bool {
    chosen(path, "").is_some()
}

/// The checks behind a path, but for those that are excluded; a name that is unknown excludes nothing.
fn chosen(path: &str, query: &str) -> Option<(&'static str, Vec<Check>)> {
    let (probe, one) = path.strip_prefix('/')?.split_once('/').map_or_else(
        || (path.trim_start_matches('/'), None),
        |(probe, check)| (probe, Some(check)),
    );
    let (probe, all) = match probe {
        "livez" => ("livez", LIVE),
        "readyz" => ("readyz", READY),
        _ => return None,
    };
    if let Some(name) = one {
        let one = all.iter().find(|check| check.name() == name)?;
        return Some((probe, vec![*one]));
    }
    let excluded = |check: &&Check| {
        query.split('&').any(|part| part.strip_prefix("exclude=") == Some(check.name()))
    };
    Some((probe, all.iter().filter(|check| !excluded(check)).copied().collect()))
}

fn is_asked(query: &str, name: &str) -> bool {
    query.split('&').any(|part| part.split('=').next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_exclusions_choose_checks() {
        use Check::*;
        #[rustfmt::skip]
        let cases = [
            ("/livez",                   "",                              Some(vec![SerializableRead])),
            ("/livez/serializable_read", "verbose",                       Some(vec![SerializableRead])),
            ("/livez/non_learner",       "",                              None),
            ("/readyz",                  "verbose",                       Some(READY.to_vec())),
            ("/readyz",                  "exclude=nothing",               Some(READY.to_vec())),
            ("/readyz/non_learner",      "",                              Some(vec![NonLearner])),
            ("/readyz/",                 "",                              None),
            ("/readyz",                  "exclude=linearizable_read&exclude=non_learner",
                                                                          Some(vec![DataCorruption, SerializableRead])),
            ("/healthz",                 "",                              None),
        ];
        for (path, query, expected) in cases {
            let found = chosen(path, query).map(|(_, checks)| checks);
            assert_eq!(found, expected, "{path}?{query}");
        }
    }
}
