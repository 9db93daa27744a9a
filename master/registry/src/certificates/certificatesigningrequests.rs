//! `certificates.k8s.io/v1/certificatesigningrequests`.
//!
//! Who asks is written down by the server: a client cannot ask in another's name.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names, time};
use serde_json::{Value, json};

use crate::check;
use crate::fill::absent;
use crate::strategy::{Cx, Shape, Strategy, fresh, keep_field, kept, status_and_metadata};
use crate::table::{Cell, or, or_none, tabled};

#[derive(Clone, Copy, Debug)]
pub struct CertificateSigningRequests;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::AGE,
    Cell::text("SignerName", |request, _| or_none(request, &["spec", "signerName"])),
    Cell::text("Requestor", |request, _| or(request, &["spec", "username"], "")),
    Cell::text("RequestedDuration", |request, _| duration(request)),
    Cell::text("Condition", |request, _| condition(request).into()),
];

fn duration(request: &Value) -> Value {
    let seconds = meta::number(request, &["spec", "expirationSeconds"]);
    seconds.map_or("<none>".into(), |seconds| time::human_duration(seconds).into())
}

fn condition(request: &Value) -> String {
    let has = |kind: &str| {
        meta::items(request, &["status", "conditions"]).iter().any(|found| found["type"] == kind)
    };
    let verdict = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let is_issued = !meta::text(request, &["status", "certificate"]).is_empty();
    format!("{verdict}{failed}{}", if is_issued { ",Issued" } else { "" })
}

impl Strategy for CertificateSigningRequests {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: false }
    }

    fn name_problems(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }

    fn prepare_create(&self, new: &mut Value, cx: &Cx<'_>) {
        fresh(new, self.shape());
        let spec = meta::object_mut(new, &["spec"]);
        for field in ["username", "uid", "groups", "extra"] {
            spec.remove(field);
        }
        spec.insert("username".into(), cx.identity.user.clone().into());
        if !cx.identity.uid.is_empty() {
            spec.insert("uid".into(), cx.identity.uid.clone().into());
        }
        if !cx.identity.groups.is_empty() {
            spec.insert("groups".into(), json!(cx.identity.groups));
        }
        if !cx.identity.extra.is_empty() {
            spec.insert("extra".into(), json!(cx.identity.extra));
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        kept(new, old, self.shape());
        keep_field(new, old, "spec");
    }

    /// Approval is the other subresource's: here the verdicts stay as they were.
    fn prepare_status_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        status_and_metadata(new, old);
        let mut conditions = meta::items(new, &["status", "conditions"]).to_vec();
        for verdict in VERDICTS_OF_OTHERS {
            let is_it = |found: &&Value| found["type"] == verdict;
            if !conditions.iter().any(|found| is_it(&found)) {
                let kept = meta::items(old, &["status", "conditions"]).iter().filter(is_it);
                conditions.extend(kept.cloned());
            }
        }
        stamp(&mut conditions, cx.now);
        if !conditions.is_empty() {
            meta::object_mut(new, &["status"]).insert("conditions".into(), conditions.into());
        }
    }

    fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = verdict_problems(new, old);
        let count = |request: &Value, verdict: &str| {
            let all = meta::items(request, &["status", "conditions"]);
            all.iter().filter(|condition| condition["type"] == verdict).count()
        };
        let certificate = meta::text(new, &["status", "certificate"]);
        let decoded = STANDARD.decode(certificate).unwrap_or_default();
        let text = String::from_utf8_lossy(&decoded);
        if !certificate.is_empty() && !text.contains("-----BEGIN CERTIFICATE-----") {
            let detail = "must contain at least one CERTIFICATE PEM block";
            let shown = "<certificate data>";
            errors.push(FieldError::invalid("status.certificate", shown, detail));
        }
        for verdict in VERDICTS_OF_OTHERS {
            if count(new, verdict) > count(old, verdict) {
                let detail = format!("updates may not add a condition of type {verdict:?}");
                errors.push(FieldError::forbidden("status.conditions", detail));
            }
        }
        errors
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = FieldPath::new("spec");
        let sent = meta::text(new, &["spec", "request"]);
        let decoded = STANDARD.decode(sent).unwrap_or_default();
        let text = String::from_utf8_lossy(&decoded);
        if old.is_none() && !text.trim_start().starts_with("-----BEGIN CERTIFICATE REQUEST-----") {
            let detail = "PEM block type must be CERTIFICATE REQUEST";
            errors.push(FieldError::invalid(path.child("request"), sent, detail));
        }
        check::required(&new["spec"], "signerName", &path, &mut errors);
        let signer = meta::text(new, &["spec", "signerName"]);
        if !signer.is_empty() && !signer.contains('/') {
            let detail =
                "should be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.push(FieldError::invalid(path.child("signerName"), signer, detail));
        }
        let usages = meta::items(new, &["spec", "usages"]);
        let place = path.child("usages");
        if usages.is_empty() {
            errors.push(FieldError::required(place.clone(), ""));
        }
        for (at, usage) in usages.iter().enumerate() {
            if !USAGES.iter().any(|known| usage == known) {
                errors.push(FieldError::not_supported(place.index(at), usage.clone(), &USAGES));
            }
            if usages[..at].contains(usage) {
                errors.push(FieldError::duplicate(place.index(at), usage.clone()));
            }
        }
        let lifetime = meta::number(new, &["spec", "expirationSeconds"]);
        if let Some(seconds) = lifetime.filter(|seconds| *seconds < 600) {
            let detail = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.push(FieldError::invalid(path.child("expirationSeconds"), seconds, detail));
        }
        errors
    }

    fn fields(&self, request: &Value) -> BTreeMap<String, String> {
        let signer = meta::text(request, &["spec", "signerName"]).to_owned();
        [("spec.signerName".to_owned(), signer)].into()
    }

    tabled!(CELLS);
}

