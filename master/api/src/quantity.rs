//! Amounts of resources: `100m`, `1.5Gi`, `2e3`; exact, in billionths of a unit.
//!
//! Upstream: k8s.io/apimachinery/pkg/api/resource. Never a floating point number.

use std::cmp::Ordering;
use std::fmt::{self, Display};
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde_json::Value;
use thiserror::Error;

const NANOS: i128 = 1_000_000_000;
/// Binary amounts are capped at 2^63-1 whole units.
const BINARY_MAX: i128 = i64::MAX as i128 * NANOS;

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum QuantityError {
    /// It does not look like a quantity.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// It has no number.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// Its suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The family of suffixes a quantity was written in, and is written in again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `100m`, `2k`.
    #[default]
    DecimalSi,
    /// `64Ki`, `1Gi`.
    BinarySi,
    /// `1e3`.
    DecimalExponent,
}

/// An amount; compared by value, whatever its format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// Reads upstream's notation; what is finer than a billionth is rounded away from zero.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (sign, rest) = match text.as_bytes().first() {
            None => return Err(QuantityError::Format),
            Some(b'-') => (-1, &text[1..]),
            Some(b'+') => (1, &text[1..]),
            Some(_) => (1, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        if number.is_empty() {
            return Err(QuantityError::Format);
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(if fraction.contains('.') {
                QuantityError::Format
            } else {
                QuantityError::Number
            });
        }
        let (scale, format) = scale(suffix)?;
        let nanos = magnitude(whole, fraction, scale);
        let nanos = if format == Format::BinarySi { nanos.min(BINARY_MAX) } else { nanos };
        let is_fraction = nanos > 0 && nanos < NANOS;
        let format =
            if format == Format::BinarySi && is_fraction { Format::DecimalSi } else { format };
        Ok(Self { nanos: sign * nanos, format })
    }

    /// Reads a JSON string or number.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text).ok(),
            Value::Number(number) => Self::parse(&number.to_string()).ok(),
            _ => None,
        }
    }

    /// So many whole units.
    pub fn from_units(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANOS, format: Format::DecimalSi }
    }

    /// So many thousandths.
    pub fn from_millis(millis: i64) -> Self {
        Self { nanos: i128::from(millis) * (NANOS / 1000), format: Format::DecimalSi }
    }

    /// So many bytes, to be written with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Self {
        Self { nanos: i128::from(bytes) * NANOS, format: Format::BinarySi }
    }

    /// Whole units, rounded away from zero, within `i64`.
    pub fn units(self) -> i64 {
        self.rounded(NANOS)
    }

    /// Thousandths, rounded away from zero, within `i64`.
    pub fn millis(self) -> i64 {
        self.rounded(NANOS / 1000)
    }

    fn rounded(self, unit: i128) -> i64 {
        let up = self.nanos.saturating_abs().saturating_add(unit - 1) / unit * self.nanos.signum();
        i64::try_from(up).unwrap_or(if up < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is less than nothing.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.nanos % NANOS == 0
    }

    /// How it was written.
    pub fn format(self) -> Format {
        self.format
    }
}

/// What a suffix multiplies by: a power of ten or of two.
#[derive(Clone, Copy, Debug)]
enum Scale {
    Ten(i32),
    Two(u32),
}

fn scale(suffix: &str) -> Result<(Scale, Format), QuantityError> {
    let decimal = |power| Ok((Scale::Ten(power), Format::DecimalSi));
    let binary = |power| Ok((Scale::Two(power), Format::BinarySi));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => exponent(suffix),
    }
}

fn exponent(suffix: &str) -> Result<(Scale, Format), QuantityError> {
    let fits = |c: char| "eEinumkKMGTP+-".contains(c) || c.is_ascii_digit();
    if !suffix.chars().all(fits) {
        return Err(QuantityError::Format);
    }
    let digits = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
    let power: i32 = digits.parse().map_err(|_| QuantityError::Suffix)?;
    Ok((Scale::Ten(power), Format::DecimalExponent))
}

