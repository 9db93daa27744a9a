//! The formats of text that upstream checks; one that it does not know passes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use master_api::{names, time};

/// Whether a text has a format of OpenAPI.
pub fn fits(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => time::parse(text).is_some(),
        "date" => jiff::civil::Date::strptime("%Y-%m-%d", text).is_ok() && text.len() == 10,
        "byte" => STANDARD.decode(text).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_range(text),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => is_uuid(text, format.as_bytes().get(4).copied()),
        "mac" => is_mac(text),
        "hostname" => names::dns1123_subdomain(&text.to_lowercase()).is_empty(),
        "email" => is_email(text),
        "uri" => is_uri(text),
        "duration" => is_duration(text),
        "hexcolor" => is_color(text),
        _ => true,
    }
}

fn is_range(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => bits <= 32,
        Ok(IpAddr::V6(_)) => bits <= 128,
        Err(_) => false,
    }
}

fn is_uuid(text: &str, version: Option<u8>) -> bool {
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    plain.len() == 32
        && plain.bytes().all(|byte| byte.is_ascii_hexdigit())
        && version.is_none_or(|version| plain.as_bytes()[12] == version)
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    matches!(parts.len(), 6 | 8)
        && parts.iter().all(|part| part.len() == 2 && u8::from_str_radix(part, 16).is_ok())
}

fn is_email(text: &str) -> bool {
    let Some((local, host)) = text.rsplit_once('@') else { return false };
    !local.is_empty() && !host.is_empty() && !text.contains(char::is_whitespace)
}

fn is_uri(text: &str) -> bool {
    if text.contains(char::is_whitespace) {
        return false;
    }
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let absolute =
        text.split_once(':').filter(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty());
    absolute.is_some() || text.starts_with('/')
}

/// Go's notation: `1h30m`, `-1.5s`.
fn is_duration(text: &str) -> bool {
    duration_ns(text).is_some()
}

/// The nanoseconds of a duration in Go's notation.
pub fn duration_ns(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units = [
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("m", 6e10),
            ("h", 3.6e12),
        ];
        let (unit, ns) = units.iter().find(|(unit, _)| {
            rest.starts_with(unit) && !(*unit == "m" && rest.starts_with("ms"))
        })?;
        total += number * ns;
        rest = &rest[unit.len()..];
    }
    if text.is_empty() {
        return None;
    }
    Some((sign * total) as i64)
}

fn is_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        #[rustfmt::skip]
        let cases = [
            ("date-time", "2026-01-02T03:04:05Z", true), ("date-time", "2026-01-02", false),
            ("date", "2026-01-02", true),                ("date", "2026-13-02", false),
            ("byte", "YWJj", true),                      ("byte", "a=b", false),
            ("ipv4", "1.2.3.4", true),                   ("ipv4", "::1", false),
            ("ipv6", "::1", true),                       ("cidr", "10.0.0.0/8", true),
            ("cidr", "10.0.0.0/33", false),              ("uuid", "123e4567-e89b-12d3-a456-426614174000", true),
            ("uuid4", "123e4567-e89b-12d3-a456-426614174000", false),
            ("mac", "00:11:22:33:44:55", true),          ("hostname", "a.b", true),
            ("email", "a@b.c", true),                    ("email", "a", false),
            ("uri", "https://x/y", true),                ("uri", "no uri", false),
            ("duration", "1h30m", true),                 ("duration", "1x", false),
            ("hexcolor", "#fff", true),                  ("unheard-of", "x", true),
        ];
        for (format, text, expected) in cases {
            assert_eq!(fits(format, text), expected, "{format} {text}");
        }
        assert_eq!(duration_ns("1m500ms"), Some(60_500_000_000));
    }
}
