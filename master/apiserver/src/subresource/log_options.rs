//! What a client may ask of a log, checked before anything is looked up.

use master_api::go;
use master_api::status::{ApiError, FieldError};

use crate::query::Query;

/// Refuses options that make no sense.
pub fn check(query: &Query, pod: &str) -> Result<(), ApiError> {
    let seconds = query.parsed::<i64>("sinceSeconds")?;
    let time = query.get("sinceTime").filter(|time| *time != "null");
    if let Some(problem) = time.and_then(go::time_problem) {
        return Err(ApiError::BadRequest(problem));
    }
    let (lines, bytes) = (query.parsed::<i64>("tailLines")?, query.parsed::<i64>("limitBytes")?);
    let mut errors = Vec::new();
    if let Some(lines) = lines.filter(|lines| *lines < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("tailLines", lines, detail));
    }
    if let Some(bytes) = bytes.filter(|bytes| *bytes < 1) {
        errors.push(FieldError::invalid("limitBytes", bytes, "must be greater than 0"));
    }
    match (seconds, time) {
        (Some(_), Some(_)) => {
            let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.push(FieldError::forbidden("", detail));
        }
        (Some(seconds), None) if seconds < 1 => {
            errors.push(FieldError::invalid("sinceSeconds", seconds, "must be greater than 0"));
        }
        _ => {}
    }
    match query.get("stream") {
        None | Some("All") => {}
        Some("Stdout" | "Stderr") if lines.is_some() => {
            let detail = "`tailLines` and specific `stream` are mutually exclusive for now";
            errors.push(FieldError::forbidden("", detail));
        }
        Some("Stdout" | "Stderr") => {}
        Some(other) => {
            let known = ["All", "Stderr", "Stdout"];
            errors.push(FieldError::not_supported("stream", other, &known));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("", "PodLogOptions", pod, errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the words of kube-apiserver 1.36.3.
    #[test]
    fn options_of_logs_are_refused_as_upstream_does() {
        #[rustfmt::skip]
        let cases = [
            ("tailLines=5&sinceTime=2026-01-01T00:00:00Z", 0, ""),
            ("tailLines=-1", 422, "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ("sinceSeconds=0", 422, "PodLogOptions \"p\" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0"),
            ("limitBytes=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
            ("sinceTime=x", 400, "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\""),
        ];
        for (query, code, message) in cases {
            let error = check(&Query::parse(query), "p").err();
            assert_eq!(error.as_ref().map_or(0, ApiError::code), code, "{query}");
            assert_eq!(error.map(|it| it.to_string()).unwrap_or_default(), message);
        }
    }
}
