//! Schedules in cron's notation, as `CronJob` takes them: when is the next time, when was the last.
//!
//! Five fields (minute, hour, day of month, month, day of week), names of months and days, lists, ranges,
//! steps, `@hourly` and its like, `@every 90s`. A day fits if both day fields do; if both are restricted,
//! if one of them does. Pure: knows no clock.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A day that fits comes within this many days, or never (29 February: within eight years).
const DAYS_MAX: u32 = 366 * 8;
/// How far back the last time is looked for, step by step.
const LOOK_BACK_S: [i64; 5] = [3_600, 86_400, 7 * 86_400, 31 * 86_400, 366 * 86_400];

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something happens again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At the times that fit.
    Fields(Fields),
    /// This many seconds after the last time.
    Every(i64),
}

/// What fits, as sets of bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both day fields are restricted: one of them is enough.
    either_day: bool,
}

impl Schedule {
    /// Reads a schedule; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        if let Some(descriptor) = text.strip_prefix('@') {
            return Self::described(descriptor);
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let &[minutes, hours, days, months, weekdays] = words.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: [{text}]", words.len()));
        };
        let (minutes, _) = field(minutes, 0, 59, &[])?;
        let (hours, _) = field(hours, 0, 23, &[])?;
        let (days, any_day) = field(days, 1, 31, &[])?;
        let (months, _) = field(months, 1, 12, &MONTHS)?;
        let (weekdays, any_weekday) = field(weekdays, 0, 6, &DAYS)?;
        let either_day = !any_day && !any_weekday;
        Ok(Self::Fields(Fields { minutes, hours, days, months, weekdays, either_day }))
    }

    fn described(descriptor: &str) -> Result<Self, String> {
        if let Some(text) = descriptor.strip_prefix("every ") {
            let wrong = |_| format!("failed to parse duration @{descriptor}");
            let every: SignedDuration = text.trim().parse().map_err(wrong)?;
            return Ok(Self::Every(every.as_secs().max(1)));
        }
        let fields = match descriptor {
            "yearly" | "annually" => "0 0 1 1 *",
            "monthly" => "0 0 1 * *",
            "weekly" => "0 0 * * 0",
            "daily" | "midnight" => "0 0 * * *",
            "hourly" => "0 * * * *",
            _ => return Err(format!("unrecognized descriptor: @{descriptor}")),
        };
        Self::parse(fields)
    }

    /// The first time after `after`, if there ever is one.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(seconds) => Timestamp::from_second(after.as_second() + seconds).ok(),
            Self::Fields(fields) => fields.next(after, zone),
        }
    }

    /// The last time after `after` and not after `now`.
    pub fn latest(&self, after: Timestamp, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if let Self::Every(seconds) = self {
            let passed = (now.as_second() - after.as_second()).div_euclid(*seconds);
            return (passed > 0)
                .then(|| Timestamp::from_second(after.as_second() + passed * seconds).ok())?;
        }
        let starts = LOOK_BACK_S.iter().filter_map(|back_s| {
            Timestamp::from_second(now.as_second() - back_s).ok().filter(|start| *start > after)
        });
        for start in starts.chain([after]) {
            let mut found = self.next(start, zone).filter(|at| *at <= now);
            while let Some(later) = found.and_then(|at| self.next(at, zone)).filter(|at| *at <= now)
            {
                found = Some(later);
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

impl Fields {
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut date: Date = after.to_zoned(zone.clone()).date();
        for _ in 0..DAYS_MAX {
            if self.fits(date)
                && let Some(at) = self.within(date, after, zone)
            {
                return Some(at);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn fits(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let is_day = if self.either_day { day || weekday } else { day && weekday };
        has(self.months, date.month()) && is_day
    }

    /// The first time of a day that is after `after`.
    fn within(&self, date: Date, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let hours = (0..24_i8).filter(|hour| has(self.hours, *hour));
        let times = hours.flat_map(|hour| {
            (0..60_i8).filter(|minute| has(self.minutes, *minute)).map(move |minute| (hour, minute))
        });
        times
            .filter_map(|(hour, minute)| date.at(hour, minute, 0, 0).to_zoned(zone.clone()).ok())
            .map(|zoned| zoned.timestamp())
            .find(|at| *at > after)
    }
}

fn has(set: u64, number: i8) -> bool {
    set & (1 << number) != 0
}

/// The set of a field, and whether it is every value.
fn field(text: &str, low: u64, high: u64, names: &[&str]) -> Result<(u64, bool), String> {
    let (mut set, mut is_any) = (0, false);
    for part in text.split(',') {
        let (bits, is_all) = range(part, low, high, names)?;
        set |= bits;
        is_any |= is_all;
    }
    Ok((set, is_any))
}

fn range(part: &str, low: u64, high: u64, names: &[&str]) -> Result<(u64, bool), String> {
    let (values, step) = match part.split_once('/') {
        None => (part, None),
        Some((values, step)) => (values, Some(number(step, &[], 0)?)),
    };
    if step == Some(0) {
        return Err(format!("step of range should be a positive number: {part}"));
    }
    let is_all = matches!(values, "*" | "?");
    let (start, end) = match values.split_once('-') {
        _ if is_all => (low, high),
        Some((start, end)) => (number(start, names, low)?, number(end, names, low)?),
        None => {
            let start = number(values, names, low)?;
            (start, if step.is_some() { high } else { start })
        }
    };
    if start < low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {part}"));
    }
    if end > high {
        return Err(format!("end of range ({end}) above maximum ({high}): {part}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    let step = step.unwrap_or(1);
    let set = (start..=end)
        .step_by(usize::try_from(step).unwrap_or(usize::MAX))
        .fold(0, |set, value| set | 1 << value);
    Ok((set, is_all && step == 1))
}

/// A number, or a name that stands for one (the first of `names` for `first`).
fn number(text: &str, names: &[&str], first: u64) -> Result<u64, String> {
    let lower = text.to_lowercase();
    if let Some(at) = names.iter().position(|name| *name == lower) {
        return Ok(first + at as u64);
    }
    text.parse().map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schedule: &str, zone: &str, after: &str, expected: &str) {
        let zone = TimeZone::get(zone).unwrap();
        let next = Schedule::parse(schedule).unwrap().next(after.parse().unwrap(), &zone);
        let shown = next.map_or("never".to_owned(), |at| at.to_string());
        assert_eq!(shown, expected, "{schedule} after {after}");
    }

    #[test]
    fn next_times_are_crons() {
        let at = "2026-11-27T03:14:15Z"; // a Friday
        check("* * * * *", "UTC", at, "2026-11-27T03:15:00Z");
        check("*/20 * * * *", "UTC", at, "2026-11-27T03:20:00Z");
        check("0 0 * * *", "UTC", at, "2026-11-28T00:00:00Z");
        check("30 3 1-7 * *", "UTC", at, "2026-12-01T03:30:00Z");
        check("0 9 * * MON-fri", "UTC", at, "2026-11-27T09:00:00Z");
        check("0 9 * * sat", "UTC", at, "2026-11-28T09:00:00Z");
        check("0 0 13 * fri", "UTC", at, "2026-12-04T00:00:00Z");
        check("0 0 29 2 *", "UTC", at, "2028-02-29T00:00:00Z");
        check("0 0 31 2 *", "UTC", at, "never");
        check("@hourly", "UTC", at, "2026-11-27T04:00:00Z");
        check("@every 90s", "UTC", at, "2026-11-27T03:15:45Z");
        check("0 9 * * *", "America/New_York", at, "2026-11-27T14:00:00Z");
        check("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z");
    }

    #[test]
    fn the_latest_time_is_the_last_one_missed() {
        let check = |schedule: &str, after: &str, now: &str, expected: &str| {
            let schedule = Schedule::parse(schedule).unwrap();
            let found =
                schedule.latest(after.parse().unwrap(), now.parse().unwrap(), &TimeZone::UTC);
            let shown = found.map_or("never".to_owned(), |at| at.to_string());
            assert_eq!(shown, expected, "{schedule:?} between {after} and {now}");
        };
        let now = "2026-11-27T03:14:15Z";
        check("* * * * *", "2026-11-27T03:14:00Z", now, "never");
        check("* * * * *", "2026-11-27T03:13:59Z", now, "2026-11-27T03:14:00Z");
        check("* * * * *", "2020-01-01T00:00:00Z", now, "2026-11-27T03:14:00Z");
        check("0 0 1 1 *", "2020-01-01T00:00:00Z", now, "2026-01-01T00:00:00Z");
        check("0 0 29 2 *", "2020-01-01T00:00:00Z", now, "2024-02-29T00:00:00Z");
        check("@every 1m", "2026-11-27T03:10:05Z", now, "2026-11-27T03:14:05Z");
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "* * * * 7",
            "a * * * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "@often",
            "@every x",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }
}
