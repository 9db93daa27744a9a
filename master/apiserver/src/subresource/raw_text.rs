//! Where the content of an element that is no markup ends, as browsers read it: a script, a style, a title. Pure.
//!
//! ```text
//!  script ──<!--──▶ escaped ──<script──▶ twice escaped: </script> ends the inner one only
//!     ▲              │  ▲                   │
//!     └──── --> ─────┘  └───── </script ────┘
//! ```
//!
//! # Invariants
//! - An end tag has its element's whole name: `</scripts` ends no script.

/// Elements whose content is no markup.
const NAMES: &[&str] = &[
    "iframe",
    "noembed",
    "noframes",
    "noscript",
    "plaintext",
    "script",
    "style",
    "textarea",
    "title",
    "xmp",
];
const SCRIPT: &str = "script";

/// How deep in a script one is, and after how many dashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    Plain,
    /// In what looks like a comment.
    Escaped(u8),
    /// In a script in what looks like a comment.
    Twice(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    In(Depth),
    /// After `<`.
    Less(Depth),
    /// After `<!`, and so many dashes.
    Bang(u8),
    /// After `</`, and so many bytes of the name.
    End(Depth, usize),
    /// In a comment, after `<` and so many bytes of a script's beginning.
    Begin(usize),
}

/// Content that is read byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawText {
    name: &'static str,
    state: State,
}

impl RawText {
    /// The content of the element, if that is no markup; its name in lower case.
    pub fn of(element: &[u8]) -> Option<Self> {
        let name = NAMES.iter().find(|name| name.as_bytes() == element)?;
        Some(Self { name, state: State::In(Depth::Plain) })
    }

    /// Reads a byte. Returns true if it is the first one after `</` and the name: the content ended before those.
    pub fn read(&mut self, byte: u8) -> bool {
        loop {
            match self.step(byte) {
                Step::To(state) => {
                    self.state = state;
                    return false;
                }
                Step::Again(state) => self.state = state,
                Step::Ended => return true,
            }
        }
    }

    fn step(&self, byte: u8) -> Step {
        use Depth::{Escaped, Plain, Twice};
        use State::{Bang, Begin, End, In, Less};
        let is_script = self.name == SCRIPT;
        let more = |dashes: u8| (dashes + 1).min(2);
        match self.state {
            In(depth) if byte == b'<' => Step::To(Less(depth)),
            In(Plain) => Step::To(In(Plain)),
            In(Escaped(2) | Twice(2)) if byte == b'>' => Step::To(In(Plain)),
            In(Escaped(dashes)) if byte == b'-' => Step::To(In(Escaped(more(dashes)))),
            In(Twice(dashes)) if byte == b'-' => Step::To(In(Twice(more(dashes)))),
            In(depth) => Step::To(In(depth.without_dashes())),
            // Nothing ends what is plain text.
            Less(depth) if byte == b'/' && self.name != "plaintext" => Step::To(End(depth, 0)),
            Less(Plain) if byte == b'!' && is_script => Step::To(Bang(0)),
            Less(Escaped(_)) if byte.is_ascii_alphabetic() => Step::Again(Begin(0)),
            Less(Twice(_)) => Step::Again(In(Twice(0))),
            Less(_) => Step::Again(In(Plain)),
            Bang(0) if byte == b'-' => Step::To(Bang(1)),
            Bang(_) if byte == b'-' => Step::To(In(Escaped(2))),
            Bang(_) => Step::Again(In(Plain)),
            Begin(matched) => match named(SCRIPT, matched, byte) {
                Named::Goes => Step::To(Begin(matched + 1)),
                Named::Whole => Step::To(In(Twice(0))),
                Named::Not => Step::Again(In(Escaped(0))),
            },
            End(depth, matched) => match named(self.name, matched, byte) {
                Named::Goes => Step::To(End(depth, matched + 1)),
                Named::Whole if matches!(depth, Twice(_)) => Step::To(In(Escaped(0))),
                Named::Whole => Step::Ended,
                Named::Not => Step::Again(In(depth.without_dashes())),
            },
        }
    }
}

impl Depth {
    fn without_dashes(self) -> Self {
        match self {
            Self::Plain => Self::Plain,
            Self::Escaped(_) => Self::Escaped(0),
            Self::Twice(_) => Self::Twice(0),
        }
    }
}

enum Step {
    To(State),
    /// The byte belongs to the state that comes next.
    Again(State),
    Ended,
}

enum Named {
    Goes,
    Whole,
    Not,
}

/// Whether a byte goes on with a name of which so many are read, or comes after the whole of it.
fn named(name: &str, matched: usize, byte: u8) -> Named {
    match name.as_bytes().get(matched) {
        Some(wanted) if byte.eq_ignore_ascii_case(wanted) => Named::Goes,
        None if byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>') => Named::Whole,
        _ => Named::Not,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ends_where_its_own_end_tag_begins() {
        let check = |element: &str, text: &str, expected: Option<&str>| {
            let mut content = RawText::of(element.as_bytes()).unwrap();
            let end = text.bytes().position(|byte| content.read(byte));
            assert_eq!(end.map(|end| &text[..end]), expected, "{element} {text}");
        };
        for ends in ["", "<", "<b>", "</b>", "</", "</scripts>", "<!-", "<!x", "</SCRIP", "-->"] {
            for rest in [">", " x>", "/>", "\n>"] {
                let script = format!("{ends}</Script");
                check("script", &format!("{script}{rest}"), Some(&script));
            }
        }
        check("script", "</script", None);
        check("script", "</styles></style></scripts>", None);
        check("title", "<!--</title>", Some("<!--</title"));
        check("style", "<!-- <style> </style>", Some("<!-- <style> </style"));
        check("plaintext", "</plaintext>", None);
        assert_eq!(RawText::of(b"p"), None);
    }

    #[test]
    fn script_in_a_comment_in_a_script_is_not_its_end() {
        let check = |text: &str, expected: &str| {
            let mut content = RawText::of(b"script").unwrap();
            let end = text.bytes().position(|byte| content.read(byte));
            assert_eq!(end.map(|end| &text[..end]), Some(expected), "{text}");
        };
        check("<!-- <script> </script> --></script>", "<!-- <script> </script> --></script");
        check("<!-- <script> </script> </script>", "<!-- <script> </script> </script");
        check("<!-- <script> --></script>", "<!-- <script> --></script");
        check("<!-- <scripts> </script>", "<!-- <scripts> </script");
        check("<!-- </script>", "<!-- </script");
        check("<!--></script>", "<!--></script");
        check(
            "<!-- <script </scripts> - < </script/</script ",
            "<!-- <script </scripts> - < </script/</script",
        );
        check("<!-- < <script></script>", "<!-- < <script></script");
    }
}