/// Billionths of a decimal number times its scale, rounded up, saturating.
fn magnitude(whole: &str, fraction: &str, scale: Scale) -> i128 {
    let digits = whole.bytes().chain(fraction.bytes());
    let places = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let mut power = match scale {
        Scale::Ten(power) => power.saturating_add(9).saturating_sub(places),
        Scale::Two(_) => 9_i32.saturating_sub(places),
    };
    let mut value: i128 = 0;
    let mut is_inexact = false;
    for digit in digits {
        let digit = i128::from(digit - b'0');
        match value.checked_mul(10).and_then(|value| value.checked_add(digit)) {
            Some(next) => value = next,
            None => {
                // More digits than 38: what is cut off here is far below a billionth, or capped.
                power = power.saturating_add(1);
                is_inexact |= digit != 0;
            }
        }
    }
    if value == 0 {
        return 0;
    }
    if let Scale::Two(bits) = scale {
        value = value.saturating_mul(1 << bits);
    }
    while power > 0 {
        let Some(next) = value.checked_mul(10) else { return i128::MAX };
        (value, power) = (next, power - 1);
    }
    while power < 0 && value > 0 {
        is_inexact |= value % 10 != 0;
        (value, power) = (value / 10, power + 1);
    }
    value.saturating_add(i128::from(is_inexact))
}

impl Display for Quantity {
    /// The canonical form: no fraction, and the largest suffix that needs none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi && self.nanos.abs() >= 1024 * NANOS {
            return write_binary(self.nanos, f);
        }
        let (mut value, mut power) = (self.nanos, -9);
        while value % 1000 == 0 && (power < 18 || self.format == Format::DecimalExponent) {
            (value, power) = (value / 1000, power + 3);
        }
        match (self.format, power) {
            (Format::DecimalExponent, 0) => write!(f, "{value}"),
            (Format::DecimalExponent, power) => write!(f, "{value}e{power}"),
            (Format::DecimalSi | Format::BinarySi, power) => {
                const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
                let place = usize::try_from(power / 3 + 3).expect("the power starts at -9");
                write!(f, "{value}{}", SUFFIXES[place])
            }
        }
    }
}

fn write_binary(nanos: i128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut value = (nanos.abs() + NANOS - 1) / NANOS * nanos.signum();
    let mut place = 0;
    while value % 1024 == 0 && place + 1 < SUFFIXES.len() {
        (value, place) = (value / 1024, place + 1);
    }
    write!(f, "{value}{}", SUFFIXES[place])
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Self;

    /// Keeps the left side's format, unless that is zero.
    fn add(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_sub(other.nanos), format }
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = Quantity::parse(text).map_or_else(|error| error.to_string(), |q| q.to_string());
        assert!(found.starts_with(expected), "{text}: {found}, expected {expected}");
    }

    #[test]
    fn quantities_are_written_in_canonical_form() {
        #[rustfmt::skip]
        let cases = [
            ("0", "0"), ("0Ki", "0"), ("1", "1"), ("1000", "1k"), ("1500m", "1500m"), ("1.5", "1500m"),
            ("0.5", "500m"), (".5", "500m"), ("5.", "5"), ("100m", "100m"), ("1000m", "1"), ("2000m", "2"),
            ("1024", "1024"), ("1Ki", "1Ki"), ("1024Ki", "1Mi"), ("1.5Gi", "1536Mi"), ("0.5Mi", "512Ki"),
            ("1023Ki", "1023Ki"), ("0.5Ki", "512"), ("128Mi", "128Mi"), ("1e3", "1e3"), ("1E3", "1e3"),
            ("1500e-3", "1500e-3"), ("1E", "1E"), ("1000E", "1000E"), ("-5m", "-5m"), ("+5", "5"),
            ("0.1n", "1n"), ("1.0000000001", "1000000001n"), ("001.50", "1500m"), ("12e6", "12e6"),
            ("16Ei", "9223372036854775807"),
        ];
        for (text, expected) in cases {
            check(text, expected);
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_cause() {
        for text in ["", "abc", "-", "1.2.3", "1 Gi", "1%"] {
            check(text, "quantities must match");
        }
        for text in ["1ki", "1mm", "1e", "1Kii", "1m3"] {
            check(text, "unable to parse quantity's suffix");
        }
        check(".", "unable to parse numeric part");
        check(&"9".repeat(400), "1");
    }

    #[test]
    fn amounts_compare_and_add_exactly() {
        let q = |text| Quantity::parse(text).unwrap();
        assert_eq!(q("1Gi"), q("1073741824"));
        assert!(q("100m") < q("0.2"));
        assert_eq!((q("100m") + q("0.9")).to_string(), "1");
        assert_eq!((q("1Gi") - q("512Mi")).to_string(), "512Mi");
        assert_eq!((q("0") + q("1Gi")).to_string(), "1Gi");
        assert_eq!((q("1.5").units(), q("1.5").millis(), q("-1.5").units()), (2, 1500, -2));
        assert_eq!(q("1E30").units(), i64::MAX);
    }
}
