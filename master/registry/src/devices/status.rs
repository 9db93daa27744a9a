//! What became of a claim: which devices it was given, who uses them, and what their drivers say of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use master_api::field::FieldPath;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::Value;

use super::claim::{Requests, opaque};
use super::forms::{binding, bounded, distinct, driver, label, pool, raw, text, uid};
use crate::check::{self, Findings};
use crate::pod::validate::node_selector;
use crate::rules::{self, Must};
use crate::statuses;

const USERS_MAX: usize = 256;
const RESULTS_MAX: usize = 32;
const CONFIGS_MAX: usize = 64;
const CONDITIONS_MAX: usize = 8;
const DATA_BYTES_MAX: usize = 10 << 10;
const ADDRESSES_MAX: usize = 16;

/// Driver, pool, device, and the share of it.
type Device = [String; 4];

fn device(of: &Value) -> Device {
    ["driver", "pool", "device", "shareID"].map(|field| text(of, field).to_owned())
}

fn results(claim: &Value) -> BTreeSet<Device> {
    let results = meta::items(claim, &["status", "allocation", "devices", "results"]);
    results.iter().map(device).collect()
}

/// What drivers said of devices that the claim has no more goes.
pub(super) fn forget_devices(new: &mut Value, old: &Value) {
    let gone = &results(old) - &results(new);
    let Some(status) = new.get_mut("status").and_then(Value::as_object_mut) else { return };
    if let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut) {
        devices.retain(|of| !gone.contains(&device(of)));
        if devices.is_empty() {
            status.remove("devices");
        }
    }
}

/// What is wrong with a status that is written.
pub(super) fn check(new: &Value, old: &Value) -> Findings {
    let mut errors = Vec::new();
    let path = FieldPath::new("status");
    let status = &new["status"];
    users(status, &path, &mut errors);
    devices(new, &path.child("devices"), &mut errors);
    invariants(new, old, &path.child("reservedFor"), &mut errors);
    let place = path.child("allocation");
    match (meta::at(new, &["status", "allocation"]), meta::at(old, &["status", "allocation"])) {
        (Some(_), Some(_)) => {
            check::immutable(new, old, &["status", "allocation"], &mut errors);
        }
        (Some(allocation), None) => {
            let known = Requests::of(&new["spec"]);
            given(allocation, &known, &place, &mut errors);
        }
        (None, _) => {}
    }
    errors
}

fn users(status: &Value, path: &FieldPath, errors: &mut Findings) {
    let users = bounded(status, "reservedFor", USERS_MAX, path, errors);
    let path = path.child("reservedFor");
    for (at, user) in users.iter().enumerate() {
        for field in ["resource", "name", "uid"] {
            check::required(user, field, &path.index(at), errors);
        }
    }
    distinct(users.iter().map(|user| text(user, "uid").into()), &path, errors);
}

/// Only what was given can be used, and nobody begins to use what is going.
fn invariants(new: &Value, old: &Value, path: &FieldPath, errors: &mut Findings) {
    let users = meta::items(new, &["status", "reservedFor"]);
    if users.is_empty() {
        return;
    }
    let mut forbid = |detail| errors.push(FieldError::forbidden(path.clone(), detail));
    if meta::at(new, &["status", "allocation"]).is_none() {
        forbid("may not be specified when `allocated` is not set");
    } else if meta::is_terminating(new) {
        let before = meta::items(old, &["status", "reservedFor"]);
        if users.iter().any(|user| !before.contains(user)) {
            forbid(
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
            );
        }
    }
}

