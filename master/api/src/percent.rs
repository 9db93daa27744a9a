//! Bytes as `%41`, as URLs and names of headers have them (RFC 3986 §2.1).

/// Decodes `%41`; `None` if it is malformed or no UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        out.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(out).ok()
}

/// Encodes everything but unreserved characters.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_two_digits_and_text() {
        let cases = [
            ("a%2fb%2F", Some("a/b/")),
            ("%c3%bc", Some("ü")),
            ("plain+", Some("plain+")),
            ("%+1", None),
            ("a%2fb%zz", None),
            ("%4", None),
            ("%ff", None),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text).as_deref(), expected, "{text}");
        }
        assert_eq!(encode("a/ü ~"), "a%2F%C3%BC%20~");
        assert_eq!(decode(&encode("a/ü ~")).as_deref(), Some("a/ü ~"));
    }
}
