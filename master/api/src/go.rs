//! What Go's standard library says where users see its words: about JSON that cannot be read, and how it quotes text.

use serde_json::Value;

/// How many bytes of a body that cannot be read are repeated.
const SHOWN_MAX: usize = 30;

/// A text as `%q` prints it.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\0'..='\x1f' | '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(letter))),
            _ if letter.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// A value as `%v` prints it.
pub fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(printed).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(key, value)| format!("{key}:{}", printed(value)));
            format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// The beginning of a body, as a refusal repeats it: text where it looks like JSON, else hex.
pub fn summary(body: &[u8]) -> String {
    let (shown, rest) =
        if body.len() > SHOWN_MAX { (&body[..SHOWN_MAX], " ...") } else { (body, "") };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{rest}", String::from_utf8_lossy(shown)),
        Some(_) => {
            let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}{rest}")
        }
    }
}

/// Deeper than this nothing is looked at.
const DEPTH_MAX: usize = 128;

/// What `encoding/json` finds wrong with a text; `None` where it is JSON, or nested too deeply to be looked at.
pub fn json_problem(text: &[u8]) -> Option<String> {
    let mut scan = Scan { text, at: 0, depth: 0 };
    let found = scan.value("beginning of value").and_then(|()| {
        scan.space();
        match scan.peek() {
            None => Ok(()),
            Some(byte) => Err(unexpected(byte, "after top-level value")),
        }
    });
    found.err().filter(|problem| !problem.is_empty())
}

fn unexpected(byte: u8, place: &str) -> String {
    let shown = match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        _ => {
            let text = quoted(&char::from(byte).to_string());
            format!("'{}'", &text[1..text.len() - 1])
        }
    };
    format!("invalid character {shown} {place}")
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

const END: &str = "unexpected end of JSON input";

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, String> {
        let byte = self.peek().ok_or_else(|| END.to_owned())?;
        self.at += 1;
        Ok(byte)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn value(&mut self, place: &str) -> Result<(), String> {
        self.space();
        match self.next()? {
            // No problem is no text.
            b'{' | b'[' if self.depth == DEPTH_MAX => Err(String::new()),
            open @ (b'{' | b'[') => {
                self.depth += 1;
                let found = if open == b'{' { self.object() } else { self.list() };
                self.depth -= 1;
                found
            }
            b'"' => self.string(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            b'-' => {
                let digit = self.next()?;
                self.number(digit, "in numeric literal")
            }
            digit @ b'0'..=b'9' => self.number(digit, ""),
            other => Err(unexpected(other, &format!("looking for {place}"))),
        }
    }

    fn object(&mut self) -> Result<(), String> {
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            match self.next()? {
                b'"' => self.string()?,
                other => {
                    return Err(unexpected(other, "looking for beginning of object key string"));
                }
            }
            self.space();
            match self.next()? {
                b':' => {}
                other => return Err(unexpected(other, "after object key")),
            }
            self.value("beginning of value")?;
            self.space();
            match self.next()? {
                b',' => {}
                b'}' => return Ok(()),
                other => return Err(unexpected(other, "after object key:value pair")),
            }
        }
    }

    fn list(&mut self) -> Result<(), String> {
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value("beginning of value")?;
            self.space();
            match self.next()? {
                b',' => {}
                b']' => return Ok(()),
                other => return Err(unexpected(other, "after array element")),
            }
        }
    }

    fn string(&mut self) -> Result<(), String> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let digit = self.next()?;
                            if !digit.is_ascii_hexdigit() {
                                return Err(unexpected(
                                    digit,
                                    "in \\u hexadecimal character escape",
                                ));
                            }
                        }
                    }
                    other => return Err(unexpected(other, "in string escape code")),
                },
                control @ 0..=0x1f => return Err(unexpected(control, "in string literal")),
                _ => {}
            }
        }
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes().skip(1) {
            let found = self.next()?;
            if found != expected {
                let place = format!("in literal {word} (expecting '{}')", char::from(expected));
                return Err(unexpected(found, &place));
            }
        }
        Ok(())
    }

    fn number(&mut self, first: u8, place: &str) -> Result<(), String> {
        if !first.is_ascii_digit() {
            return Err(unexpected(first, place));
        }
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self, place: &str) -> Result<(), String> {
        let first = self.next()?;
        if !first.is_ascii_digit() {
            return Err(unexpected(first, place));
        }
        self.digits();
        Ok(())
    }
}

