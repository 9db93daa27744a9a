//! URLs of members: `http(s)://host:port`, several of them separated by commas.
//!
//! The store keeps one address a member for Raft; the rest travels as labels.

use std::collections::BTreeMap;

/// The label that holds a member's peer URLs.
pub const PEER_URLS: &str = "peer-urls";
/// The label that holds the URLs under which a member serves clients.
pub const CLIENT_URLS: &str = "client-urls";

/// What is wrong with a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not http://HOST:PORT or https://HOST:PORT")]
pub struct BadUrl {
    pub url: String,
}

/// A URL of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    pub is_tls: bool,
    /// `host:port`; an IPv6 host stands in brackets.
    pub address: String,
}

impl Url {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let bad = || BadUrl { url: text.into() };
        let (is_tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(bad()),
        };
        let address = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        let is_host = !host.is_empty()
            && !host.contains(['/', '?', '#', '@', ' '])
            && (!host.contains(':') || host.starts_with('[') && host.ends_with(']'));
        if !is_host || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        Ok(Self { is_tls, address: address.into() })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.address)
    }
}

/// Reads several, separated by commas.
pub fn parse_list(text: &str) -> Result<Vec<Url>, BadUrl> {
    text.split(',').filter(|url| !url.is_empty()).map(|url| Url::parse(url.trim())).collect()
}

/// The labels of a member with these URLs.
pub fn labels(peer: &[Url], client: &[Url]) -> BTreeMap<String, String> {
    let join = |urls: &[Url]| urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut labels = BTreeMap::from([(PEER_URLS.to_owned(), join(peer))]);
    if !client.is_empty() {
        labels.insert(CLIENT_URLS.to_owned(), join(client));
    }
    labels
}

/// The URLs that a label holds.
pub(crate) fn of_label(labels: &BTreeMap<String, String>, label: &str) -> Vec<String> {
    let text = labels.get(label).map(String::as_str).unwrap_or_default();
    text.split(',').filter(|url| !url.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written() {
        #[rustfmt::skip]
        let cases = [
            ("http://127.0.0.1:2379",   Some("http://127.0.0.1:2379")),
            ("https://host:1/",         Some("https://host:1")),
            ("http://[::1]:2379",       Some("http://[::1]:2379")),
            ("127.0.0.1:2379",          None),
            ("unix://socket:1",         None),
            ("http://host",             None),
            ("http://host:99999",       None),
            ("http://::1:80",           None),
            ("http://host:1/path",      None),
        ];
        for (text, expected) in cases {
            let found = Url::parse(text).ok().map(|url| url.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
