//! Links in what a proxied pod or service answers, led back through the proxy. Pure.
//!
//! A page at `…/proxy/` says `/next` and means the next page of the same server: the client must ask for
//! `…/proxy/next`. What is relative already, or elsewhere, stays.
//!
//! # Invariants
//! - A page is read byte by byte, in whatever pieces it comes, and of it no more is kept than one URL.
//! - However a page breaks off, it is passed on whole.
//! - What is markup is what browsers, and upstream's tokenizer (`golang.org/x/net/html`), say is.

use super::raw_text::RawText;

/// Elements, and their attributes that hold URLs.
const HOLDERS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// A comment of which nothing has come yet.
const BEGINS: u8 = 3;

/// A URL that is longer is no link.
const URL_BYTES_MAX: usize = 16 * 1024;
/// No element or attribute that is looked for has a longer name.
const NAME_BYTES_MAX: usize = 16;

/// Where the client sees the backend.
#[derive(Debug)]
pub struct Links {
    /// The path that ends in `/proxy`.
    pub prefix: String,
    /// Names under which the backend may speak of itself: its address, and the host that the client asked.
    pub hosts: [String; 2],
}

impl Links {
    /// The URL that the client must ask for, where that is another one.
    pub fn lead(&self, url: &str) -> Option<String> {
        let after_scheme = match url.split_once("://") {
            Some(("http" | "https", rest)) => Some(rest),
            Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                return None;
            }
            _ => url.strip_prefix("//"),
        };
        let path = match after_scheme {
            None => url,
            Some(rest) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (host, path) = rest.split_at(end);
                if self.hosts.iter().all(|known| known != host) || !path.starts_with('/') {
                    return None;
                }
                path
            }
        };
        if !path.starts_with('/') {
            return None;
        }
        let led = match path.starts_with(&self.prefix) {
            true => path.to_owned(),
            false => format!("{}{path}", self.prefix),
        };
        (led != url).then_some(led)
    }
}

/// A path in two: up to its `words`-th word, which ends in `/proxy`, and what is the backend's, without its first slash.
pub fn parted(path: &str, words: usize) -> (String, &str) {
    let path = path.trim_start_matches('/');
    let end = path.match_indices('/').nth(words - 1).map_or(path.len(), |(at, _)| at);
    let (own, rest) = path.split_at(end);
    (format!("/{own}"), rest.strip_prefix('/').unwrap_or(rest))
}

/// A path without empty words, `.` and `..`; with its last slash.
pub fn cleaned(path: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in path.split('/') {
        match word {
            "" | "." => {}
            ".." => drop(words.pop()),
            word => words.push(word),
        }
    }
    let end = if path.ends_with('/') && !words.is_empty() { "/" } else { "" };
    format!("/{}{end}", words.join("/"))
}

/// Where in a page the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Text,
    /// After `<`.
    Open,
    /// After `</`.
    Slash,
    /// After `<!`, and so many dashes.
    Bang(u8),
    /// In a declaration or the like: up to `>`.
    Other,
    /// In a comment, after so many dashes; up to its first byte that is none, so many more than [`BEGINS`].
    Comment(u8),
    /// In a comment, after `--!`.
    CommentBang,
    Element,
    /// In the name of an end tag.
    EndTag,
    /// Between attributes.
    Gap,
    Attribute,
    AfterAttribute,
    BeforeValue,
    /// In a value, up to this quote; without one, up to a space.
    Value(Option<u8>),
    /// In content that is no markup.
    Raw(RawText),
}

/// A page on its way, its links led back as they come by.
#[derive(Debug)]
pub struct Page {
    links: Links,
    place: Place,
    /// The name of the element or attribute, as far as it is read, in lower case.
    name: Vec<u8>,
    /// The attributes of the element that hold URLs, and what content it has that is no markup.
    holding: &'static [&'static str],
    raw: Option<RawText>,
    /// The value that is being read, if it is a URL.
    url: Option<Vec<u8>>,
    out: Vec<u8>,
}

impl Page {
    pub fn new(links: Links) -> Self {
        Self {
            links,
            place: Place::Text,
            name: Vec::new(),
            holding: &[],
            raw: None,
            url: None,
            out: Vec::new(),
        }
    }

