//! From a request's path to the code that answers it.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::{Method, StatusCode};
use master_api::status::{ApiError, Subject};
use master_registry::custom::Custom;
use master_registry::{Resource, Subresource};

use crate::call::{Call, Response};
use crate::rest::change::Rules;
use crate::rest::{self, Target};
use crate::route::{Asked, Route};
use crate::server::Server;
use crate::table::Include;
use crate::{components, content, discovery, health, respond, subresource};

/// Paths that anybody may ask.
const PUBLIC: [&str; 4] = ["livez", "readyz", "healthz", "version"];

/// Whether a path tells nothing but health and version.
pub fn is_public(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or("");
    PUBLIC.contains(&first)
}

/// Answers a request that all filters let through.
pub fn handle<'a>(
    server: &'a Arc<Server>,
    call: &'a mut Call,
) -> BoxFuture<'a, Result<Response, ApiError>> {
    Box::pin(route(server, call))
}

async fn route(server: &Arc<Server>, call: &mut Call) -> Result<Response, ApiError> {
    if !call.info.is_resource {
        return other(server, call).await;
    }
    let resource = find(server, call).await?;
    fits(&resource, call)?;
    let name = &*call.info.subresource;
    if !name.is_empty() && !resource.subresources.iter().any(|it| it.name() == name) {
        let is_custom = resource.custom.is_some();
        let unknown = || ApiError::not_found(&resource.group, &resource.plural, &call.info.name);
        return Err(if is_custom { unknown() } else { ApiError::NoSuchPath });
    }
    if call.method == Method::HEAD {
        return Err(ApiError::NoSuchMethod);
    }
    rest::options::check(call)?;
    if resource.group.is_empty() && resource.plural == "endpoints" {
        let text = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
        call.warnings.push(text.to_owned());
    }
    if let Some(custom) = &resource.custom {
        of_custom_kind(&resource, custom, call)?;
    }
    if resource.group.is_empty() && resource.plural == "componentstatuses" {
        return components::run(server, call, &resource).await;
    }
    if !resource.is_stored() {
        content::negotiate_plain(&call.headers, &call.query)?;
        return subresource::review::run(server, call, &resource).await;
    }
    let target = Target::of(&resource, call);
    if !call.info.subresource.is_empty() {
        return below(server, call, &target).await;
    }
    // Before anything is done: a client that cannot read the answer must not have written.
    let output = content::negotiate(&call.headers, &call.query)?;
    Include::wanted(output.form, &call.query)?;
    let verb = &*call.info.verb;
    if !matches!(verb, "watch" | "deletecollection") {
        rest::fits_form(output.form, &resource, verb == "list")?;
    }
    match verb {
        "get" => rest::get::run(server, call, &target).await,
        "list" => rest::list::run(server, call, &target).await,
        "watch" => {
            let events = rest::watch::run(server, call, &target).await?;
            subresource::event_socket::join(server, call, events)
        }
        "create" if target.name.is_empty() => rest::create::run(server, call, &target).await,
        // Upstream reads no name from the path here.
        "create" if resource.custom.is_some() => {
            rest::create::run(server, call, &target.named("")).await
        }
        "update" | "patch" if target.name.is_empty() && resource.custom.is_some() => {
            Err(ApiError::bad_request("name must be provided"))
        }
        "update" if !target.name.is_empty() => {
            rest::update::run(server, call, &target, Rules::Whole).await
        }
        "patch" if !target.name.is_empty() => {
            rest::patch::run(server, call, &target, Rules::Whole).await
        }
        "delete" => rest::delete::run(server, call, &target).await,
        "deletecollection" if resource.verbs.iter().any(|verb| verb == "deletecollection") => {
            rest::deletecollection::run(server, call, &target).await
        }
        _ => Err(ApiError::NoSuchMethod),
    }
}

/// The resource of a path. What was defined a moment ago through another master is known here, too.
async fn find(server: &Arc<Server>, call: &Call) -> Result<Arc<Resource>, ApiError> {
    let info = &call.info;
    let look = || server.served().catalog.find(&info.group, &info.version, &info.resource).cloned();
    if let Some(resource) = look() {
        return Ok(resource);
    }
    server.catch_up().await?;
    look().ok_or_else(|| discovery::missing(&server.served().catalog, &info.group))
}

/// What holds of requests for kinds that users define.
fn of_custom_kind(resource: &Resource, custom: &Custom, call: &mut Call) -> Result<(), ApiError> {
    if custom.is_terminating && call.info.verb == "create" {
        return Err(no_method(resource, call));
    }
    call.warnings.extend(custom.kind.warning.clone());
    Ok(())
}

