//! `componentstatuses`: whether the store, the scheduler and the controllers are well, as this master knows it now.
//!
//! Upstream asks each at an address of its own. Here scheduler and controllers are tasks of the leading master, which
//! ends with any of them: they are well wherever somebody leads whom a quorum hears.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use master_api::meta;
use master_api::selector::{FieldSelector, LabelSelector};
use master_api::status::{ApiError, Subject};
use master_registry::Resource;
use serde_json::{Value, json};

use crate::call::{Call, Response};
use crate::content::{self, Form, Output};
use crate::rest::{Target, fits_form, selection};
use crate::server::Server;
use crate::table::{self, Include};
use crate::{health, respond};

/// Answers get and list; there is nothing else to ask.
pub async fn run(
    server: &Server,
    call: &mut Call,
    resource: &Arc<Resource>,
) -> Result<Response, ApiError> {
    let verb = call.info.verb.clone();
    if matches!(&*verb, "get" | "list" | "watch") {
        call.warnings.push("v1 ComponentStatus is deprecated in v1.19+".to_owned());
    }
    match &*verb {
        "get" => one(server, call, resource).await,
        "list" => list(server, call, resource).await,
        "watch" => {
            let subject = Subject::new("", &*resource.plural);
            Err(ApiError::MethodNotAllowed { subject, action: verb })
        }
        _ => Err(ApiError::NoSuchMethod),
    }
}

async fn one(server: &Server, call: &Call, resource: &Resource) -> Result<Response, ApiError> {
    let output = content::negotiate(&call.headers, &call.query)?;
    fits_form(output.form, resource, false)?;
    let include = Include::wanted(output.form, &call.query)?;
    let found = looked_at(server).await.into_iter().find(|it| meta::name(it) == call.info.name);
    let found = found.ok_or_else(|| ApiError::not_found("", "componentstatus", &call.info.name))?;
    let shown = match output.form {
        Form::Table => table::table(resource, [&found], json!({}), include, server.now(), true),
        Form::PartialMetadata | Form::PartialMetadataList => table::partial(&found),
        Form::Object | Form::AggregatedDiscovery => typed(&found, resource),
    };
    Ok(respond::value(StatusCode::OK, output, &shown))
}

async fn list(
    server: &Server,
    call: &Call,
    resource: &Arc<Resource>,
) -> Result<Response, ApiError> {
    let output = content::negotiate(&call.headers, &call.query)?;
    fits_form(output.form, resource, true)?;
    let include = Include::wanted(output.form, &call.query)?;
    let is_selected = selected(call, resource)?;
    let mut items = looked_at(server).await;
    items.retain(is_selected);
    Ok(respond::value(StatusCode::OK, output, &listed(server, resource, output, include, &items)))
}

fn listed(
    server: &Server,
    resource: &Resource,
    output: Output,
    include: Include,
    items: &[Value],
) -> Value {
    let (kind, api_version, items): (_, _, Vec<Value>) = match output.form {
        Form::Table => {
            return table::table(resource, items, json!({}), include, server.now(), true);
        }
        Form::PartialMetadata | Form::PartialMetadataList => (
            "PartialObjectMetadataList".to_owned(),
            "meta.k8s.io/v1",
            items.iter().map(table::partial).collect(),
        ),
        Form::Object | Form::AggregatedDiscovery => (resource.list_kind(), "v1", items.to_vec()),
    };
    json!({ "kind": kind, "apiVersion": api_version, "metadata": {}, "items": items })
}

/// The selectors of a call, of which only those by name can match.
fn selected(
    call: &Call,
    resource: &Arc<Resource>,
) -> Result<impl Fn(&Value) -> bool + use<>, ApiError> {
    selection::of(call, &Target::of(resource, call))?;
    let text = |parameter: &str| call.query.get(parameter).unwrap_or_default().to_owned();
    let labels = LabelSelector::parse(&text("labelSelector")).map_err(ApiError::BadRequest)?;
    let fields = FieldSelector::parse(&text("fieldSelector")).map_err(ApiError::BadRequest)?;
    Ok(move |component: &Value| {
        let name = ("metadata.name".to_owned(), meta::name(component).to_owned());
        labels.matches_object(component) && fields.matches(&BTreeMap::from([name]))
    })
}

fn typed(component: &Value, resource: &Resource) -> Value {
    let mut typed = json!({ "kind": resource.kind, "apiVersion": resource.api_version() });
    for (field, value) in component.as_object().into_iter().flatten() {
        typed[field] = value.clone();
    }
    typed
}

/// Every component, in upstream's order.
async fn looked_at(server: &Server) -> Vec<Value> {
    let store = health::store(server).await;
    let leader = server.handle.leadership().borrow().leader;
    let led = match (&store, leader) {
        (Ok(()), Some(_)) => Ok(()),
        (Ok(()), None) => Err("no master leads at the moment".to_owned()),
        (Err(problem), _) => Err(format!("runs on the leading master only: {problem}")),
    };
    vec![
        component("scheduler", &led),
        component("controller-manager", &led),
        component("etcd-0", &store),
    ]
}

fn component(name: &str, outcome: &Result<(), String>) -> Value {
    let (status, message) = match outcome {
        Ok(()) => ("True", "ok"),
        Err(problem) => ("False", problem.as_str()),
    };
    let condition = json!({ "type": "Healthy", "status": status, "message": message });
    json!({ "metadata": { "name": name }, "conditions": [condition] })
}