/// What Go says of a text that is no time of RFC 3339; `None` if it is one.
pub fn time_problem(text: &str) -> Option<String> {
    if crate::time::parse(text).is_some() {
        return None;
    }
    const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
    const PARTS: [&str; 12] =
        ["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", "Z07:00"];
    let mut rest = text;
    for part in PARTS {
        let is_digits = part.starts_with(|first: char| first.is_ascii_digit());
        let head = rest.get(..part.len()).unwrap_or(rest);
        let fits = match (is_digits, part) {
            (true, _) => head.len() == part.len() && head.bytes().all(|it| it.is_ascii_digit()),
            (false, "Z07:00") => false,
            _ => head == part,
        };
        if !fits {
            let told = format!("cannot parse {} as {}", quoted(rest), quoted(part));
            return Some(format!("parsing time {} as {}: {told}", quoted(text), quoted(LAYOUT)));
        }
        rest = &rest[part.len()..];
        if part == "05" && rest.starts_with('.') {
            rest = rest[1..].trim_start_matches(|it: char| it.is_ascii_digit());
        }
    }
    None
}

/// What Go says of a text that is no duration, such as `1h2.5s`; `None` if it is one.
pub fn duration_problem(text: &str) -> Option<String> {
    let invalid = || Some(format!("time: invalid duration {}", quoted(text)));
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return None;
    }
    if rest.is_empty() {
        return invalid();
    }
    while !rest.is_empty() {
        let is_number = |it: char| it.is_ascii_digit() || it == '.';
        let (number, after) = rest.split_at(rest.find(|it| !is_number(it)).unwrap_or(rest.len()));
        if !number.bytes().any(|it| it.is_ascii_digit()) || number.matches('.').count() > 1 {
            return invalid();
        }
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        if unit.is_empty() {
            return Some(format!("time: missing unit in duration {}", quoted(text)));
        }
        if !["ns", "us", "µs", "μs", "ms", "s", "m", "h"].contains(&unit) {
            let (unit, text) = (quoted(unit), quoted(text));
            return Some(format!("time: unknown unit {unit} in duration {text}"));
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_refused_in_the_words_of_go() {
        #[rustfmt::skip]
        let cases = [
            (r#"{"a": [1, 2.5e3, "x\u00e9", null]}"#, None),
            ("",              Some("unexpected end of JSON input")),
            (r#"{"a":"#,      Some("unexpected end of JSON input")),
            ("garbage",       Some("invalid character 'g' looking for beginning of value")),
            (r#"{"a":1,}"#,   Some("invalid character '}' looking for beginning of object key string")),
            ("{} x",          Some("invalid character 'x' after top-level value")),
            (r#"{"a" 1}"#,    Some("invalid character '1' after object key")),
            (r#"{"a":1 "b"}"#, Some("invalid character '\"' after object key:value pair")),
            ("[1 2]",         Some("invalid character '2' after array element")),
            ("nul1",          Some("invalid character '1' in literal null (expecting 'l')")),
            ("\"a\nb\"",      Some("invalid character '\\n' in string literal")),
            (r#""\x""#,       Some("invalid character 'x' in string escape code")),
            ("-x",            Some("invalid character 'x' in numeric literal")),
        ];
        for (text, expected) in cases {
            assert_eq!(json_problem(text.as_bytes()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_nested_deeply_is_not_looked_at() {
        assert_eq!(json_problem("[".repeat(100_000).as_bytes()), None);
    }

    #[test]
    fn times_are_refused_in_the_words_of_go() {
        let layout = r#" as "2006-01-02T15:04:05Z07:00": cannot parse "#;
        for (text, expected) in [
            ("2026-01-01T00:00:00Z", None),
            ("x", Some(r#""x" as "2006""#)),
            ("2026-1-1", Some(r#""1-1" as "01""#)),
            ("2026-01-01", Some(r#""" as "T""#)),
            ("2026-01-01T00:00:00", Some(r#""" as "Z07:00""#)),
        ] {
            let expected = expected.map(|it| format!("parsing time {text:?}{layout}{it}"));
            assert_eq!(time_problem(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_are_refused_in_the_words_of_go() {
        for (text, expected) in [
            ("1h2.5s", None),
            ("0", None),
            ("-1s", None),
            ("x", Some(r#"time: invalid duration "x""#)),
            ("5", Some(r#"time: missing unit in duration "5""#)),
            ("1d", Some(r#"time: unknown unit "d" in duration "1d""#)),
        ] {
            assert_eq!(duration_problem(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn text_is_quoted_as_go_does() {
        assert_eq!(quoted("a\"b\\\n\u{1}\u{7f}é'"), "\"a\\\"b\\\\\\n\\x01\\x7fé'\"");
    }

    #[test]
    fn bodies_are_repeated_in_short() {
        let long = r#"{"apiVersion": "v1", "kind": 5, "metadata": {}}"#;
        assert_eq!(summary(long.as_bytes()), r#"{"apiVersion": "v1", "kind": 5 ..."#);
        assert_eq!(summary(b"[]"), "5b5d");
        assert_eq!(summary(b""), "<empty>");
    }
}