/// A namespaced kind is asked for within a namespace, except to list and watch all; a cluster-scoped
/// one never is (CVE-2019-11247).
fn fits(resource: &Resource, call: &Call) -> Result<(), ApiError> {
    let info = &call.info;
    let is_namespace = resource.group.is_empty() && resource.plural == "namespaces";
    if !resource.namespaced {
        let own = is_namespace && info.namespace == info.name;
        return if info.namespace.is_empty() || own { Ok(()) } else { Err(ApiError::NoSuchPath) };
    }
    if !info.namespace.is_empty() || !resource.is_stored() {
        return Ok(());
    }
    match &*info.verb {
        "list" | "watch" => Ok(()),
        "create" | "deletecollection" => Err(ApiError::NoSuchMethod),
        _ => Err(ApiError::NoSuchPath),
    }
}

fn no_method(resource: &Resource, call: &Call) -> ApiError {
    let subject = Subject::new(&*resource.group, &*resource.plural);
    ApiError::MethodNotAllowed { subject, action: call.info.verb.clone() }
}

/// A path below an object.
async fn below(
    server: &Arc<Server>,
    call: &mut Call,
    target: &Target,
) -> Result<Response, ApiError> {
    let name = call.info.subresource.clone();
    let found = target.resource.subresources.iter().copied().find(|sub| sub.name() == name);
    let found = found.ok_or(ApiError::NoSuchPath)?;
    if !call.info.rest.is_empty() && found != Subresource::Proxy {
        return Err(ApiError::NoSuchPath);
    }
    let verb = call.info.verb.clone();
    match (found, &*verb) {
        (
            Subresource::Status
            | Subresource::Approval
            | Subresource::EphemeralContainers
            | Subresource::Resize,
            "get",
        ) => rest::get::run(server, call, target).await,
        (Subresource::Status, "update") => {
            rest::update::run(server, call, target, Rules::Status).await
        }
        (Subresource::Status, "patch") => {
            rest::patch::run(server, call, target, Rules::Status).await
        }
        (Subresource::Scale, _) => subresource::scale::run(server, call, target).await,
        (Subresource::Finalize | Subresource::Approval, _) => {
            subresource::finalize::run(server, call, target, found).await
        }
        (Subresource::EphemeralContainers | Subresource::Resize, _) => {
            subresource::pod_spec::run(server, call, target, found).await
        }
        (Subresource::Binding, "create") => subresource::binding::run(server, call, target).await,
        (Subresource::Eviction, "create") => subresource::eviction::run(server, call, target).await,
        (Subresource::Token, "create") => subresource::token::run(server, call, target).await,
        (Subresource::Log, "get")
        | (Subresource::Exec | Subresource::Attach | Subresource::PortForward, "get" | "create")
        | (Subresource::Proxy, _) => subresource::connect::run(server, call, target, found).await,
        _ => Err(ApiError::NoSuchMethod),
    }
}

/// A path that is no resource.
async fn other(server: &Arc<Server>, call: &mut Call) -> Result<Response, ApiError> {
    if let Some(route) = server.route(&call.raw_path) {
        return mounted(&*route, call).await;
    }
    if !matches!(call.method.as_str(), "GET" | "HEAD") {
        return Err(ApiError::NoSuchPath);
    }
    let path = call.raw_path.trim_matches('/');
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    // Only some paths may end in a slash.
    let is_exact =
        matches!(first, "livez" | "readyz" | "healthz" | "metrics") || path == "openapi/v2";
    if is_exact && call.raw_path.ends_with('/') {
        return Err(ApiError::NoSuchPage);
    }
    match (first, rest) {
        ("livez" | "readyz" | "healthz", _) => Ok(health::run(server, call).await),
        ("version", below) if !below.is_empty() => Err(ApiError::NoSuchPath),
        ("version", _) => Ok(health::version(call)),
        ("metrics", "") => Ok(health::metrics(server)),
        _ => discovery::run(server, call, path).await,
    }
}

/// A path that whoever assembled the server answers.
async fn mounted(route: &dyn Route, call: &mut Call) -> Result<Response, ApiError> {
    let asked = Asked {
        identity: call.identity.clone(),
        method: call.method.clone(),
        path: call.raw_path.clone(),
        query: call.query.pairs().to_vec(),
        body: rest::body::read(call).await?,
    };
    let value = route.answer(asked).await?;
    Ok(respond::bytes(StatusCode::OK, value.to_string()))
}
