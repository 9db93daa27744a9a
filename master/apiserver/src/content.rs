//! What a client wants to be answered in.
//!
//! JSON and YAML are offered, objects as themselves, as Tables or as metadata only. Protobuf is not, though
//! it is taken (`protobuf/`): clients name it first and JSON after it, and get JSON.

use http::HeaderMap;
use http::header::{ACCEPT, USER_AGENT};
use master_api::status::ApiError;

use crate::query::Query;

/// Which shape objects are sent in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    #[default]
    Object,
    /// As rows and columns for people.
    Table,
    /// Only `metadata` of one object.
    PartialMetadata,
    /// Only `metadata` of each object of a list.
    PartialMetadataList,
    /// Discovery of all groups in one document.
    AggregatedDiscovery,
}

/// How a response is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub form: Form,
    pub yaml: bool,
    pub pretty: bool,
    /// A Table of `meta.k8s.io/v1beta1` rather than `v1`.
    pub is_beta: bool,
}

/// One clause of an Accept header.
#[derive(Debug, Default)]
struct Clause<'a> {
    media: &'a str,
    quality: f32,
    kind: &'a str,
    group: &'a str,
    version: &'a str,
    pretty: bool,
}

/// What is offered, as a refusal names it.
const OFFERED: [&str; 2] = ["application/json", "application/yaml"];

/// Chooses the first clause that can be served.
pub fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Output, ApiError> {
    choose(headers, query, |_| true)
}

/// The same for what is no stored object, and so has no rows and no metadata of its own.
pub fn negotiate_plain(headers: &HeaderMap, query: &Query) -> Result<Output, ApiError> {
    choose(headers, query, |form| form == Form::Object)
}

/// The same for a stream: there is none of YAML.
pub fn negotiate_stream(headers: &HeaderMap, query: &Query) -> Result<Output, ApiError> {
    let output = negotiate(headers, query)?;
    match output.yaml {
        true => Err(ApiError::NotAcceptable { accepted: vec![OFFERED[0].to_owned()] }),
        false => Ok(output),
    }
}

fn choose(
    headers: &HeaderMap,
    query: &Query,
    is_served: impl Fn(Form) -> bool,
) -> Result<Output, ApiError> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let pretty = wants_pretty(headers, query);
    if accept.trim().is_empty() {
        return Ok(Output { pretty, ..Output::default() });
    }
    let mut clauses: Vec<Clause<'_>> = accept.split(',').map(clause).collect();
    // The better ones first, and of those the more precise.
    let wildcards = |clause: &Clause<'_>| clause.media.matches('*').count();
    clauses.sort_by(|a, b| {
        b.quality.total_cmp(&a.quality).then_with(|| wildcards(a).cmp(&wildcards(b)))
    });
    let served = |output: &Output| is_served(output.form);
    let chosen = clauses.iter().find_map(|clause| output(clause, pretty).filter(served));
    chosen.ok_or_else(|| ApiError::NotAcceptable {
        accepted: OFFERED.iter().map(|&media| media.to_owned()).collect(),
    })
}

fn wants_pretty(headers: &HeaderMap, query: &Query) -> bool {
    if query.get("pretty").is_some() {
        return query.flag("pretty");
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|prefix| agent.starts_with(prefix))
}

fn clause(text: &str) -> Clause<'_> {
    let mut parts = text.split(';').map(str::trim);
    let mut clause =
        Clause { media: parts.next().unwrap_or(""), quality: 1.0, ..Clause::default() };
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        match key.trim() {
            "q" => clause.quality = value.parse().unwrap_or(0.0),
            "as" => clause.kind = value,
            "g" => clause.group = value,
            "v" => clause.version = value,
            "pretty" => clause.pretty = value == "1",
            _ => {}
        }
    }
    clause
}

fn output(clause: &Clause<'_>, pretty: bool) -> Option<Output> {
    let yaml = match clause.media {
        "application/json" | "*/*" => false,
        "application/yaml" => true,
        _ => return None,
    };
    let is_meta = clause.group == "meta.k8s.io" && matches!(clause.version, "v1" | "v1beta1");
    let form = match clause.kind {
        "" => Form::Object,
        "Table" if is_meta => Form::Table,
        "PartialObjectMetadata" if is_meta => Form::PartialMetadata,
        "PartialObjectMetadataList" if is_meta => Form::PartialMetadataList,
        "APIGroupDiscoveryList"
            if clause.group == "apidiscovery.k8s.io" && clause.version == "v2" =>
        {
            Form::AggregatedDiscovery
        }
        _ => return None,
    };
    let is_beta = clause.version == "v1beta1";
    Some(Output { form, yaml, pretty: pretty || clause.pretty, is_beta })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str) -> Option<Output> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        negotiate(&headers, &Query::default()).ok()
    }

    #[test]
    fn first_clause_that_can_be_served_is_taken() {
        let check = |accept, form| assert_eq!(chosen(accept).map(|o| o.form), form, "{accept}");
        check("", Some(Form::Object));
        check("*/*", Some(Form::Object));
        // As upstream's router has it.
        check("application/*", None);
        check("*", None);
        check("application/vnd.kubernetes.protobuf,application/json", Some(Form::Object));
        check("application/vnd.kubernetes.protobuf", None);
        check("text/html", None);
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Some(Form::Table));
        check("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Some(Form::Object));
        check(
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
             application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Some(Form::PartialMetadataList),
        );
        check(
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Some(Form::AggregatedDiscovery),
        );
        check("application/json;q=0.5,application/yaml", Some(Form::Object));
        for yaml in ["application/json;q=0.5,application/yaml", "*/*,application/yaml"] {
            assert!(chosen(yaml).unwrap().yaml, "{yaml}");
        }
        assert!(!chosen("*/*;q=0.9,application/yaml;q=0.8").unwrap().yaml);
    }
}
