//! The verbs, one file each, and what they share.

pub mod apply;
pub mod body;
pub mod change;
pub mod create;
pub mod delete;
pub mod deletecollection;
pub mod get;
pub mod list;
pub mod metadata;
pub mod options;
pub mod ownership;
pub mod patch;
pub(crate) mod quota;
pub mod selection;
pub mod update;
pub mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use master_api::access::Identity;
use master_api::status::{ApiError, FieldError, Subject};
use master_auth::admission;
use master_registry::{Companion, Cx, Resource};
use serde_json::Value;
use store_handle::Revision;

use crate::cacher::entry::{Entry, encode};
use crate::cacher::{DEFINITIONS, object_key, table_name};
use crate::call::{Call, Response};
use crate::content::{self, Form};
use crate::protobuf::zero;
use crate::respond;
use crate::server::Server;
use crate::storage::store_key;
use crate::table::Include;

/// What the requests of one call are about: a resource, and where in it.
#[derive(Clone, Debug)]
pub struct Target {
    pub resource: Arc<Resource>,
    /// The resource's table in the cacher.
    pub table: String,
    pub namespace: String,
    pub name: String,
}

impl Target {
    /// The target of a call's path.
    pub fn of(resource: &Arc<Resource>, call: &Call) -> Self {
        let (group, plural) = resource.storage();
        Self {
            resource: resource.clone(),
            table: table_name(group, plural),
            namespace: if resource.namespaced {
                call.info.namespace.clone()
            } else {
                String::new()
            },
            name: call.info.name.clone(),
        }
    }