    /// Takes the next piece of the page; returns what can be passed on.
    pub fn push(&mut self, mut piece: &[u8]) -> Vec<u8> {
        self.out.reserve(piece.len());
        while let Some(byte) = piece.first() {
            if self.place == Place::Text {
                let text = piece.iter().position(|byte| *byte == b'<').unwrap_or(piece.len());
                self.out.extend_from_slice(&piece[..text]);
                piece = &piece[text..];
                if !piece.is_empty() {
                    self.take(b'<', Place::Open);
                    piece = &piece[1..];
                }
            } else if self.read(*byte) {
                piece = &piece[1..];
            }
        }
        std::mem::take(&mut self.out)
    }

    /// The page has ended; returns what is left of it.
    pub fn finish(mut self) -> Vec<u8> {
        self.end_value();
        self.out
    }

    /// Passes the byte on.
    fn take(&mut self, byte: u8, next: Place) -> bool {
        self.out.push(byte);
        self.place = next;
        true
    }

    /// Leaves the byte to be read at the next place.
    fn leave(&mut self, next: Place) -> bool {
        self.place = next;
        false
    }

    /// Reads a byte. Returns false if it belongs to the place that comes next.
    fn read(&mut self, byte: u8) -> bool {
        match self.place {
            Place::Text => self.take(byte, Place::Text),
            Place::Open if byte == b'!' => self.take(byte, Place::Bang(0)),
            Place::Open if byte == b'?' => self.take(byte, Place::Other),
            Place::Open if byte == b'/' => self.take(byte, Place::Slash),
            // An end tag has attributes, too, but none that mean anything.
            Place::Slash if byte.is_ascii_alphabetic() => self.end_tag(),
            Place::Slash => self.leave(Place::Other),
            Place::Open if byte.is_ascii_alphabetic() => {
                self.name.clear();
                self.leave(Place::Element)
            }
            Place::Bang(0) if byte == b'-' => self.take(byte, Place::Bang(1)),
            Place::Bang(1) if byte == b'-' => self.take(byte, Place::Comment(BEGINS)),
            Place::Open => self.leave(Place::Text),
            Place::Bang(_) => self.leave(Place::Other),
            Place::Other if byte == b'>' => self.take(byte, Place::Text),
            Place::Other => self.take(byte, Place::Other),
            // `<!-->` and `<!--->` are comments, too.
            Place::Comment(2..) if byte == b'>' => self.take(byte, Place::Text),
            Place::Comment(2) if byte == b'!' => self.take(byte, Place::CommentBang),
            Place::Comment(BEGINS) if byte == b'-' => self.take(byte, Place::Comment(BEGINS + 1)),
            Place::Comment(dashes) if byte == b'-' => {
                self.take(byte, Place::Comment((dashes + 1).min(2)))
            }
            Place::CommentBang if byte == b'>' => self.take(byte, Place::Text),
            Place::CommentBang if byte == b'-' => self.take(byte, Place::Comment(1)),
            Place::Comment(_) | Place::CommentBang => self.take(byte, Place::Comment(0)),
            Place::Element if is_gap(byte) || byte == b'>' => {
                let is_name = |name: &&str| name.as_bytes() == self.name;
                let holder = HOLDERS.iter().find(|(element, _)| is_name(element));
                self.holding = holder.map_or(&[][..], |(_, attributes)| attributes);
                self.raw = RawText::of(&self.name);
                self.leave(Place::Gap)
            }
            Place::Element => self.name(byte, Place::Element),
            Place::EndTag if is_gap(byte) || byte == b'>' => self.leave(Place::Gap),
            Place::EndTag => self.take(byte, Place::EndTag),
            Place::Gap if is_gap(byte) => self.take(byte, Place::Gap),
            Place::Gap if byte == b'>' => {
                let raw = self.raw.take();
                self.take(byte, raw.map_or(Place::Text, Place::Raw))
            }
            Place::Gap => {
                // An attribute may begin with anything, even with `=`.
                self.name.clear();
                self.name(byte, Place::Attribute)
            }
            Place::Attribute if byte.is_ascii_whitespace() || byte == b'=' => {
                self.leave(Place::AfterAttribute)
            }
            Place::Attribute if matches!(byte, b'>' | b'/') => self.leave(Place::Gap),
            Place::Attribute => self.name(byte, Place::Attribute),
            Place::AfterAttribute if byte.is_ascii_whitespace() => {
                self.take(byte, Place::AfterAttribute)
            }
            Place::AfterAttribute if byte == b'=' => self.take(byte, Place::BeforeValue),
            Place::AfterAttribute => self.leave(Place::Gap),
            Place::BeforeValue if byte.is_ascii_whitespace() => self.take(byte, Place::BeforeValue),
            Place::BeforeValue => {
                let is_held = self.holding.iter().any(|name| name.as_bytes() == self.name);
                self.url = is_held.then(Vec::new);
                match byte {
                    b'"' | b'\'' => self.take(byte, Place::Value(Some(byte))),
                    _ => self.leave(Place::Value(None)),
                }
            }
            Place::Value(quote) => self.value(byte, quote),
            Place::Raw(mut content) => match content.read(byte) {
                true => self.end_tag(),
                false => self.take(byte, Place::Raw(content)),
            },
        }
    }

