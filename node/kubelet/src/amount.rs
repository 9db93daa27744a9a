//! Amounts of CPU and memory as the kernel wants them: milli-cores and bytes.
//!
//! The API server has checked the quantities; what cannot be read here counts as absent.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::pod;

const SUFFIXES: &[(&str, f64)] = &[
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

fn parse(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.trim();
    let suffixed = SUFFIXES.iter().find_map(|(suffix, unit)| {
        text.strip_suffix(suffix).map(|digits| digits.parse::<f64>().ok().map(|it| it * unit))
    });
    suffixed.unwrap_or_else(|| text.parse().ok())
}

/// Rounded up, as resources are.
fn whole(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped before; a float keeps 53 bits, more than any machine has bytes"
    )]
    let rounded = (value - 1e-9).ceil().clamp(0.0, 9e18) as u64;
    rounded
}

/// Thousandths of a core.
pub(crate) fn milli(quantity: &Quantity) -> Option<u64> {
    parse(quantity).map(|value| whole(value * 1_000.0))
}

/// Bytes, or whole units of anything else.
pub(crate) fn units(quantity: &Quantity) -> Option<u64> {
    parse(quantity).map(whole)
}

/// What a container asks for: `None` where it says nothing.
pub(crate) fn request<'a>(container: &'a Container, resource: &str) -> Option<&'a Quantity> {
    let resources = container.resources.as_ref()?;
    let own = resources.requests.as_ref().and_then(|all| all.get(resource));
    own.or_else(|| limit(container, resource))
}

/// What a pod asks for as a whole.
pub(crate) fn request_of_all<'a>(pod: &'a Pod, resource: &str) -> Option<&'a Quantity> {
    pod::spec(pod).resources.as_ref()?.requests.as_ref()?.get(resource)
}

/// What a pod may not exceed as a whole.
pub(crate) fn limit_of_all<'a>(pod: &'a Pod, resource: &str) -> Option<&'a Quantity> {
    pod::spec(pod).resources.as_ref()?.limits.as_ref()?.get(resource)
}

/// What a container may not exceed.
pub(crate) fn limit<'a>(container: &'a Container, resource: &str) -> Option<&'a Quantity> {
    container.resources.as_ref()?.limits.as_ref()?.get(resource)
}

/// Writes an amount into a list, in thousandths of a core or in bytes. Zero takes it out; what is there
/// already as `known` keeps its notation.
pub(crate) fn put(list: &mut BTreeMap<String, Quantity>, resource: &str, amount: u64, known: u64) {
    if amount == known {
        return;
    }
    if amount == 0 {
        list.remove(resource);
        return;
    }
    let text = match resource {
        "cpu" if amount.is_multiple_of(1_000) => (amount / 1_000).to_string(),
        "cpu" => format!("{amount}m"),
        _ => {
            let units = [(1_u64 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
            let unit = units.into_iter().find(|(unit, _)| amount.is_multiple_of(*unit));
            let (unit, suffix) = unit.unwrap_or((1, ""));
            format!("{}{suffix}", amount / unit)
        }
    };
    list.insert(resource.to_owned(), Quantity(text));
}

/// Thousandths of a core from a weight.
pub(crate) fn milli_of_shares(shares: u64) -> u64 {
    (shares * 1_000).div_ceil(1_024)
}

/// Weight of a share of CPU on cgroup v1.
pub(crate) fn shares(milli: u64) -> u64 {
    (milli.saturating_mul(1_024) / 1_000).clamp(2, 262_144)
}

/// Microseconds of CPU in each period of 100 ms.
pub(crate) fn quota_us(milli: u64) -> u64 {
    milli.saturating_mul(100).max(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_every_notation() {
        let check = |text: &str, milli_cores, bytes| {
            let quantity = Quantity(text.to_owned());
            assert_eq!((milli(&quantity), units(&quantity)), (milli_cores, bytes), "{text}");
        };
        check("500m", Some(500), Some(1));
        check("2", Some(2_000), Some(2));
        check("0.1", Some(100), Some(1));
        check("128Mi", Some(134_217_728_000), Some(134_217_728));
        check("1e3", Some(1_000_000), Some(1_000));
        check("1G", Some(1_000_000_000_000), Some(1_000_000_000));
        check("1Ei", Some(9_000_000_000_000_000_000), Some(1 << 60));
        check("0.001E", Some(1_000_000_000_000_000_000), Some(1_000_000_000_000_000));
        check("many", None, None);
    }

    #[test]
    fn what_no_machine_has_is_no_reason_to_panic() {
        let most = milli(&Quantity("9E".into())).unwrap();
        assert_eq!((shares(most), quota_us(most)), (262_144, u64::MAX));
    }
}
