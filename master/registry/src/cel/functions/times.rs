//! Moments and durations; in UTC, unless a zone is named.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::Answer;
use crate::cel::value::Val;
use crate::custom::format::duration_ns;

pub(super) fn call<'a>(name: &str, values: &[Val<'a>]) -> Answer<'a> {
    match (name, values) {
        ("duration", [Val::Text(text)]) => Some(
            duration_ns(text)
                .map(Val::Duration)
                .ok_or_else(|| format!("invalid duration {text:?}")),
        ),
        ("timestamp", [Val::Text(text)]) => Some(
            text.parse().map(Val::Timestamp).map_err(|_| format!("invalid timestamp {text:?}")),
        ),
        ("timestamp", [Val::Int(seconds)]) => Some(
            Timestamp::from_second(*seconds)
                .map(Val::Timestamp)
                .map_err(|_| "timestamp overflow".to_owned()),
        ),
        ("duration", [same @ Val::Duration(_)]) | ("timestamp", [same @ Val::Timestamp(_)]) => {
            Some(Ok(same.clone()))
        }
        (_, [Val::Duration(ns)]) => of_duration(name, *ns).map(|number| Ok(Val::Int(number))),
        (_, [Val::Timestamp(at)]) => {
            of_moment(name, *at, TimeZone::UTC).map(|number| Ok(Val::Int(number)))
        }
        (_, [Val::Timestamp(at), Val::Text(zone)]) => match of_name(zone) {
            Some(zone) => of_moment(name, *at, zone).map(|number| Ok(Val::Int(number))),
            None => Some(Err(format!("unknown time zone {zone}"))),
        },
        _ => None,
    }
}

fn of_duration(name: &str, ns: i64) -> Option<i64> {
    let unit = match name {
        "getHours" => 3_600_000_000_000,
        "getMinutes" => 60_000_000_000,
        "getSeconds" => 1_000_000_000,
        "getMilliseconds" => 1_000_000,
        _ => return None,
    };
    Some(ns / unit)
}

/// A zone by its name in the IANA database, or as hours and minutes: `+05:30`, `-8:00`, `02:00`.
fn of_name(name: &str) -> Option<TimeZone> {
    let Some((hours, minutes)) = name.split_once(':') else {
        return if name.is_empty() { Some(TimeZone::UTC) } else { TimeZone::get(name).ok() };
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let minutes = if hours < 0 || name.starts_with('-') { -minutes } else { minutes };
    Offset::from_seconds(hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?)
        .ok()
        .map(TimeZone::fixed)
}

fn of_moment(name: &str, at: Timestamp, zone: TimeZone) -> Option<i64> {
    let zoned = at.to_zoned(zone);
    let number = match name {
        "getFullYear" => i64::from(zoned.year()),
        "getMonth" => i64::from(zoned.month()) - 1,
        "getDate" => i64::from(zoned.day()),
        "getDayOfMonth" => i64::from(zoned.day()) - 1,
        "getDayOfWeek" => i64::from(zoned.weekday().to_sunday_zero_offset()),
        "getDayOfYear" => i64::from(zoned.day_of_year()) - 1,
        "getHours" => i64::from(zoned.hour()),
        "getMinutes" => i64::from(zoned.minute()),
        "getSeconds" => i64::from(zoned.second()),
        "getMilliseconds" => i64::from(zoned.millisecond()),
        _ => return None,
    };
    Some(number)
}
