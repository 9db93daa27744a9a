//! Query parameters, checked as upstream checks them.

use http::header::CONTENT_TYPE;
use master_api::go;
use master_api::patch::PatchType;
use master_api::status::{ApiError, FieldError};
use store_handle::Revision;

use crate::call::Call;
use crate::query::{BadValue, Query};

/// A name of a field manager may have this many bytes.
pub const MANAGER_BYTES_MAX: usize = 128;

/// Checks the parameters of a write, before anything else is done with it. Those of a deletion may come in its body
/// (`delete.rs`).
pub fn check(call: &Call) -> Result<(), ApiError> {
    let verb = &*call.info.verb;
    let timeout = call.query.get("timeout").filter(|_| !call.info.is_long_running());
    if let Some(problem) = timeout.and_then(go::duration_problem) {
        let text = format!("invalid timeout specified in the request URL - {problem}");
        return Err(ApiError::BadRequest(text));
    }
    let kind = match verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        _ => return Ok(()),
    };
    let mut errors = Vec::new();
    let manager = call.query.get("fieldManager").unwrap_or_default();
    if verb == "patch" {
        let is_apply = PatchType::parse(call.header(CONTENT_TYPE)) == Ok(PatchType::Apply);
        if is_apply && manager.is_empty() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        if !is_apply && call.query.get("force").is_some() {
            let detail = "may not be specified for non-apply patch";
            errors.push(FieldError::forbidden("force", detail));
        }
    }
    if manager.len() > MANAGER_BYTES_MAX {
        errors.push(FieldError::too_long("fieldManager", MANAGER_BYTES_MAX));
    }
    if let Some((at, letter)) = manager.char_indices().find(|(_, letter)| letter.is_control()) {
        let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(letter));
        errors.push(FieldError::invalid("fieldManager", manager, detail));
    }
    let dry_run: Vec<&str> = call.query.all("dryRun").collect();
    errors.extend(dry_run_problem(&dry_run));
    let validation = call.query.get("fieldValidation").unwrap_or_default();
    if !matches!(validation, "" | "Ignore" | "Strict" | "Warn") {
        let supported = ["", "Ignore", "Strict", "Warn"];
        errors.push(FieldError::not_supported("fieldValidation", validation, &supported));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("meta.k8s.io", kind, "", errors))
}

/// A trial is asked for by one word only: what is misspelt must not be carried out.
pub fn dry_run_problem(asked: &[&str]) -> Option<FieldError> {
    let is_known = asked.iter().all(|word| *word == "All");
    (!is_known).then(|| FieldError::not_supported("dryRun", asked.to_vec(), &["All"]))
}

/// Which state a read accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// All that was acknowledged before the read.
    Latest,
    /// Whatever this master has.
    Any,
    /// At least this revision.
    NotOlderThan(Revision),
    /// This very revision.
    Exact(Revision),
}

/// Parameters of list and watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOptions {
    pub freshness: Freshness,
    pub limit: usize,
    pub token: Option<String>,
    /// Whether the client names a version other than 0.
    pub names_version: bool,
    pub timeout_s: Option<u64>,
    pub allows_bookmarks: bool,
    /// `None` where the client does not say.
    pub sends_initial: Option<bool>,
}

impl From<BadValue> for ApiError {
    fn from(BadValue(message): BadValue) -> Self {
        Self::BadRequest(message)
    }
}

/// A resourceVersion of a query. A list that names none is a bad request; for others upstream has no reason, and 500.
fn revision(text: &str, is_list: bool) -> Result<Revision, ApiError> {
    let parsed = text.parse::<u64>().ok().and_then(|revision| Revision::try_from(revision).ok());
    parsed.ok_or_else(|| {
        let detail = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        let error = FieldError::invalid("resourceVersion", text, detail);
        if is_list {
            ApiError::BadRequest(format!("invalid resource version: {error}"))
        } else {
            ApiError::Untyped(error.to_string())
        }
    })
}

/// What `get` accepts.
pub fn get_freshness(query: &Query) -> Result<Freshness, ApiError> {
    match query.get("resourceVersion") {
        None => Ok(Freshness::Latest),
        Some("0") => Ok(Freshness::Any),
        Some(text) => Ok(Freshness::NotOlderThan(revision(text, false)?)),
    }
}

