//! YAML as kubectl prints it: keys sorted, lists not indented below their key, text in blocks.
//!
//! Pure. Reading is `serde_saphyr`'s business.

use serde_json::{Map, Value};

/// Lines are broken at the first space after so many characters.
const WIDTH: usize = 80;

/// The document, with a newline at its end.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut out, map, 0, false),
        Value::Array(items) if !items.is_empty() => write_list(&mut out, items, 0, false),
        scalar => {
            write_inline(&mut out, scalar, 0, 0);
            out.push('\n');
        }
    }
    out
}

fn write_map(out: &mut String, map: &Map<String, Value>, indent: usize, mut at_start: bool) {
    let mut keys: Vec<_> = map.keys().collect();
    keys.sort();
    for key in keys {
        if !at_start {
            pad(out, indent);
        }
        at_start = false;
        let key_start = out.len();
        out.push_str(&scalar_text(key));
        out.push(':');
        let column = indent + out[key_start..].chars().count() + 1;
        match &map[key] {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                write_map(out, inner, indent + 2, false);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                write_list(out, items, indent, false);
            }
            value => {
                out.push(' ');
                write_inline(out, value, indent, column);
                out.push('\n');
            }
        }
    }
}

fn write_list(out: &mut String, items: &[Value], indent: usize, mut at_start: bool) {
    for item in items {
        if !at_start {
            pad(out, indent);
        }
        at_start = false;
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => write_map(out, inner, indent + 2, true),
            Value::Array(inner) if !inner.is_empty() => write_list(out, inner, indent + 2, true),
            value => {
                write_inline(out, value, indent, indent + 2);
                out.push('\n');
            }
        }
    }
}

/// A value that follows its key or dash, where the line has `column` characters already.
fn write_inline(out: &mut String, value: &Value, indent: usize, column: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) if is_block(text) => write_block(out, text, indent + 2),
        Value::String(text) => write_folded(out, &scalar_text(text), indent + 2, column),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

/// Breaks a long scalar at its single spaces, as kubectl's library does: readers join the lines again.
fn write_folded(out: &mut String, text: &str, indent: usize, mut column: usize) {
    let is_double_quoted = text.starts_with('"');
    let last = text.len().saturating_sub(1);
    let mut before = ' ';
    let mut chars = text.char_indices().peekable();
    while let Some((place, c)) = chars.next() {
        let next = chars.peek().map_or(' ', |(_, next)| *next);
        // Within double quotes a break is not only a space: those are left whole.
        let may_break = c == ' ' && before != ' ' && next != ' ' && !is_double_quoted;
        if may_break && column > WIDTH && place > 1 && place + 1 < last {
            out.push('\n');
            pad(out, indent);
            column = indent;
        } else {
            out.push(c);
            column += 1;
        }
        before = c;
    }
}

/// Several lines that a literal block can hold as they are.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.chars().any(|c| (c.is_control() && c != '\n' && c != '\t') || is_special(c))
        && !text.lines().any(|line| line.starts_with('\t'))
}

fn write_block(out: &mut String, text: &str, indent: usize) {
    let body = text.trim_end_matches('\n');
    let trailing = text.len() - body.len();
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    match trailing {
        0 => out.push('-'),
        1 if !body.is_empty() => {}
        _ => out.push('+'),
    }
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
    }
    for _ in 1..trailing {
        out.push('\n');
    }
}

/// A string on one line, quoted where it would be read as something else.
fn scalar_text(text: &str) -> String {
    if text.chars().any(|c| c.is_control() || is_special(c)) {
        return escaped(text);
    }
    if is_plain(text) {
        return text.to_owned();
    }
    if looks_like_another_type(text) || text.is_empty() {
        return format!("{text:?}");
    }
    format!("'{}'", text.replace('\'', "''"))
}

fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    let starts_well = match first {
        '-' | '?' | ':' => text.chars().nth(1).is_some_and(|second| second != ' '),
        ',' | '[' | ']' | '{' | '}' | '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
        | '@' | '`' | ' ' => false,
        _ => true,
    };
    starts_well
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.starts_with("---")
        && !text.starts_with("...")
        && !looks_like_another_type(text)
}

fn looks_like_another_type(text: &str) -> bool {
    const WORDS: [&str; 22] = [
        "null", "Null", "NULL", "~", "true", "True", "TRUE", "false", "False", "FALSE", "yes",
        "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF",
    ];
    let one_letter = ["y", "Y", "n", "N", "=", "<<"];
    WORDS.contains(&text) || one_letter.contains(&text) || is_number(text) || is_timestamp(text)
}

