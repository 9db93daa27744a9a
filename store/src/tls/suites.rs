//! Versions of TLS and cipher suites, as etcd's flags name them.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};

/// The newer one first.
static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Versions that are spoken; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    Both,
    Only12,
    Only13,
}

impl Versions {
    /// From the lowest to the highest; nothing means as high as there is.
    pub(crate) fn between(min: &str, max: &str) -> Option<Self> {
        match (min, max) {
            ("" | "TLS1.2", "" | "TLS1.3") => Some(Self::Both),
            ("" | "TLS1.2", "TLS1.2") => Some(Self::Only12),
            ("TLS1.3", "" | "TLS1.3") => Some(Self::Only13),
            _ => None,
        }
    }

    pub(crate) fn known(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Both => &ALL,
            Self::Only12 => &ALL[1..],
            Self::Only13 => &ALL[..1],
        }
    }
}

/// As Go names it.
fn name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

fn is_13(suite: &SupportedCipherSuite) -> bool {
    suite.version().version == ProtocolVersion::TLSv1_3
}

/// The names of all suites that there are.
pub(crate) fn names() -> Vec<String> {
    all().cipher_suites.iter().map(name).collect()
}

fn all() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Of TLS 1.2 these suites, all if none is named; of TLS 1.3 all, unless one of those is named, too: as in Go.
pub(super) fn provider(named: &[String]) -> Arc<CryptoProvider> {
    let mut provider = all();
    let is_named = |suite: &SupportedCipherSuite| named.contains(&name(suite));
    let names_13 = provider.cipher_suites.iter().any(|suite| is_13(suite) && is_named(suite));
    provider.cipher_suites.retain(|suite| match is_13(suite) {
        true => !names_13 || is_named(suite),
        false => named.is_empty() || is_named(suite),
    });
    Arc::new(provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_those_that_are_named() {
        let named = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|name| (*name).to_owned()).collect();
            provider(&list).cipher_suites.iter().map(name).collect::<Vec<_>>()
        };
        let (old, new) = ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256");
        assert_eq!(named(&[]).len(), 9);
        assert_eq!(named(&[old]).len(), 4, "and all three of TLS 1.3");
        assert_eq!(named(&[old, new]), [new, old]);
    }

    #[test]
    fn versions_are_a_range() {
        #[rustfmt::skip]
        let cases = [
            ("TLS1.2", "",       Some(Versions::Both)),
            ("TLS1.2", "TLS1.2", Some(Versions::Only12)),
            ("TLS1.3", "",       Some(Versions::Only13)),
            ("TLS1.3", "TLS1.2", None),
            ("TLS1.1", "",       None),
        ];
        for (min, max, expected) in cases {
            assert_eq!(Versions::between(min, max), expected, "{min}..{max}");
        }
    }
}
