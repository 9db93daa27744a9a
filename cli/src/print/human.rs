//! Times and durations, as people read and write them.

use std::time::Duration;

use jiff::Timestamp;
use store_env::clock::SystemClock;

use crate::error::{Result, said};

/// Now, in seconds since the epoch.
pub fn now_s() -> i64 {
    i64::try_from(SystemClock::shared().unix_ms() / 1000).unwrap_or(i64::MAX)
}

/// How long ago an RFC 3339 time was, or `<unknown>`.
pub fn age(time: Option<&str>) -> String {
    match time.and_then(parse_time) {
        Some(time) => duration(now_s() - time),
        None => "<unknown>".into(),
    }
}

/// Seconds since the epoch of an RFC 3339 time.
pub fn parse_time(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// A time as `describe` prints it: `Sat, 21 Nov 2026 07:00:00 +0000`.
pub fn long_time(text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(time) => jiff::fmt::rfc2822::to_string(&time.to_zoned(jiff::tz::TimeZone::UTC))
            .unwrap_or_else(|_| text.to_owned()),
        Err(_) => text.to_owned(),
    }
}

/// Seconds in at most two units, the coarser the longer.
pub fn duration(seconds: i64) -> String {
    let two = |big: i64, unit: char, small: i64, small_unit: char| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{small_unit}"),
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match seconds {
        ..-1 => "<invalid>".into(),
        -1..0 => "0s".into(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, 'd', hours % 24, 'h'),
        _ if days < 730 => format!("{days}d"),
        _ if days < 2920 => two(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

/// Reads `90s`, `1h30m`, `1.5h`, `300ms`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let bad = || said(format!("invalid duration {text:?}: write 30s, 10m or 1h30m"));
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = 0.0;
    let mut rest = text;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        total += number * seconds;
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(total).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_get_coarser_with_length() {
        #[rustfmt::skip]
        let cases = [
            (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (600, "10m"),
            (3 * 3600 - 1, "179m"), (3 * 3600, "3h"), (3 * 3600 + 60, "3h1m"), (9 * 3600, "9h"),
            (48 * 3600, "2d"), (49 * 3600, "2d1h"), (9 * 86_400, "9d"), (731 * 86_400, "2y1d"), (9 * 365 * 86_400, "9y"),
        ];
        for (seconds, wanted) in cases {
            assert_eq!(duration(seconds), wanted);
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        #[rustfmt::skip]
        let cases = [
            ("10m", Some(600_000)), ("1h30m", Some(5_400_000)), ("1.5s", Some(1500)), ("300ms", Some(300)),
            ("45", Some(45_000)), ("", None), ("m", None), ("5 m", None), ("-5s", None), ("5d", None),
        ];
        for (text, wanted_ms) in cases {
            let read = parse_duration(text).ok().map(|duration| duration.as_millis());
            assert_eq!(read, wanted_ms, "{text}");
        }
    }

    #[test]
    fn times_are_long_in_descriptions() {
        assert_eq!(long_time("2026-11-21T07:00:00Z"), "Sat, 21 Nov 2026 07:00:00 +0000");
    }
}