fn is_number(text: &str) -> bool {
    let bare = text.strip_prefix(['-', '+']).unwrap_or(text).replace('_', "");
    let special = [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"];
    if special.contains(&bare.as_str()) {
        return true;
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = bare.strip_prefix(prefix) {
            return !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        }
    }
    let starts_well = bare.starts_with(|c: char| c.is_ascii_digit())
        || bare
            .strip_prefix('.')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    // Base 60 of YAML 1.1: 12:30 would be 750.
    let is_sexagesimal = bare.contains(':')
        && bare
            .split(':')
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit() || c == '.'));
    starts_well && (bare.parse::<f64>().is_ok() || is_sexagesimal)
}

fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 10
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && bytes[5..7].iter().all(u8::is_ascii_digit)
        && bytes[7] == b'-'
        && bytes[8..10].iter().all(u8::is_ascii_digit)
        && (bytes.len() == 10 || matches!(bytes[10], b'T' | b't' | b' '))
}

/// Characters that are printable to Rust and not to YAML.
fn is_special(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn escaped(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            '\u{1b}' => out.push_str("\\e"),
            c if c.is_control() && u32::from(c) < 0x100 => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)))
            }
            c if c.is_control() || is_special(c) => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)))
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_look_as_kubectl_prints_them() {
        let pod = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "p", "labels": {"b": "2", "a": "x"}, "annotations": {}},
            "spec": {"containers": [{"name": "c", "args": ["-v", "--x=y"], "ports": [{"containerPort": 80}]}],
                     "tolerations": [], "nested": [["a"]]},
            "data": {"k": "one\ntwo\n", "l": "one\n  two", "empty": ""},
        });
        let text = "\
apiVersion: v1
data:
  empty: \"\"
  k: |
    one
    two
  l: |-
    one
      two
kind: Pod
metadata:
  annotations: {}
  labels:
    a: x
    b: \"2\"
  name: p
spec:
  containers:
  - args:
    - -v
    - --x=y
    name: c
    ports:
    - containerPort: 80
  nested:
  - - a
  tolerations: []
";
        assert_eq!(to_string(&pod), text);
    }

    #[test]
    fn strings_are_quoted_where_they_would_be_read_as_something_else() {
        #[rustfmt::skip]
        let cases = [
            // string                  printed
            ("plain",                  "plain"),
            ("with space",             "with space"),
            ("true",                   "\"true\""),
            ("no",                     "\"no\""),
            ("1.5",                    "\"1.5\""),
            ("0x1f",                   "\"0x1f\""),
            ("12:30",                  "\"12:30\""),
            ("1e3",                    "\"1e3\""),
            ("100m",                   "100m"),
            ("10.96.0.1",              "10.96.0.1"),
            ("2026-11-21T07:00:00Z",   "\"2026-11-21T07:00:00Z\""),
            ("a: b",                   "'a: b'"),
            ("it's",                   "it's"),
            ("'quoted'",               "'''quoted'''"),
            ("#x",                     "'#x'"),
            ("- x",                    "'- x'"),
            ("-x",                     "-x"),
            ("*",                      "'*'"),
            ("{a}",                    "'{a}'"),
            ("",                       "\"\""),
            ("\u{1b}[31m",             "\"\\e[31m\""),
            ("a\tb",                   "\"a\\tb\""),
        ];
        for (text, printed) in cases {
            assert_eq!(scalar_text(text), printed, "{text:?}");
        }
    }

    #[test]
    fn long_lines_are_broken_at_spaces() {
        let text = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
        let printed = to_string(
            &json!({"items": [{"metadata": {"annotations": {"kubernetes.io/description": text}}}]}),
        );
        let wanted = "\
      kubernetes.io/description: Contains a CA bundle that can be used to verify the
        kube-apiserver when using internal endpoints such as the internal service
        IP or kubernetes.default.svc. No other usage is guaranteed across distributions
        of Kubernetes clusters.
";
        assert!(printed.ends_with(wanted), "{printed}");
    }

    #[test]
    fn what_is_printed_reads_back() {
        let long = "word and 'quotes': # ".repeat(20);
        for text in [long.as_str(), long.trim(), &"x".repeat(300), &"two  spaces ".repeat(20)] {
            let value = json!({"k": [text, {"v": text}]});
            let back: Value = serde_saphyr::from_str(&to_string(&value)).unwrap();
            assert_eq!(back, value, "{}", to_string(&value));
        }
        for text in [
            "a\n", "a\n\n", "\na", " a\nb", "a\n\tb", "\ta\nb", "a\r\nb", "yes", "0o7", "x\u{85}y",
            "\n", "%a", "- ",
        ] {
            let value = json!({"k": [{"v": text}], text: 1});
            let back: Value = serde_saphyr::from_str(&to_string(&value)).unwrap();
            assert_eq!(back, value, "{text:?}\n{}", to_string(&value));
        }
    }
}
