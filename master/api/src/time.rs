//! The two time formats of the API: whole seconds (`Time`) and microseconds (`MicroTime`).
//!
//! Knows no clock: callers bring the moment.

use jiff::{Timestamp, Unit};

/// `2026-11-21T06:25:00Z`, the form of `Time`.
pub fn seconds(at: Timestamp) -> String {
    let whole =
        Timestamp::from_second(at.as_second()).expect("seconds of a timestamp are in range");
    whole.to_string()
}

/// `2026-11-21T06:25:00.123456Z`, the form of `MicroTime`.
pub fn micros(at: Timestamp) -> String {
    let micros = at.as_microsecond().rem_euclid(1_000_000);
    let second = at.as_microsecond().div_euclid(1_000_000);
    let whole = Timestamp::from_second(second).expect("seconds of a timestamp are in range");
    let text = whole.to_string();
    format!("{}.{micros:06}Z", text.trim_end_matches('Z'))
}

/// Reads either form, or any other RFC 3339 text.
pub fn parse(text: &str) -> Option<Timestamp> {
    if text.is_empty() { None } else { text.parse().ok() }
}

/// Whole seconds from `then` to `now`; negative where `then` is later.
pub fn elapsed_s(then: Timestamp, now: Timestamp) -> i64 {
    (now - then).total(Unit::Second).map_or(0, |seconds| seconds.floor() as i64)
}

/// The age that `kubectl get` prints for a time in the metadata: `<unknown>` when absent.
pub fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(|| "<unknown>".to_owned(), |then| human_duration(elapsed_s(then, now)))
}

/// A short duration as kubectl prints it: `45s`, `3m7s`, `12m`, `5h3m`, `2d4h`, `30d`, `2y10d`.
pub fn human_duration(seconds: i64) -> String {
    let pair = |big: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{small_unit}"),
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(hours / 24, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{}d", hours / 24),
        63_072_000..252_288_000 => pair(hours / 24 / 365, "y", (hours / 24) % 365, "d"),
        _ => format!("{}y", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_round_trip() {
        let at: Timestamp = "2026-11-21T06:25:00.120034999Z".parse().unwrap();
        assert_eq!(seconds(at), "2026-11-21T06:25:00Z");
        assert_eq!(micros(at), "2026-11-21T06:25:00.120034Z");
        assert_eq!(micros(parse("2026-11-21T06:25:00Z").unwrap()), "2026-11-21T06:25:00.000000Z");
        assert_eq!(parse(""), None);
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn durations_print_as_kubectl_does() {
        #[rustfmt::skip]
        let cases = [
            (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (187, "3m7s"), (601, "10m"),
            (10_799, "179m"), (10_800, "3h"), (10_860, "3h1m"), (28_800, "8h"), (172_799, "47h"),
            (172_800, "2d"), (176_400, "2d1h"), (691_200, "8d"), (63_071_999, "729d"),
            (63_072_000, "2y"), (63_158_400, "2y1d"), (252_288_000, "8y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }
}
