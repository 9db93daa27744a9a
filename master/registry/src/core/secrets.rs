//! `v1/secrets`.
//!
//! `stringData` is written into `data` and never read back.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use master_api::field::FieldPath;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::Value;

use super::configmaps::{DATA_BYTES_MAX, entries, kept_immutable, keys_and_bytes};
use crate::check::{self, Findings};
use crate::fill::{made, zero};
use crate::strategy::Strategy;
use crate::table::{Cell, or, tabled};

#[derive(Clone, Copy, Debug)]
pub struct Secrets;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Type", |secret, _| or(secret, &["type"], "")),
    Cell::text("Data", |secret, _| entries(secret, "data").into()),
    Cell::AGE,
];

/// The keys that a type must have.
const REQUIRED: &[(&str, &[&str])] = &[
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];

impl Strategy for Secrets {
    fn default(&self, secret: &mut Value) {
        let Some(fields) = secret.as_object_mut() else { return };
        zero(fields, "type", "Opaque");
        if let Some(Value::Object(plain)) = fields.remove("stringData") {
            let data = made(fields, "data");
            for (key, value) in plain {
                let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
                data.insert(key, encoded.into());
            }
        }
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let bytes = keys_and_bytes(new, "data", &mut errors) / 4 * 3;
        if bytes > DATA_BYTES_MAX {
            errors.push(FieldError::too_long("data", DATA_BYTES_MAX));
        }
        by_type(new, &mut errors);
        if let Some(old) = old {
            check::immutable(new, old, &["type"], &mut errors);
            kept_immutable(new, old, &["data"], &mut errors);
        }
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        if new["type"] != "kubernetes.io/tls" {
            return Vec::new();
        }
        let has_pem = |key: &str| {
            let bytes = STANDARD.decode(meta::text(new, &["data", key])).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains("-----BEGIN ")
        };
        let missing = [("tls.crt", "certificate"), ("tls.key", "key")]
            .into_iter()
            .find(|(key, _)| !has_pem(key));
        missing
            .map(|(_, word)| format!("tls: failed to find any PEM data in {word} input"))
            .into_iter()
            .collect()
    }

    fn fields(&self, secret: &Value) -> BTreeMap<String, String> {
        [("type".to_owned(), meta::text(secret, &["type"]).to_owned())].into()
    }

    tabled!(CELLS);
}

fn by_type(secret: &Value, errors: &mut Findings) {
    let kind = meta::text(secret, &["type"]);
    let data = FieldPath::new("data");
    let keys = REQUIRED.iter().find(|(name, _)| *name == kind).map_or(&[][..], |(_, keys)| keys);
    for key in keys {
        // A key for SSH must not be empty either.
        let is_missing = match kind {
            "kubernetes.io/ssh-auth" => meta::text(secret, &["data", key]).is_empty(),
            _ => meta::at(secret, &["data", key]).is_none(),
        };
        if is_missing {
            errors.push(FieldError::required(data.key(key), ""));
        }
    }
    match kind {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if meta::annotation(secret, key).is_empty() {
                let path = FieldPath::new("metadata").child("annotations").key(key);
                errors.push(FieldError::required(path, ""));
            }
        }
        "kubernetes.io/basic-auth" => {
            let has = |key: &str| meta::at(secret, &["data", key]).is_some();
            if !has("username") && !has("password") {
                errors.push(FieldError::required(data.key("username"), ""));
                errors.push(FieldError::required(data.key("password"), ""));
            }
        }
        "kubernetes.io/dockercfg" | "kubernetes.io/dockerconfigjson" => {
            for key in keys {
                let text = meta::text(secret, &["data", key]);
                let bytes = STANDARD.decode(text).unwrap_or_default();
                // The problem names one character at most; what it is instead is a secret.
                let wrong = master_api::go::json_problem(&bytes);
                if let Some(detail) = wrong.filter(|_| meta::at(secret, &["data", key]).is_some()) {
                    let shown = "<secret contents redacted>";
                    errors.push(FieldError::invalid(data.key(key), shown, detail));
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn string_data_becomes_data() {
        let mut secret = json!({"data": {"a": "eA=="}, "stringData": {"a": "y", "b": "z"}});
        Secrets.default(&mut secret);
        assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "eQ==", "b": "eg=="}}));
    }

    #[test]
    fn types_have_their_keys_and_stay() {
        let fields = |new: &Value, old: Option<&Value>| -> Vec<String> {
            Secrets.validate(new, old).into_iter().map(|error| error.field).collect()
        };
        let tls = json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}});
        assert_eq!(fields(&tls, None), ["data[tls.key]"]);
        let registry = |config: &str| json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": STANDARD.encode(config)}});
        assert_eq!(fields(&registry("{}"), None), [""; 0]);
        assert_eq!(fields(&registry("auth"), None), ["data[.dockerconfigjson]"]);
        let opaque = json!({"type": "Opaque", "data": {}});
        assert_eq!(fields(&opaque, Some(&json!({"type": "Other", "data": {}}))), ["type"]);
    }
}