    /// The same resource and namespace, another object.
    pub fn named(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// Fills in defaults, and what this kind of Kubernetes' has always.
    pub fn complete(&self, object: &mut Value) {
        let resource = &self.resource;
        resource.strategy.default(object);
        if resource.custom.is_none() {
            zero::fill(object, &resource.api_version(), &resource.kind);
        }
    }

    /// What any object of the kind has.
    pub fn blank(&self) -> Value {
        let resource = &self.resource;
        let mut blank = serde_json::json!({});
        if resource.custom.is_none() {
            zero::fill(&mut blank, &resource.api_version(), &resource.kind);
        }
        blank
    }

    /// A status for a new object that was given none.
    pub fn begin_status(&self, object: &mut Value) {
        let resource = &self.resource;
        if resource.custom.is_none() && resource.strategy.shape().status {
            zero::fill_field(object, &resource.api_version(), &resource.kind, "status");
        }
    }

    /// The object's key in the table.
    pub fn key(&self) -> String {
        object_key(&self.namespace, &self.name)
    }

    /// The object's key in the store.
    pub fn store_key(&self) -> String {
        store_key(&self.table, &self.key())
    }

    /// A stored version in the form of this very kind, where kinds share a storage.
    pub fn shown(&self, entry: Arc<Entry>) -> Arc<Entry> {
        if self.resource.serves_as_stored(entry.revision) {
            return entry;
        }
        let mut object = (*entry.value_once()).clone();
        self.resource.strategy.served_form(&mut object);
        Arc::new(Entry::from_stored(entry.key.clone(), &encode(&object), entry.revision))
    }

    /// The stored form of an object of this kind.
    pub fn stored(&self, object: &Value) -> Bytes {
        if self.resource.stores_as_served() {
            return encode(object);
        }
        let mut object = object.clone();
        self.resource.strategy.storage_form(&mut object);
        encode(&object)
    }

    /// What a client is shown of an object that was stored at `revision`.
    pub fn written(&self, object: &Value, stored: &Bytes, revision: Revision) -> Arc<Entry> {
        let key = self.key().into();
        if self.resource.stores_as_served() {
            return Arc::new(Entry::from_stored(key, stored, revision));
        }
        Arc::new(Entry::from_stored(key, &encode(object), revision))
    }

    /// There is no such object.
    pub fn not_found(&self) -> ApiError {
        ApiError::not_found(&self.resource.group, &self.resource.plural, &self.name)
    }

    /// What is wrong with the object. A kind that is stored as another one is called by the group of that.
    pub fn invalid(&self, errors: Vec<FieldError>) -> ApiError {
        let (group, _) = self.resource.storage();
        ApiError::invalid(group, &self.resource.kind, &self.name, errors)
    }

    /// There is one already.
    pub fn already_exists(&self) -> ApiError {
        ApiError::already_exists(&self.resource.group, &self.resource.plural, &self.name)
    }

    /// Somebody else changed it meanwhile.
    pub fn modified(&self) -> ApiError {
        ApiError::modified(&self.resource.group, &self.resource.plural, &self.name)
    }

    /// A conflict with a text of its own.
    pub fn conflict(&self, message: impl Into<String>) -> ApiError {
        ApiError::conflict(&self.resource.group, &self.resource.plural, &self.name, message)
    }
}

impl Server {
    /// The time, as objects record it.
    pub(crate) fn now(&self) -> Timestamp {
        let ms = i64::try_from(self.clock.unix_ms()).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// What a strategy's hooks may know.
    pub(crate) fn cx<'a>(&'a self, identity: &'a Identity, attempt: u32) -> Cx<'a> {
        Cx {
            identity,
            now: self.now(),
            reader: &*self.cacher,
            config: &self.cluster,
            attempt,
            draw: store_env::rng::draw,
        }
    }

    /// Waits until this master has applied all that was acknowledged before the call.
    pub(crate) async fn catch_up(&self) -> Result<(), ApiError> {
        let revision = self.storage.read_index().await?;
        self.reach(revision).await
    }

    async fn reach(&self, revision: i64) -> Result<(), ApiError> {
        if self.cacher.wait_for(revision, CATCH_UP_MAX).await {
            return Ok(());
        }
        Err(ApiError::Unavailable("this master has not caught up in time".into()))
    }

    /// What a write of a custom object depends on: that its definition is still what the object was
    /// checked against, on whichever master that is changed.
    pub(crate) fn guard(
        &self,
        target: &Target,
        creates: bool,
    ) -> Result<Option<Companion>, ApiError> {
        let resource = &target.resource;
        let Some(custom) = &resource.custom else { return Ok(None) };
        let served = self.served();
        let found = served.catalog.find(&resource.group, &resource.version, &resource.plural);
        let current = found.and_then(|resource| resource.custom.as_ref());
        let Some(current) = current.filter(|current| current.is_same_kind(custom)) else {
            let name = &custom.kind.definition_name;
            return Err(ApiError::Unavailable(format!(
                "the definition {name} has just changed: send the request again"
            )));
        };
        if creates && current.is_terminating {
            let subject = Subject::new(&*resource.group, &*resource.plural);
            return Err(ApiError::MethodNotAllowed { subject, action: "create".to_owned() });
        }
        let key = store_key(DEFINITIONS, &custom.kind.definition_name);
        Ok(Some(Companion::Guard { key, revision: current.revision }))
    }

    /// What a create depends on: that its namespace is still the one that takes it in, on whichever master that
    /// is told to go.
    pub(crate) fn home(
        &self,
        target: &Target,
        request: &admission::Request<'_>,
    ) -> Result<Option<Companion>, ApiError> {
        let table = table_name("", "namespaces");
        let found = self.cacher.entry(&table, &object_key("", &target.namespace));
        // Looked at after its revision is known: if it has changed since, the write is refused.
        admission::takes_in(request)?;
        Ok(found.filter(|_| !target.namespace.is_empty()).map(|namespace| Companion::Guard {
            key: store_key(&table, &object_key("", &target.namespace)),
            revision: namespace.revision,
        }))
    }

    /// The newest acknowledged version of an object.
    pub(crate) async fn fresh(&self, target: &Target) -> Result<Option<Arc<Entry>>, ApiError> {
        self.catch_up().await?;
        Ok(self.cacher.entry(&target.table, &target.key()))
    }
}

/// How long a read waits for this master.
const CATCH_UP_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// A response with one object, in the form that the client asked for.
pub fn answer(
    server: &Server,
    call: &Call,
    code: StatusCode,
    resource: &Resource,
    entry: &Entry,
) -> Result<Response, ApiError> {
    let output = content::negotiate(&call.headers, &call.query)?;
    let include = Include::wanted(output.form, &call.query)?;
    Ok(respond::object(code, output, resource, include, entry, server.now()))
}

/// Lets admission judge what is made below an object: a binding, an eviction, a token. A refusal counts only once this
/// master knows all that was acknowledged; what says another namespace than the path is refused before.
pub(crate) async fn admit_below(
    server: &Server,
    call: &mut Call,
    target: &Target,
    subresource: &str,
    sent: &Value,
) -> Result<(), ApiError> {
    metadata::same_namespace(sent, target)?;
    let judge = |call: &Call| {
        let operation = admission::Operation::Create;
        let request = server.admission_request(call, target, operation, subresource, None);
        admission::takes_in(&request)?;
        server.admission.validate(&request, sent)
    };
    let warnings = match judge(call) {
        Ok(warnings) => warnings,
        Err(_) => {
            server.catch_up().await?;
            judge(call)?
        }
    };
    call.warnings.extend(warnings);
    Ok(())
}

/// A list has a form of its own for its metadata, and so has one object.
pub fn fits_form(form: Form, resource: &Resource, is_list: bool) -> Result<(), ApiError> {
    let (asked, is_not) = match (form, is_list) {
        (Form::PartialMetadataList, false) => ("PartialObjectMetadataList", "is not a list"),
        (Form::PartialMetadata, true) => ("PartialObjectMetadata", "is a list"),
        _ => return Ok(()),
    };
    // As Go calls upstream's types.
    let kind = if is_list { resource.list_kind() } else { resource.kind.to_string() };
    let of = match (resource.custom.is_some(), resource.group.split('.').next()) {
        (true, _) if is_list => "unstructured.UnstructuredList".to_owned(),
        (true, _) => "unstructured.Unstructured".to_owned(),
        (false, Some("" | "events") | None) => format!("core.{kind}"),
        (false, Some(group)) => format!("{group}.{kind}"),
    };
    Err(ApiError::NoSuchForm(format!(
        "you requested {asked}, but the requested object {is_not} (*{of})"
    )))
}

/// A response with a value that is no stored object.
pub fn answer_value(call: &Call, code: StatusCode, value: &Value) -> Result<Response, ApiError> {
    let output = content::negotiate(&call.headers, &call.query)?;
    Ok(respond::value(code, output, value))
}
