//! Kubernetes' `semver` library: semantic versions, strict or as people write them.

use std::cmp::Ordering;
use std::rc::Rc;

use semver::Version;

use super::Answer;
use crate::cel::value::Val;

pub(super) fn call<'a>(name: &str, values: &[Val<'a>]) -> Answer<'a> {
    Some(Ok(match (name, values) {
        ("semver", [Val::Text(text), rest @ ..]) => {
            return Some(read(text, is_loose(rest)?).map(|it| Val::Version(Rc::new(it))));
        }
        ("isSemver", [Val::Text(text), rest @ ..]) => {
            Val::Bool(read(text, is_loose(rest)?).is_ok())
        }
        ("major", [Val::Version(version)]) => Val::Int(version.major as i64),
        ("minor", [Val::Version(version)]) => Val::Int(version.minor as i64),
        ("patch", [Val::Version(version)]) => Val::Int(version.patch as i64),
        (_, [Val::Version(version), Val::Version(other)]) => {
            let order = version.cmp_precedence(other);
            match name {
                "isGreaterThan" => Val::Bool(order == Ordering::Greater),
                "isLessThan" => Val::Bool(order == Ordering::Less),
                "compareTo" => Val::Int(order as i64),
                _ => return None,
            }
        }
        _ => return None,
    }))
}

/// Whether a version is read as people write it: the last argument, if there is one.
fn is_loose(rest: &[Val<'_>]) -> Option<bool> {
    match rest {
        [] => Some(false),
        [Val::Bool(is_loose)] => Some(*is_loose),
        _ => None,
    }
}

fn read(text: &str, is_loose: bool) -> Result<Version, String> {
    let text = if is_loose { normal(text)? } else { text.to_owned() };
    if text.split('.').count() < 3 {
        return Err("No Major.Minor.Patch elements found".to_owned());
    }
    Version::parse(&text).map_err(|error| error.to_string())
}

/// `v01.2` as `1.2.0`.
fn normal(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text.splitn(3, '.').map(without_zeros).collect();
    if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".to_owned());
    }
    parts.resize(3, "0".to_owned());
    Ok(parts.join("."))
}

fn without_zeros(part: &str) -> String {
    let rest = part.trim_start_matches('0');
    let is_digit_left = rest.starts_with(|c: char| c.is_ascii_digit());
    if is_digit_left || part.len() < 2 || rest.len() == part.len() {
        return if is_digit_left { rest } else { part }.to_owned();
    }
    format!("0{rest}")
}
