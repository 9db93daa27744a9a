//! Links in what a proxied pod or service answers, led back through the proxy. Pure.
//!
//! A page at `…/proxy/` says `/next` and means the next page of the same server: the client must ask for
//! `…/proxy/next`. What is relative already, or elsewhere, stays.

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

/// Elements whose content is no markup.
const RAW: &[&str] = &["script", "style", "textarea", "title"];

/// Where the client sees the backend.
#[derive(Debug)]
pub struct Links<'a> {
    /// The path that ends in `/proxy`.
    pub prefix: &'a str,
    /// Names under which the backend may speak of itself: its address, and the host that the client asked.
    pub hosts: [&'a str; 2],
}

impl Links<'_> {
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
                if !self.hosts.contains(&host) || !path.starts_with('/') {
                    return None;
                }
                path
            }
        };
        if !path.starts_with('/') {
            return None;
        }
        let led = match path.starts_with(self.prefix) {
            true => path.to_owned(),
            false => format!("{}{path}", self.prefix),
        };
        (led != url).then_some(led)
    }

    /// A page with its links led back.
    pub fn rewrite(&self, page: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(page.len() + 256);
        let mut rest = page;
        while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            let length = match rest.get(1) {
                Some(b'!') if rest.starts_with(b"<!--") => through(rest, b"-->"),
                Some(byte) if byte.is_ascii_alphabetic() => {
                    rest = self.element(rest, &mut out);
                    continue;
                }
                _ => 1,
            };
            out.extend_from_slice(&rest[..length]);
            rest = &rest[length..];
        }
        out.extend_from_slice(rest);
        out
    }

    /// Copies an opening tag, and content that is no markup; returns what comes after.
    fn element<'p>(&self, page: &'p [u8], out: &mut Vec<u8>) -> &'p [u8] {
        let end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>');
        let length = page[1..].iter().position(end).map_or(page.len(), |at| at + 1);
        let name = String::from_utf8_lossy(&page[1..length]).to_ascii_lowercase();
        let holder = HOLDERS.iter().find(|(element, _)| *element == name);
        let attributes = holder.map_or(&[][..], |(_, attributes)| attributes);
        out.extend_from_slice(&page[..length]);
        let mut rest = &page[length..];
        loop {
            let gap = count(rest, |byte| byte.is_ascii_whitespace() || byte == b'/');
            out.extend_from_slice(&rest[..gap]);
            rest = &rest[gap..];
            match rest.first() {
                None => return rest,
                Some(b'>') => break,
                Some(_) => rest = self.attribute(rest, attributes, out),
            }
        }
        let mut length = 1;
        if RAW.contains(&&*name) {
            let close = format!("</{name}");
            let is_close = |window: &[u8]| window.eq_ignore_ascii_case(close.as_bytes());
            length = rest.windows(close.len()).position(is_close).unwrap_or(rest.len());
        }
        out.extend_from_slice(&rest[..length]);
        &rest[length..]
    }

    /// Copies one attribute, with its link led back if it is one of those that hold one.
    fn attribute<'p>(&self, page: &'p [u8], holding: &[&str], out: &mut Vec<u8>) -> &'p [u8] {
        let is_name = |byte: u8| !byte.is_ascii_whitespace() && !matches!(byte, b'=' | b'>' | b'/');
        // An attribute may begin with anything, even with `=`.
        let length = 1 + count(&page[1..], is_name);
        let name = String::from_utf8_lossy(&page[..length]).to_ascii_lowercase();
        let before = length + count(&page[length..], |byte| byte.is_ascii_whitespace());
        if page.get(before) != Some(&b'=') {
            out.extend_from_slice(&page[..length]);
            return &page[length..];
        }
        let start = before + 1 + count(&page[before + 1..], |byte| byte.is_ascii_whitespace());
        let (from, to, after) = match page.get(start) {
            Some(quote @ (b'"' | b'\'')) => {
                let inner = start + 1 + count(&page[start + 1..], |byte| byte != *quote);
                (start + 1, inner, (inner + 1).min(page.len()))
            }
            _ => {
                let is_value = |byte: u8| !byte.is_ascii_whitespace() && byte != b'>';
                let end = start + count(&page[start..], is_value);
                (start, end, end)
            }
        };
        out.extend_from_slice(&page[..from]);
        let value = &page[from..to];
        let text = std::str::from_utf8(value).ok().filter(|_| holding.contains(&&*name));
        match text.and_then(|text| self.lead(text.trim())) {
            Some(led) => out.extend_from_slice(led.as_bytes()),
            None => out.extend_from_slice(value),
        }
        out.extend_from_slice(&page[to..after]);
        &page[after..]
    }
}

fn count(bytes: &[u8], is_in: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !is_in(*byte)).unwrap_or(bytes.len())
}

/// How many bytes there are up to the end of `mark`.
fn through(bytes: &[u8], mark: &[u8]) -> usize {
    let found = bytes.windows(mark.len()).position(|window| window == mark);
    found.map_or(bytes.len(), |at| at + mark.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: Links<'static> =
        Links { prefix: "/pods/web/proxy", hosts: ["10.0.0.5:80", "master:6443"] };

    #[test]
    fn url_of_the_same_server_leads_back_through_the_proxy() {
        let check = |url: &str, expected: &str| {
            assert_eq!(LINKS.lead(url).as_deref().unwrap_or("-"), expected, "{url}");
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
            let said = String::from_utf8(LINKS.rewrite(page.as_bytes())).unwrap();
            assert_eq!(said, expected);
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
            let said = LINKS.rewrite(&page.as_bytes()[..length]);
            let plain = String::from_utf8(said).unwrap().replace("/pods/web/proxy", "");
            assert_eq!(plain, page[..length]);
        }
    }
}