    /// Notes a byte of a name.
    fn name(&mut self, byte: u8, here: Place) -> bool {
        if self.name.len() <= NAME_BYTES_MAX {
            self.name.push(byte.to_ascii_lowercase());
        }
        self.take(byte, here)
    }

    fn value(&mut self, byte: u8, quote: Option<u8>) -> bool {
        let is_end = match quote {
            Some(quote) => byte == quote,
            None => byte.is_ascii_whitespace() || byte == b'>',
        };
        if is_end {
            self.end_value();
            return match quote {
                Some(_) => self.take(byte, Place::Gap),
                None => self.leave(Place::Gap),
            };
        }
        match &mut self.url {
            Some(url) if url.len() < URL_BYTES_MAX => url.push(byte),
            Some(_) => {
                let long = self.url.take().unwrap_or_default();
                self.out.extend_from_slice(&long);
                self.out.push(byte);
            }
            None => self.out.push(byte),
        }
        true
    }

    /// Passes a URL on, led back if it is to be.
    fn end_value(&mut self) {
        let Some(url) = self.url.take() else { return };
        let led = std::str::from_utf8(&url).ok().and_then(|text| self.links.lead(text.trim()));
        self.out.extend_from_slice(led.as_ref().map_or(&url, |led| led.as_bytes()));
    }

    /// Reads what comes after `</` and a letter, or after the end tag's name.
    fn end_tag(&mut self) -> bool {
        (self.holding, self.raw) = (&[], None);
        self.leave(Place::EndTag)
    }
}

