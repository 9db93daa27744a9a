//! The terminal: the one place that prints, and that keeps cluster data from driving it.

use std::io::{IsTerminal as _, Write as _};

/// Prints a line to standard output.
#[macro_export]
macro_rules! outln {
    () => { $crate::term::out("\n") };
    ($($arg:tt)*) => { $crate::term::out(&format!("{}\n", format_args!($($arg)*))) };
}

/// Prints a line to standard error.
#[macro_export]
macro_rules! errln {
    ($($arg:tt)*) => { $crate::term::err(&format!("{}\n", format_args!($($arg)*))) };
}

/// Prints text as it is. Whoever reads may have gone (`| head`): then there is nothing left to do.
pub fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(1);
    }
}

/// Prints bytes as they are: what a container wrote is its own business.
pub fn out_bytes(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(1);
    }
}

/// Prints text to standard error.
pub fn err(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints bytes to standard error.
pub fn err_bytes(bytes: &[u8]) {
    let _ = std::io::stderr().lock().write_all(bytes);
}

/// Whether a person looks at standard output.
pub fn is_tty() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether a person types at standard input.
pub fn stdin_is_tty() -> bool {
    std::io::stdin().is_terminal()
}

/// Text from the cluster, with control characters shown instead of obeyed (CVE-2021-25743).
pub fn safe(text: &str) -> String {
    if !text.chars().any(|c| is_dangerous(c) && c != '\n' && c != '\t') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            '\u{1b}' => out.push_str("^["),
            '\r' => out.push_str("\\r"),
            c if is_dangerous(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// As [`safe`], on one line: what follows a line break is cut off.
pub fn safe_line(text: &str) -> String {
    match text.find(['\n', '\r', '\u{c}']) {
        Some(at) => format!("{}...", safe(&text[..at])),
        None => safe(text),
    }
}

/// Control characters, and those that turn the direction of text.
fn is_dangerous(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_shown_not_obeyed() {
        #[rustfmt::skip]
        let cases = [
            // from the cluster       shown                     on one line
            ("plain ü",               "plain ü",                "plain ü"),
            ("\u{1b}[2Jgone",         "^[[2Jgone",              "^[[2Jgone"),
            ("a\rb",                  "a\\rb",                  "a..."),
            ("a\nb",                  "a\nb",                   "a..."),
            ("bell\u{7}",             "bell\\u0007",            "bell\\u0007"),
            ("\u{202e}txt",           "\\u202etxt",             "\\u202etxt"),
            ("c1\u{9b}31m",           "c1\\u009b31m",           "c1\\u009b31m"),
        ];
        for (text, shown, line) in cases {
            assert_eq!((safe(text).as_str(), safe_line(text).as_str()), (shown, line));
        }
    }
}
