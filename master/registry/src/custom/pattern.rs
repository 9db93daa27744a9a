//! Regular expressions as Go's RE2 reads them.

use regex::{Error, Regex, RegexBuilder};

/// What one compiled expression may take: a schema may have thousands.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Compiles an expression.
///
/// # Errors
/// What is wrong with it, or that it is too large.
pub fn compile(text: &str) -> Result<Regex, Error> {
    let build = |text: &str| RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build();
    match build(text) {
        Err(error @ Error::Syntax(_)) => build(&literal_braces(text)).map_err(|_| error),
        outcome => outcome,
    }
}

/// A brace that counts nothing stands for itself in Go.
fn literal_braces(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let count = count_length(rest);
        let length = match c {
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '{' => count.unwrap_or(1),
            c => c.len_utf8(),
        };
        if (c == '{' && count.is_none()) || c == '}' {
            out.push('\\');
        }
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

/// How long `{1}`, `{1,}` or `{1,2}` at the start is.
fn count_length(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('{')?;
    let end = inner.find('}')?;
    let (least, most) = inner[..end].split_once(',').unwrap_or((&inner[..end], ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (!least.is_empty() && digits(least) && digits(most)).then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_may_stand_for_themselves() {
        #[rustfmt::skip]
        let cases = [
            ("^{a}$", "{a}", true), ("^a{2}$", "aa", true), ("^a{2,}$", "a", false), (r"^\{x\}$", "{x}", true),
            ("^${x}$", "x", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(compile(pattern).unwrap().is_match(text), expected, "{pattern}");
        }
        assert!(compile("(").is_err());
        assert!(compile("((a{100}){100}){100}").is_err());
    }
}
