//! What a namespace's labels demand of its pods. Pure.

use std::fmt;

use master_api::status::FieldError;
use serde_json::Value;

use super::{Level, Rule, Violation, baseline, restricted};
use crate::json::text_map;

const PREFIX: &str = "pod-security.kubernetes.io";
/// The minor version that stands for the newest.
const LATEST: u32 = u32::MAX - 1;

/// A level as it was at a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    level: Level,
    minor: u32,
}

/// What is demanded, and what is only warned of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: Demand,
    pub(super) warn: Demand,
}

const NOTHING: Demand = Demand { level: Level::Privileged, minor: LATEST };

impl Policy {
    /// The policy of a namespace, and what is wrong with its labels: a level to enforce that nobody knows is taken for
    /// the strictest, one to warn of for none.
    pub(super) fn of(namespace: &Value) -> (Self, Vec<FieldError>) {
        let labels = text_map(namespace, "/metadata/labels");
        let mut policy = Self { enforce: NOTHING, warn: NOTHING };
        let mut errors = Vec::new();
        let mut read = |mode: &str, demand: &mut Demand, fallback: Level| {
            let mut wrong = |key: String, value: &str, detail: &str| {
                let field = format!("metadata.labels[{key}]");
                errors.push(FieldError::invalid(&field, value, detail));
            };
            let (level_key, version_key) =
                (format!("{PREFIX}/{mode}"), format!("{PREFIX}/{mode}-version"));
            let mut is_said = false;
            if let Some(value) = labels.get(&level_key) {
                is_said = level(value).is_some();
                demand.level = level(value).unwrap_or(fallback);
                if !is_said {
                    let detail = "must be one of privileged, baseline, restricted";
                    wrong(level_key, value, detail);
                }
            }
            if let Some(value) = labels.get(&version_key) {
                demand.minor = minor(value).unwrap_or(LATEST);
                if minor(value).is_none() {
                    wrong(version_key, value, "must be \"latest\" or \"v1.x\"");
                }
            }
            is_said
        };
        let is_enforced = read("enforce", &mut policy.enforce, Level::Restricted);
        read("audit", &mut NOTHING.clone(), Level::Privileged);
        read("warn", &mut policy.warn, Level::Privileged);
        let says = |name: &str| labels.contains_key(&format!("{PREFIX}/{name}"));
        // Who is not told what to warn of warns of what is enforced.
        if !says("warn") && is_enforced && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !says("warn-version") {
                policy.warn.minor = policy.enforce.minor;
            }
        }
        (policy, errors)
    }
}

impl Demand {
    /// Whether pods may break it that did not break the other.
    pub(super) fn asks_more_than(&self, other: &Self) -> bool {
        self.level > Level::Privileged && (self.minor != other.minor || self.level > other.level)
    }

    /// What a pod breaks of it.
    pub(super) fn broken_by(&self, pod: &Value) -> Vec<Violation> {
        let is_made = |rule: &&Rule| self.minor >= rule.since;
        let baseline = baseline::CHECKS.iter().filter(is_made);
        let rules: Vec<&Rule> = match self.level {
            Level::Privileged => Vec::new(),
            Level::Baseline => baseline.collect(),
            Level::Restricted => baseline
                .filter(|rule| self.minor < rule.replaced)
                .chain(restricted::CHECKS.iter().filter(is_made))
                .collect(),
        };
        rules.iter().filter_map(|rule| (rule.check)(pod, self.minor)).collect()
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })?;
        match self.minor {
            LATEST => f.write_str(":latest"),
            minor => write!(f, ":v1.{minor}"),
        }
    }
}

fn level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

fn minor(text: &str) -> Option<u32> {
    if text == "latest" {
        return Some(LATEST);
    }
    let digits = text.strip_prefix("v1.")?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_padded = digits.len() > 1 && digits.starts_with('0');
    digits.parse().ok().filter(|minor| is_plain && !is_padded && *minor < LATEST)
}