/// Verdicts that only the subresource `approval` may add.
const VERDICTS_OF_OTHERS: [&str; 2] = ["Approved", "Denied"];

/// What is wrong with verdicts: they are said once, hold, and do not contradict each other.
pub fn verdict_problems(new: &Value, old: &Value) -> Vec<FieldError> {
    const VERDICTS: [&str; 3] = ["Approved", "Denied", "Failed"];
    let path = FieldPath::new("status").child("conditions");
    let conditions = meta::items(new, &["status", "conditions"]);
    let kind = |condition: &'_ Value| meta::text(condition, &["type"]).to_owned();
    let mut errors = Vec::new();
    for (at, condition) in conditions.iter().enumerate() {
        let (path, of) = (path.index(at), kind(condition));
        check::required(condition, "type", &path, &mut errors);
        let known: &[&str] =
            if VERDICTS.contains(&&*of) { &["True"] } else { &["False", "True", "Unknown"] };
        check::required_one_of(condition, "status", &path, known, &mut errors);
        let before: Vec<String> = conditions[..at].iter().map(kind).collect();
        let opposite = match &*of {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !opposite.is_empty() && before.iter().any(|it| it == opposite) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            let path = FieldPath::new("status").child("conditions");
            errors.push(FieldError::invalid(path, of.as_str(), detail));
        }
        if before.contains(&of) {
            errors.push(FieldError::duplicate(path.child("type"), of.as_str()));
        }
    }
    let count = |request: &Value, verdict: &str| {
        let all = meta::items(request, &["status", "conditions"]);
        all.iter().filter(|condition| condition["type"] == verdict).count()
    };
    for verdict in VERDICTS {
        if count(new, verdict) < count(old, verdict) {
            let detail = format!("updates may not remove a condition of type {verdict:?}");
            errors.push(FieldError::forbidden(path.clone(), detail));
        }
    }
    errors
}

/// What a certificate may be for.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Conditions carry when they were set.
pub fn stamp(conditions: &mut [Value], now: Timestamp) {
    for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
        absent(condition, "lastUpdateTime", time::seconds(now));
        absent(condition, "lastTransitionTime", time::seconds(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_read_as_one_word() {
        let request = |kinds: &[&str], certificate: &str| {
            let conditions: Vec<Value> = kinds.iter().map(|kind| json!({ "type": kind })).collect();
            condition(&json!({"status": {"conditions": conditions, "certificate": certificate}}))
        };
        assert_eq!(request(&[], ""), "Pending");
        assert_eq!(request(&["Approved"], "eA=="), "Approved,Issued");
        assert_eq!(request(&["Approved", "Denied", "Failed"], ""), "Denied,Failed");
    }

    /// In the words of kube-apiserver 1.36.3.
    #[test]
    fn a_verdict_is_said_once_and_holds() {
        let with = |conditions: Value| json!({"status": {"conditions": conditions}});
        let verdict = |kind: &str, status: &str| json!({"type": kind, "status": status});
        let approved = with(json!([verdict("Approved", "True")]));
        #[rustfmt::skip]
        let cases = [
            (json!([verdict("Approved", "True")]), vec![]),
            (json!([verdict("Approved", "False")]), vec!["status.conditions[0].status: Unsupported value: \"False\": supported values: \"True\""]),
            (json!([verdict("Denied", "True")]), vec!["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""]),
            (json!([verdict("Approved", "True"), verdict("Denied", "True")]),
             vec!["status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive"]),
        ];
        for (conditions, expected) in cases {
            let found = verdict_problems(&with(conditions), &approved);
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        }
    }
}
