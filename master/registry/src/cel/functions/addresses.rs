//! URLs, IP addresses and ranges, as Kubernetes' libraries have them.

use std::net::IpAddr;
use std::rc::Rc;

use super::Answer;
use crate::cel::value::Val;

/// A URL in parts, as Go's `net/url` takes it apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url {
    pub(super) text: String,
    scheme: String,
    host: String,
    path: String,
    query: Vec<(String, String)>,
}

pub(super) fn call<'a>(name: &str, values: &[Val<'a>]) -> Answer<'a> {
    match (name, values) {
        ("url", [Val::Text(text)]) => Some(
            Url::parse(text)
                .map(|url| Val::Url(Rc::new(url)))
                .ok_or_else(|| format!("URL parse error during conversion from string: {text:?}")),
        ),
        ("isURL", [Val::Text(text)]) => Some(Ok(Val::Bool(Url::parse(text).is_some()))),
        ("ip", [Val::Text(text)]) => Some(address(text).map(Val::Ip).ok_or_else(|| {
            format!("IP Address {text:?} parse error during conversion from string")
        })),
        ("isIP", [Val::Text(text)]) => Some(Ok(Val::Bool(address(text).is_some()))),
        ("ip.isCanonical", [Val::Text(text)]) => {
            let is_canonical = address(text).is_some_and(|found| found.to_string() == **text);
            Some(Ok(Val::Bool(is_canonical)))
        }
        ("cidr", [Val::Text(text)]) => {
            Some(range(text).map(|(address, bits)| Val::Cidr(address, bits)).ok_or_else(|| {
                format!("network address parse error during conversion from string: {text:?}")
            }))
        }
        ("isCIDR", [Val::Text(text)]) => Some(Ok(Val::Bool(range(text).is_some()))),
        (_, [Val::Url(url)]) => of_url(name, url).map(Ok),
        (_, [Val::Ip(address)]) => of_address(name, *address).map(Ok),
        (_, [Val::Cidr(address, bits), rest @ ..]) => of_range(name, *address, *bits, rest),
        _ => None,
    }
}

impl Url {
    /// Absolute URLs, and paths from the root.
    fn parse(text: &str) -> Option<Self> {
        let is_odd = |c: char| c.is_control() || c == ' ';
        if text.is_empty() || text.contains(is_odd) {
            return None;
        }
        let (rest, query) = text
            .split_once('#')
            .map_or(text, |(rest, _)| rest)
            .split_once('?')
            .unwrap_or((text, ""));
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let mut url = Self { text: text.to_owned(), ..Self::default() };
        url.query = query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        if rest.starts_with('/') {
            rest.clone_into(&mut url.path);
            return Some(url);
        }
        let (scheme, rest) = rest.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let at = rest.find('/').unwrap_or(rest.len());
        let (host, path) = rest.split_at(at);
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        if !is_scheme || host.contains(['<', '>', '"', '\\']) {
            return None;
        }
        url.scheme = scheme.to_ascii_lowercase();
        host.clone_into(&mut url.host);
        path.clone_into(&mut url.path);
        Some(url)
    }

    /// Host and port, of which either may be empty.
    fn host_and_port(&self) -> (&str, &str) {
        if let Some(rest) = self.host.strip_prefix('[')
            && let Some((address, port)) = rest.split_once(']')
        {
            return (address, port.strip_prefix(':').unwrap_or(""));
        }
        self.host.rsplit_once(':').unwrap_or((&self.host, ""))
    }
}

fn of_url<'a>(name: &str, url: &Url) -> Option<Val<'a>> {
    let (host, port) = url.host_and_port();
    Some(match name {
        "getScheme" => Val::text(url.scheme.as_str()),
        "getHost" => Val::text(url.host.as_str()),
        "getHostname" => Val::text(host),
        "getPort" => Val::text(port),
        "getEscapedPath" => Val::text(url.path.as_str()),
        "getQuery" => {
            let mut pairs: Vec<(String, Vec<Val<'a>>)> = Vec::new();
            for (key, value) in &url.query {
                match pairs.iter_mut().find(|(known, _)| known == key) {
                    Some((_, values)) => values.push(Val::text(value.as_str())),
                    None => pairs.push((key.clone(), vec![Val::text(value.as_str())])),
                }
            }
            let pair = |(key, values): (String, Vec<Val<'a>>)| (Val::text(key), Val::list(values));
            Val::Map(Rc::new(pairs.into_iter().map(pair).collect()))
        }
        _ => return None,
    })
}

/// No zone, and no IPv4 in the clothes of IPv6.
fn address(text: &str) -> Option<IpAddr> {
    let found: IpAddr = text.parse().ok()?;
    match found {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => None,
        found => Some(found),
    }
}

fn range(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let address = self::address(address)?;
    let bits: u8 = bits.parse().ok()?;
    (bits <= width(address)).then_some((address, bits))
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn of_address<'a>(name: &str, address: IpAddr) -> Option<Val<'a>> {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let is_link_local_multicast = match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    };
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    Some(match name {
        "family" => Val::Int(if address.is_ipv4() { 4 } else { 6 }),
        "isUnspecified" => Val::Bool(address.is_unspecified()),
        "isLoopback" => Val::Bool(address.is_loopback()),
        "isLinkLocalUnicast" => Val::Bool(is_link_local),
        "isLinkLocalMulticast" => Val::Bool(is_link_local_multicast),
        "isGlobalUnicast" => Val::Bool(
            !address.is_unspecified()
                && !address.is_loopback()
                && !address.is_multicast()
                && !is_link_local
                && !is_broadcast,
        ),
        _ => return None,
    })
}

/// The address with everything after the first `bits` bits cleared.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

fn contains(address: IpAddr, bits: u8, other: IpAddr) -> bool {
    width(address) == width(other) && masked(other, bits) == masked(address, bits)
}

fn of_range<'a>(name: &str, own: IpAddr, bits: u8, rest: &[Val<'a>]) -> Answer<'a> {
    Some(Ok(match (name, rest) {
        ("ip", []) => Val::Ip(own),
        ("prefixLength", []) => Val::Int(i64::from(bits)),
        ("masked", []) => Val::Cidr(masked(own, bits), bits),
        ("containsIP", [Val::Ip(other)]) => Val::Bool(contains(own, bits, *other)),
        ("containsIP", [Val::Text(text)]) => match address(text) {
            Some(other) => Val::Bool(contains(own, bits, other)),
            None => return Some(Err(format!("IP Address {text:?} parse error"))),
        },
        ("containsCIDR", [Val::Cidr(other, other_bits)]) => {
            Val::Bool(*other_bits >= bits && contains(own, bits, *other))
        }
        ("containsCIDR", [Val::Text(text)]) => match range(text) {
            Some((other, other_bits)) => {
                Val::Bool(other_bits >= bits && contains(own, bits, other))
            }
            None => return Some(Err(format!("network address parse error: {text:?}"))),
        },
        _ => return None,
    }))
}
