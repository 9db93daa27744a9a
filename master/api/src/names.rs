//! Which names, labels and keys are well formed, with upstream's words for those that are not.
//!
//! Hand-written byte scans: these run for every object of every request.

const LABEL_BYTES_MAX: usize = 63;
const SUBDOMAIN_BYTES_MAX: usize = 253;

const DNS1123_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS1123_SUBDOMAIN: &str = r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS1035_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_NAME: &str = "a valid environment variable name must consist only of printable ASCII characters other than '='";

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// The same of names that DNS knows, which upstream counts in characters.
fn too_long_for_dns(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, or with `alpha_first` `[a-z]([-a-z0-9]*[a-z0-9])?`.
fn is_label(text: &str, alpha_first: bool) -> bool {
    let bytes = text.as_bytes();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    let first_fits = if alpha_first { first.is_ascii_lowercase() } else { plain(first) };
    first_fits && plain(last) && bytes.iter().all(|&byte| plain(byte) || byte == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(|label| is_label(label, false))
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`
fn is_qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// What is wrong with a DNS-1123 label, such as a namespace's name; empty when nothing is.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_BYTES_MAX {
        errors.push(too_long_for_dns(LABEL_BYTES_MAX));
    }
    if !is_label(text, false) {
        // Dots alone are the usual mistake: a subdomain where a label is asked for.
        let dotted = is_subdomain(text);
        errors.push(if dotted {
            "must not contain dots".to_owned()
        } else {
            DNS1123_LABEL.to_owned()
        });
    }
    errors
}

/// What is wrong with a DNS-1123 subdomain, such as most objects' names.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > SUBDOMAIN_BYTES_MAX {
        errors.push(too_long_for_dns(SUBDOMAIN_BYTES_MAX));
    }
    if !is_subdomain(text) {
        errors.push(DNS1123_SUBDOMAIN.to_owned());
    }
    errors
}

/// What is wrong with a DNS-1035 label, such as a service's name of old.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_BYTES_MAX {
        errors.push(too_long_for_dns(LABEL_BYTES_MAX));
    }
    if !is_label(text, true) {
        errors.push(DNS1035_LABEL.to_owned());
    }
    errors
}

/// What is wrong with a name that only has to fit into a URL path, such as a role's.
pub fn path_segment(text: &str) -> Vec<String> {
    match text {
        "." | ".." => vec![format!("may not be '{text}'")],
        _ => ["/", "%"]
            .iter()
            .filter(|illegal| text.contains(**illegal))
            .map(|illegal| format!("may not contain '{illegal}'"))
            .collect(),
    }
}

/// What is wrong with a label or annotation key, `[prefix/]name`.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                let found = dns1123_subdomain(prefix);
                errors.extend(found.into_iter().map(|error| format!("prefix part {error}")));
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_BYTES_MAX {
        errors.push(format!("name part {}", too_long(LABEL_BYTES_MAX)));
    }
    if !is_qualified_part(name) {
        errors.push(format!("name part {QUALIFIED}"));
    }
    errors
}

/// What is wrong with a label's value.
pub fn label_value(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_BYTES_MAX {
        errors.push(too_long(LABEL_BYTES_MAX));
    }
    if !text.is_empty() && !is_qualified_part(text) {
        errors.push(LABEL_VALUE.to_owned());
    }
    errors
}

/// What is wrong with a key of a config map or secret.
pub fn config_key(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > SUBDOMAIN_BYTES_MAX {
        errors.push(too_long_for_dns(SUBDOMAIN_BYTES_MAX));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.is_empty() || !text.bytes().all(fits) {
        errors.push(CONFIG_KEY.to_owned());
    }
    match text {
        "." | ".." => errors.push(format!("must not be '{text}'")),
        _ if text.starts_with("..") => errors.push("must not start with '..'".to_owned()),
        _ => {}
    }
    errors
}

/// What is wrong with the name of an environment variable.
pub fn env_name(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    let printable = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    if text.bytes().all(printable) { Vec::new() } else { vec![ENV_NAME.to_owned()] }
}

/// What is wrong with the name of a port (RFC 6335, lower case only).
pub fn port_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 15 {
        errors.push(too_long_for_dns(15));
    }
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || !text.bytes().all(fits) {
        errors.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// What is wrong with a port's number.
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) {
        return Vec::new();
    }
    vec!["must be between 1 and 65535, inclusive".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_names_pass_and_others_do_not() {
        type Check = fn(&str) -> Vec<String>;
        let long = "a".repeat(64);
        #[rustfmt::skip]
        let cases: &[(Check, &str, usize)] = &[
            (dns1123_label,     "my-name",      0),
            (dns1123_label,     "-x",           1),
            (dns1123_label,     "a.b",          1),
            (dns1123_label,     "",             1),
            (dns1123_label,     &long,          1),
            (dns1123_subdomain, "example.com",  0),
            (dns1123_subdomain, "Example.com",  1),
            (dns1123_subdomain, "a..b",         1),
            (dns1035_label,     "abc-1",        0),
            (dns1035_label,     "1abc",         1),
            (qualified_name,    "app",          0),
            (qualified_name,    "a.io/My_Name", 0),
            (qualified_name,    "/x",           1),
            (qualified_name,    "a/b/c",        1),
            (qualified_name,    "a.io/",        2),
            (label_value,       "",             0),
            (label_value,       "v1.2",         0),
            (label_value,       "-v",           1),
            (config_key,        "a.b_C",        0),
            (config_key,        "..",           1),
            (config_key,        "a b",          1),
            (path_segment,      "system:node",  0),
            (path_segment,      "a/b%",         2),
            (port_name,         "http",         0),
            (port_name,         "8080",         1),
            (env_name,          "A.b-1",        0),
            (env_name,          "A=1",          1),
        ];
        for (check, text, expected) in cases {
            let errors = check(text);
            assert_eq!(errors.len(), *expected, "{text:?}: {errors:?}");
        }
    }
}