impl ListOptions {
    /// Reads and checks; `is_watch` has rules of its own.
    pub fn parse(query: &Query, is_watch: bool) -> Result<Self, ApiError> {
        let limit = query.parsed::<i64>("limit")?.unwrap_or(0);
        let timeout_s = query.parsed::<i64>("timeoutSeconds")?;
        let wanted = query.get("resourceVersion");
        let matching = query.get("resourceVersionMatch");
        let token = query.get("continue").map(str::to_owned);
        let sends_initial = query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
        let errors = if is_watch {
            watch_errors(matching, sends_initial, token.is_some())
        } else {
            list_errors(wanted, matching, sends_initial, token.is_some())
        };
        if !errors.is_empty() {
            return Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", errors));
        }
        let freshness = match (wanted, matching) {
            (None, _) => Freshness::Latest,
            // The token says which it is; what the client says beside it is refused once that is read.
            (Some(_), _) if token.is_some() && !is_watch => Freshness::Latest,
            (Some("0"), _) => Freshness::Any,
            (Some(text), Some("Exact")) => Freshness::Exact(revision(text, !is_watch)?),
            // As before there was resourceVersionMatch: with a limit the version is meant exactly.
            (Some(text), None) if limit > 0 && !is_watch => {
                Freshness::Exact(revision(text, !is_watch)?)
            }
            (Some(text), _) => Freshness::NotOlderThan(revision(text, !is_watch)?),
        };
        Ok(Self {
            freshness,
            limit: usize::try_from(limit).unwrap_or(0),
            names_version: wanted.is_some_and(|wanted| wanted != "0"),
            token,
            timeout_s: timeout_s.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0),
            allows_bookmarks: query.flag("allowWatchBookmarks"),
            // Who names no version gets the state first: it is told when that was all, as if it had asked so.
            sends_initial: match (sends_initial, matching, wanted) {
                (None, None, None | Some("0")) if query.flag("watch") => Some(true),
                _ => sends_initial,
            },
        })
    }
}

const MATCH: &str = "resourceVersionMatch";

fn list_errors(
    wanted: Option<&str>,
    matching: Option<&str>,
    sends_initial: Option<bool>,
    continues: bool,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(matching) = matching {
        if wanted.is_none() {
            let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(FieldError::forbidden(MATCH, detail));
        }
        if continues {
            let detail = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(FieldError::forbidden(MATCH, detail));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            let supported = ["Exact", "NotOlderThan", ""];
            errors.push(FieldError::not_supported(MATCH, matching, &supported));
        }
        if matching == "Exact" && wanted == Some("0") {
            let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(FieldError::forbidden(MATCH, detail));
        }
    }
    if sends_initial.is_some() {
        let detail = "sendInitialEvents is forbidden for list";
        errors.push(FieldError::forbidden("sendInitialEvents", detail));
    }
    errors
}

fn watch_errors(
    matching: Option<&str>,
    sends_initial: Option<bool>,
    continues: bool,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if sends_initial.is_some() && matching != Some("NotOlderThan") {
        let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(FieldError::forbidden(MATCH, detail));
    }
    if let Some(matching) = matching {
        if sends_initial.is_none() {
            let detail =
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(MATCH, detail));
        }
        if matching != "NotOlderThan" {
            errors.push(FieldError::not_supported(MATCH, matching, &["NotOlderThan"]));
        }
    }
    if continues {
        let detail = "resourceVersionMatch is forbidden when continue is provided";
        errors.push(FieldError::forbidden(MATCH, detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_matches_combine_as_upstream_allows() {
        let read = |query: &str, is_watch| ListOptions::parse(&Query::parse(query), is_watch);
        let check = |query: &str, expected| {
            assert_eq!(read(query, false).map(|o| o.freshness).ok(), expected, "{query}");
        };
        check("", Some(Freshness::Latest));
        check("resourceVersion=0", Some(Freshness::Any));
        check("resourceVersion=5", Some(Freshness::NotOlderThan(5)));
        check("resourceVersion=5&limit=1", Some(Freshness::Exact(5)));
        check("resourceVersion=5&resourceVersionMatch=Exact", Some(Freshness::Exact(5)));
        check("resourceVersion=0&resourceVersionMatch=Exact", None);
        check("resourceVersionMatch=Exact", None);
        check("resourceVersion=x", None);
        check("sendInitialEvents=true", None);
        check("continue=x&resourceVersion=0", Some(Freshness::Latest));
        check("continue=x&resourceVersion=5&resourceVersionMatch=Exact", None);
        assert!(read("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", true).is_ok());
        assert!(read("sendInitialEvents=true", true).is_err());
        assert!(read("resourceVersionMatch=NotOlderThan", true).is_err());
        let tells_end = |query: &str| read(query, true).unwrap().sends_initial;
        assert_eq!(tells_end("watch=1"), Some(true));
        assert_eq!(tells_end("watch=1&resourceVersion=0"), Some(true));
        assert_eq!(tells_end("watch=1&resourceVersion=5"), None);
        assert_eq!(tells_end("sendInitialEvents=0&resourceVersionMatch=NotOlderThan"), Some(false));
        assert_eq!(read("timeoutSeconds=0", true).unwrap().timeout_s, None);
    }
}
