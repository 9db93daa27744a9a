//! What a request is about: verb, resource, namespace, name, subresource, read from its path.
//!
//! Paths as upstream reads them (apiserver `pkg/endpoints/request/requestinfo.go`). A segment that would
//! not survive as part of a storage key is refused here, before anything is looked up.

use http::Method;
use master_api::access::{Attributes, Identity};

use crate::query::Query;

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether it is about a resource of the API, or about some other path.
    pub is_resource: bool,
    pub path: String,
    /// As authorizers see it; for another path the method in lower case.
    pub verb: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// What follows the subresource, for proxies: without a leading slash.
    pub rest: String,
}

/// A path that no request may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPath(pub String);

/// Subresources of a namespace itself: what else follows its name is a resource in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Reads method, path and query.
    pub fn parse(method: &Method, raw_path: &str, query: &Query) -> Result<Self, BadPath> {
        let mut info = Self {
            path: raw_path.to_owned(),
            verb: method.as_str().to_ascii_lowercase(),
            ..Self::default()
        };
        let raw: Vec<&str> = raw_path.trim_matches('/').split('/').collect();
        let after_version = match raw.as_slice() {
            ["api", version, ..] => {
                info.version = segment(version)?;
                2
            }
            ["apis", group, version, ..] => {
                info.group = segment(group)?;
                info.version = segment(version)?;
                3
            }
            _ => return Ok(info),
        };
        let mut rest = &raw[after_version..];
        if rest.is_empty() {
            return Ok(info);
        }
        let is_old_watch = rest.len() > 1 && rest[0] == "watch";
        if is_old_watch {
            rest = &rest[1..];
        }
        info.is_resource = true;
        info.place(rest)?;
        info.verb = info.resource_verb(method, is_old_watch, query);
        if info.name.is_empty() && matches!(&*info.verb, "list" | "watch" | "deletecollection") {
            info.name = query.exact_field("metadata.name").unwrap_or_default();
        }
        Ok(info)
    }

    /// `[namespaces/<ns>/]<resource>[/<name>[/<subresource>[/<rest>]]]`
    fn place(&mut self, parts: &[&str]) -> Result<(), BadPath> {
        let mut parts = parts;
        if parts[0] == "namespaces" && parts.len() > 1 {
            self.namespace = segment(parts[1])?;
            if parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2]) {
                parts = &parts[2..];
            }
        }
        self.resource = segment(parts[0])?;
        if let Some(name) = parts.get(1) {
            self.name = segment(name)?;
        }
        if let Some(subresource) = parts.get(2) {
            self.subresource = segment(subresource)?;
        }
        self.rest = parts.get(3..).map(|rest| rest.join("/")).unwrap_or_default();
        Ok(())
    }

    fn resource_verb(&self, method: &Method, is_old_watch: bool, query: &Query) -> String {
        let watches = is_old_watch || query.flag("watch");
        let verb = match (method.as_str(), self.name.is_empty()) {
            ("GET" | "HEAD", _) if is_old_watch => "watch",
            ("GET" | "HEAD", true) if watches => "watch",
            ("GET" | "HEAD", true) => "list",
            ("GET" | "HEAD", false) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "deletecollection",
            ("DELETE", false) => "delete",
            _ => "",
        };
        verb.to_owned()
    }

    /// What authorizers are asked.
    pub fn attributes(&self, identity: &Identity) -> Attributes {
        Attributes {
            identity: identity.clone(),
            verb: self.verb.clone(),
            group: self.group.clone(),
            version: self.version.clone(),
            resource: self.resource.clone(),
            subresource: self.subresource.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            path: self.path.clone(),
        }
    }

    /// Whether the request may last as long as its client likes.
    pub fn is_long_running(&self) -> bool {
        self.verb == "watch"
            || matches!(&*self.subresource, "proxy" | "log" | "exec" | "attach" | "portforward")
    }
}

/// One segment, decoded. What would leave its place in a key is refused (CVE-2022-3162).
fn segment(raw: &str) -> Result<String, BadPath> {
    let decoded = master_api::percent::decode(raw).ok_or_else(|| BadPath(raw.to_owned()))?;
    let bad = decoded.is_empty()
        || decoded == "."
        || decoded == ".."
        || decoded.contains(['/', '%'])
        || decoded.chars().any(char::is_control);
    if bad { Err(BadPath(raw.to_owned())) } else { Ok(decoded) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<RequestInfo, BadPath> {
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        RequestInfo::parse(&method.parse().unwrap(), path, &Query::parse(query))
    }

    fn check(line: &str, expected: &str) {
        let info = read(line).unwrap();
        let shown = format!(
            "{} {}/{} ns={} {}/{} {} +{}",
            info.verb,
            info.group,
            info.version,
            info.namespace,
            info.resource,
            info.name,
            info.subresource,
            info.rest
        );
        assert_eq!(shown, expected, "{line}");
    }

    #[test]
    fn paths_read_as_upstream_reads_them() {
        check("GET /api/v1/pods", "list /v1 ns= pods/  +");
        check("GET /api/v1/pods?watch=1", "watch /v1 ns= pods/  +");
        check("GET /api/v1/watch/pods", "watch /v1 ns= pods/  +");
        check("GET /api/v1/watch/namespaces/a/pods/b", "watch /v1 ns=a pods/b  +");
        check("GET /api/v1/namespaces/a/pods/b", "get /v1 ns=a pods/b  +");
        check("GET /api/v1/namespaces/a/pods/b?watch=true", "get /v1 ns=a pods/b  +");
        check("GET /api/v1/namespaces/a", "get /v1 ns=a namespaces/a  +");
        check("GET /api/v1/namespaces", "list /v1 ns= namespaces/  +");
        check("PUT /api/v1/namespaces/a/finalize", "update /v1 ns=a namespaces/a finalize +");
        check(
            "PATCH /apis/apps/v1/namespaces/a/deployments/d/scale",
            "patch apps/v1 ns=a deployments/d scale +",
        );
        check("POST /apis/apps/v1/namespaces/a/deployments", "create apps/v1 ns=a deployments/  +");
        check("DELETE /api/v1/nodes", "deletecollection /v1 ns= nodes/  +");
        check("DELETE /api/v1/nodes/n", "delete /v1 ns= nodes/n  +");
        check("GET /api/v1/nodes/n/proxy/a/b", "get /v1 ns= nodes/n proxy +a/b");
        check("GET /api/v1/pods?fieldSelector=metadata.name%3Dx", "list /v1 ns= pods/x  +");
        check("GET /apis/apps/v1", "get apps/v1 ns= /  +");
        check("GET /livez", "get / ns= /  +");
    }

    #[test]
    fn segments_that_leave_their_place_are_refused() {
        for path in ["..", "a%2fb", "%2e%2e", "a%00b", "a%252fb", "%zz", ""] {
            let line = format!("GET /api/v1/namespaces/{path}/pods/x");
            assert!(read(&line).is_err(), "{path}");
        }
    }
}