fn is_gap(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'/'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        let hosts = ["10.0.0.5:80", "master:6443"].map(str::to_owned);
        Links { prefix: "/pods/web/proxy".to_owned(), hosts }
    }

    /// The page, in pieces of so many bytes.
    fn rewritten(page: &[u8], size: usize) -> String {
        let mut rewriting = Page::new(links());
        let mut said: Vec<u8> = page.chunks(size).flat_map(|piece| rewriting.push(piece)).collect();
        said.extend(rewriting.finish());
        String::from_utf8(said).unwrap()
    }

    #[test]
    fn paths_are_parted_where_the_backend_begins() {
        for (path, expected) in [
            ("/api/v1/nodes/n/proxy/a/b", ("/api/v1/nodes/n/proxy", "a/b")),
            ("//api/v1/nodes/n/proxy//a", ("/api/v1/nodes/n/proxy", "/a")),
            ("/api/v1/nodes/n/proxy/", ("/api/v1/nodes/n/proxy", "")),
            ("/api/v1/nodes/n/proxy", ("/api/v1/nodes/n/proxy", "")),
        ] {
            let (prefix, rest) = parted(path, 5);
            assert_eq!((&*prefix, rest), expected, "{path}");
        }
    }

    #[test]
    fn url_of_the_same_server_leads_back_through_the_proxy() {
        let check = |url: &str, expected: &str| {
            assert_eq!(links().lead(url).as_deref().unwrap_or("-"), expected, "{url}");
        };
        check("/next?a=b#c", "/pods/web/proxy/next?a=b#c");
        check("/", "/pods/web/proxy/");
        check("http://10.0.0.5:80/next", "/pods/web/proxy/next");
        check("//master:6443/next", "/pods/web/proxy/next");
        check("https://master:6443/pods/web/proxy/next", "/pods/web/proxy/next");
        for stays in
            ["next", "../next", "#top", "", "mailto:/x", "http://elsewhere/next", "ftp://a/b"]
        {
            check(stays, "-");
        }
        check("/pods/web/proxy/next", "-");
    }

    #[test]
    fn links_of_a_page_are_led_back_and_nothing_else_changes() {
        let check = |page: &str, expected: &str| {
            for size in [1, 2, 3, 7, 4096] {
                assert_eq!(rewritten(page.as_bytes(), size), expected, "in pieces of {size}");
            }
        };
        check(r#"<a href="/x">/y</a>"#, r#"<a href="/pods/web/proxy/x">/y</a>"#);
        check("<A\n class=b HREF = '/x' >", "<A\n class=b HREF = '/pods/web/proxy/x' >");
        check("<img src=/x.png/><p title=/x>", "<img src=/pods/web/proxy/x.png/><p title=/x>");
        for stays in [
            "",
            "<",
            "a < b",
            "<a href",
            "</a href=\"/x\">",
            "<!-- <a href=\"/x\"> --><b>",
            "<script>'<a href=\"/x\">'</script>",
            "<a =\"/x\" data-href=\"/x\">",
            "<a href=\"http://other/x\">",
        ] {
            check(stays, stays);
        }
        // However a page breaks off, it is passed on whole.
        let page = r#"<a href="/x" b>c</a><script src='/y'>d"#;
        for length in 0..page.len() {
            let said = rewritten(&page.as_bytes()[..length], 5);
            assert_eq!(said.replace("/pods/web/proxy", ""), page[..length]);
        }
    }

    #[test]
    fn comments_and_scripts_end_where_they_end() {
        let check = |before: &str| {
            let page = format!("{before}<a href=/x>");
            let expected = format!("{before}<a href=/pods/web/proxy/x>");
            assert_eq!(rewritten(page.as_bytes(), 1), expected);
        };
        for before in [
            "<!-->",
            "<!-- - -- > --->",
            "<!doctype html>",
            "<!-x>",
            "<script>a<</script>",
            "<SCRIPT src=x>'</scrip' < /</Script >",
            "<title/x>a</b</title>",
            "<textarea></textarea>",
            "<!--->",
            "<!-- a --!>",
            "<!-- a --!-->",
            "<!-- --!x>--!>",
            "<script>'</scripts>'</script>",
            "<script><!-- <script> '<a href=/x>' </script> --></script>",
            "<noscript>'<a href=/x>'</noscript>",
            "<title>'</titles <a href=/x>'</title a='<b>'>",
            "</p a='<a href=/x>'>",
            "<?x <a href=/x>",
            "<!x <a href=/x>",
            "</ <a href=/x>",
            "</>",
        ] {
            check(before);
        }
        let page = "<!--!><a href=/x>--!<a href=/y><plaintext></plaintext><a href=/z>";
        assert_eq!(rewritten(page.as_bytes(), 1), page);
    }

    #[test]
    fn no_more_is_kept_than_a_url_may_have() {
        let mut page = Page::new(links());
        let mut said = page.push(b"<a href=\"/");
        assert_eq!(said, b"<a href=\"");
        let piece = [b'x'; 1024];
        for _ in 0..64 {
            said.extend(page.push(&piece));
        }
        assert!(said.len() > 64 * 1024);
        said.extend(page.push(b"\"><a href='/y'>"));
        said.extend(page.finish());
        let text = String::from_utf8(said).unwrap();
        assert!(
            text.starts_with("<a href=\"/xxx")
                && text.ends_with("x\"><a href='/pods/web/proxy/y'>")
        );
    }
}
