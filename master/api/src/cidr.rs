//! IPv4 ranges: service addresses, pod networks, and the pieces cut from them.

use std::fmt::{self, Display};
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A network such as `10.96.0.0/16`; the base has no host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    base: Ipv4Addr,
    prefix: u8,
}

impl Cidr {
    /// `None` for a prefix above 32; host bits are cleared.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        (prefix <= 32).then(|| {
            let base = Ipv4Addr::from_bits(address.to_bits() & mask(prefix));
            Self { base, prefix }
        })
    }

    /// The lowest address.
    pub fn base(&self) -> Ipv4Addr {
        self.base
    }

    /// How many leading bits are the network.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// How many addresses the range has.
    pub fn size(&self) -> u64 {
        1 << (32 - self.prefix)
    }

    /// Whether an address lies in the range.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.base.to_bits()
    }

    /// The address at a place counted from the base.
    pub fn nth(&self, index: u64) -> Option<Ipv4Addr> {
        let index = u32::try_from(index).ok().filter(|_| index < self.size())?;
        Some(Ipv4Addr::from_bits(self.base.to_bits() + index))
    }

    /// The piece number `index` of those with a longer prefix.
    pub fn subnet(&self, prefix: u8, index: u64) -> Option<Self> {
        if prefix < self.prefix || prefix > 32 {
            return None;
        }
        let base = self.nth(index.checked_mul(1 << (32 - prefix))?)?;
        Some(Self { base, prefix })
    }
}

fn mask(prefix: u8) -> u32 {
    if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || format!("{text:?} is no IPv4 range such as 10.96.0.0/16");
        let (address, prefix) = text.split_once('/').ok_or_else(fail)?;
        let address = address.parse().map_err(|_| fail())?;
        let prefix = prefix.parse().map_err(|_| fail())?;
        Self::new(address, prefix).ok_or_else(fail)
    }
}

impl Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_know_their_addresses_and_pieces() {
        let range: Cidr = "10.244.3.1/16".parse().unwrap();
        assert_eq!(range.to_string(), "10.244.0.0/16");
        assert_eq!(range.nth(257), Some(Ipv4Addr::new(10, 244, 1, 1)));
        assert_eq!(range.nth(1 << 16), None);
        assert_eq!(range.subnet(24, 255).unwrap().to_string(), "10.244.255.0/24");
        assert_eq!(range.subnet(24, 256), None);
        assert!(range.contains(Ipv4Addr::new(10, 244, 9, 9)));
        assert!(!range.contains(Ipv4Addr::new(10, 245, 0, 0)));
        assert!("10.0.0.0/33".parse::<Cidr>().is_err());
        assert!("10.0.0.0".parse::<Cidr>().is_err());
    }
}
