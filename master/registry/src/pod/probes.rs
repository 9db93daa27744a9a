//! Rules of probes and lifecycle hooks.

use master_api::field::FieldPath;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::Value;

use crate::check::{self, Findings};

const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// The probes and hooks of a container at `path`.
pub(crate) fn validate(
    container: &Value,
    path: &FieldPath,
    grace_s: Option<i64>,
    errors: &mut Findings,
) {
    for (name, must_succeed_once) in
        [("livenessProbe", true), ("readinessProbe", false), ("startupProbe", true)]
    {
        if let Some(probe) = meta::at(container, &[name]) {
            validate_probe(probe, &path.child(name), must_succeed_once, errors);
        }
    }
    if let Some(lifecycle) = meta::at(container, &["lifecycle"]) {
        for hook in ["postStart", "preStop"] {
            if let Some(handler) = meta::at(lifecycle, &[hook]) {
                let path = path.child("lifecycle").child(hook);
                validate_handler(handler, &path, errors);
                sleep(handler, &path, grace_s, errors);
            }
        }
    }
}

/// A hook that sleeps ends before the pod has to.
fn sleep(handler: &Value, path: &FieldPath, grace_s: Option<i64>, errors: &mut Findings) {
    let Some(sleep) = meta::at(handler, &["sleep"]) else { return };
    let seconds = meta::number(sleep, &["seconds"]).unwrap_or_default();
    if let Some(grace_s) = grace_s.filter(|grace_s| seconds < 0 || seconds > *grace_s) {
        let detail =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace_s})");
        errors.push(FieldError::invalid(path.child("sleep"), seconds, detail));
    }
}

fn validate_probe(probe: &Value, path: &FieldPath, must_succeed_once: bool, errors: &mut Findings) {
    validate_handler(probe, path, errors);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        check::not_negative(probe, field, path, errors);
    }
    let successes = meta::number(probe, &["successThreshold"]).unwrap_or(1);
    if must_succeed_once && successes != 1 {
        errors.push(FieldError::invalid(path.child("successThreshold"), successes, "must be 1"));
    }
    if let Some(grace) = meta::number(probe, &["terminationGracePeriodSeconds"]) {
        let path = path.child("terminationGracePeriodSeconds");
        if !must_succeed_once {
            let detail = "must not be set for readinessProbes";
            errors.push(FieldError::invalid(path, grace, detail));
        } else if grace <= 0 {
            errors.push(FieldError::invalid(path, grace, "must be greater than 0"));
        }
    }
}

fn validate_handler(handler: &Value, path: &FieldPath, errors: &mut Findings) {
    let present: Vec<&str> =
        HANDLERS.into_iter().filter(|name| meta::at(handler, &[name]).is_some()).collect();
    for extra in present.iter().skip(1) {
        let detail = "may not specify more than 1 handler type";
        errors.push(FieldError::forbidden(path.child(extra), detail));
    }
    let Some(name) = present.first() else {
        errors.push(FieldError::required(path.clone(), "must specify a handler type"));
        return;
    };
    let (details, path) = (&handler[*name], path.child(name));
    match *name {
        "exec" if meta::items(details, &["command"]).is_empty() => {
            errors.push(FieldError::required(path.child("command"), ""));
        }
        "httpGet" => {
            check::required(details, "path", &path, errors);
            check::port_or_name(&details["port"], &path.child("port"), errors);
            check::one_of(details, "scheme", &path, &["HTTP", "HTTPS"], errors);
            for header in meta::items(details, &["httpHeaders"]) {
                let name = meta::text(header, &["name"]);
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
                if name.is_empty() || !name.bytes().all(fits) {
                    let detail = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
                    errors.push(FieldError::invalid(path.child("httpHeaders"), name, detail));
                }
            }
        }
        "tcpSocket" => check::port_or_name(&details["port"], &path.child("port"), errors),
        "grpc" => check::port(details, "port", &path, errors),
        _ => {}
    }
}
