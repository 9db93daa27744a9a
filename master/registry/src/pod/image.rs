//! References to images, as upstream's container tools read them: `[host[:port]/]path[:tag][@digest]`.

const NAME_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;
const DIGEST_DIGITS_MIN: usize = 32;
/// A name of so many hexadecimal digits would be taken for an image's number.
const NUMBER_DIGITS: usize = 64;

/// `Always` for images tagged `latest`, or with neither tag nor digest; else, and for what is no reference,
/// `IfNotPresent`.
pub(super) fn pull_policy(image: &str) -> &'static str {
    if is_latest(image).unwrap_or(false) { "Always" } else { "IfNotPresent" }
}

/// Whether an image is the latest of its name; `None` if the text is no reference.
fn is_latest(image: &str) -> Option<bool> {
    if image.len() == NUMBER_DIGITS && image.bytes().all(is_small_hex) {
        return None;
    }
    let (named, digest) = match image.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (image, None),
    };
    let (host, rest) = host(named);
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    let is_formed = host.is_none_or(is_host)
        && path.split('/').all(is_component)
        && named.len() - tag.map_or(0, |tag| tag.len() + 1) <= NAME_BYTES_MAX
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    is_formed.then(|| tag.map_or(digest.is_none(), |tag| tag == "latest"))
}

/// What is before the first slash is a host if it looks like one.
fn host(named: &str) -> (Option<&str>, &str) {
    match named.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, named),
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':'),
        None => name.split('.').all(is_label),
    };
    is_name && port.is_none_or(is_port)
}

/// Small letters and digits, with `.`, `_`, `__` or dashes between them.
fn is_component(component: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let is_bounded = bytes.first().is_some_and(|byte| is_plain(*byte))
        && bytes.last().is_some_and(|byte| is_plain(*byte));
    let mut separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    is_bounded
        && separators.all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_BYTES_MAX
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, digits)| {
        algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
            && digits.len() >= DIGEST_DIGITS_MIN
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn is_small_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policies_follow_the_tag() {
        let digest = format!("nginx@sha256:{}", "ab".repeat(32));
        let both = format!("nginx:latest@sha256:{}", "ab".repeat(32));
        #[rustfmt::skip]
        let cases = [
            ("nginx", "Always"), ("nginx:latest", "Always"), ("nginx:1.2", "IfNotPresent"),
            ("host:5000/nginx", "Always"), ("host:5000/a/nginx:v1", "IfNotPresent"), ("a/b__c.d--e", "Always"),
            ("Host/nginx", "Always"), ("[::1]:5000/nginx", "Always"), (&digest, "IfNotPresent"), (&both, "Always"),
        ];
        for (image, expected) in cases {
            assert_eq!(pull_policy(image), expected, "{image}");
        }
    }

    #[test]
    fn what_is_no_reference_is_not_pulled_again_and_again() {
        let (long, number) = ("a".repeat(300), "ab".repeat(32));
        let wrong = [
            "",
            "Bad_Value! ",
            "Nginx",
            "a//b",
            "a/b___c",
            "nginx:",
            "nginx@sha256:ab",
            "-a/b.",
            &long,
            &number,
        ];
        for image in wrong {
            assert_eq!(pull_policy(image), "IfNotPresent", "{image}");
        }
    }
}