/// What drivers say of the devices.
fn devices(claim: &Value, path: &FieldPath, errors: &mut Findings) {
    let known = results(claim);
    let told = meta::items(claim, &["status", "devices"]);
    for (at, one) in told.iter().enumerate() {
        let place = path.index(at);
        driver(text(one, "driver"), &place.child("driver"), errors);
        pool(text(one, "pool"), &place.child("pool"), errors);
        label(one, "device", &place, errors);
        if let Some(share) = meta::at(one, &["shareID"]) {
            uid(share.as_str().unwrap_or_default(), &place.child("shareID"), errors);
        }
        if !known.contains(&device(one)) {
            let detail = "must be an allocated device in the claim";
            errors.push(FieldError::invalid(place.clone(), shown(&device(one)), detail));
        }
        let conditions = meta::items(one, &["conditions"]);
        let of_conditions = place.child("conditions");
        if conditions.len() > CONDITIONS_MAX {
            let error =
                FieldError::too_many(of_conditions.clone(), conditions.len(), CONDITIONS_MAX);
            errors.push(error);
        }
        errors.extend(statuses::conditions_at(conditions, &of_conditions));
        if let Some(data) = one.get("data") {
            raw(data, DATA_BYTES_MAX, &place.child("data"), errors);
        }
        network(&one["networkData"], &place.child("networkData"), errors);
    }
    distinct(told.iter().map(|one| shown(&device(one))), path, errors);
}

/// As Go shows it where it is refused.
fn shown(device: &Device) -> Value {
    let [driver, pool, device, share] = device;
    serde_json::json!({"Driver": driver, "Pool": pool, "Device": device, "ShareID": share})
}

fn network(data: &Value, path: &FieldPath, errors: &mut Findings) {
    let short = [("interfaceName", Must::BeShort(256)), ("hardwareAddress", Must::BeShort(128))];
    rules::check(data, path, &short, errors);
    let addresses = bounded(data, "ips", ADDRESSES_MAX, path, errors);
    let path = path.child("ips");
    for (at, address) in addresses.iter().enumerate() {
        let text = address.as_str().unwrap_or_default();
        let problem = interface_address(text);
        errors.extend(problem.map(|it| FieldError::invalid(path.index(at), text, it)));
    }
    distinct(addresses.iter().cloned(), &path, errors);
}

/// An address with the length of its network's prefix, written as everybody writes it.
fn interface_address(text: &str) -> Option<String> {
    let parsed = text.split_once('/').and_then(|(address, prefix)| {
        let address: IpAddr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some((address, prefix))
    });
    let plain = parsed.and_then(|(address, prefix): (IpAddr, u8)| {
        let plain = address.to_canonical();
        // An IPv4 address in IPv6's form has its prefix counted from there.
        let is_mapped = plain.is_ipv4() && address.is_ipv6();
        Some((plain, if is_mapped { prefix.checked_sub(96)? } else { prefix }))
    });
    let Some((plain, prefix)) = plain else {
        return Some(
            "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned(),
        );
    };
    let canonical = format!("{plain}/{prefix}");
    (canonical != text).then(|| format!("must be in canonical form ({canonical:?})"))
}

/// The devices that a claim was given.
fn given(allocation: &Value, known: &Requests, path: &FieldPath, errors: &mut Findings) {
    let of = &allocation["devices"];
    let place = path.child("devices");
    for (at, result) in bounded(of, "results", RESULTS_MAX, &place, errors).iter().enumerate() {
        let place = place.child("results").index(at);
        known.check(text(result, "request"), &place.child("request"), errors);
        driver(text(result, "driver"), &place.child("driver"), errors);
        pool(text(result, "pool"), &place.child("pool"), errors);
        label(result, "device", &place, errors);
        binding(result, &place, errors);
        if let Some(share) = meta::at(result, &["shareID"]) {
            uid(share.as_str().unwrap_or_default(), &place.child("shareID"), errors);
        }
    }
    for (at, config) in bounded(of, "config", CONFIGS_MAX, &place, errors).iter().enumerate() {
        let place = place.child("config").index(at);
        let source = [("source", Must::BeChosen("", &["FromClaim", "FromClass"]))];
        rules::check(config, &place, &source, errors);
        known.check_all(config, &place, errors);
        opaque(config, &place, errors);
    }
    if let Some(selector) = meta::at(allocation, &["nodeSelector"]) {
        node_selector(selector, &path.child("nodeSelector"), errors);
    }
}
