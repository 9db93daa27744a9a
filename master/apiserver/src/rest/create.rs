//! Create: decoded, defaulted, admitted, validated, stored with its companions in one transaction.
//!
//! # Path
//! `handler.rs` → here → `storage::Storage::write`

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use master_api::meta;
use master_api::status::{ApiError, Subject};
use master_auth::admission::{self, Operation};
use serde_json::Value;

use super::ownership::Ownership;
use super::quota::{self, Turn};
use super::{Target, answer, body, metadata, ownership};
use crate::cacher::entry::{Entry, UNSTORED, encode};
use crate::call::{Call, Response};
use crate::server::Server;
use crate::storage::{Outcome, Write};

/// How many names are tried for a `generateName`.
const NAMES_MAX: usize = 8;
/// How many times a lost claim (an IP address, a port) is replaced by another.
pub const CLAIMS_MAX: u32 = 64;
/// How long a pod waits for the default service account of a new namespace.
const ACCOUNT_WAIT_MAX: Duration = Duration::from_secs(1);
const ACCOUNT_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Answers with the new object.
pub async fn run(server: &Server, call: &mut Call, target: &Target) -> Result<Response, ApiError> {
    let mut object = body::object(call, &target.resource).await?;
    metadata::place(&mut object, target)?;
    let entry = create(server, call, target, object, Ownership::Changed).await?;
    answer(server, call, StatusCode::CREATED, &target.resource, &entry)
}

/// Creates an object that has been decoded and placed.
pub async fn create(
    server: &Server,
    call: &mut Call,
    target: &Target,
    object: Value,
    noted: Ownership,
) -> Result<Arc<Entry>, ApiError> {
    // What is no version at all, upstream passes over.
    if meta::resource_version(&object).parse::<u64>().is_ok_and(|version| version > 0) {
        let text = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::Untyped(text.to_owned()));
    }
    let base = meta::generate_name(&object).to_owned();
    if !meta::name(&object).is_empty() || base.is_empty() {
        let name = meta::name(&object).to_owned();
        return once(server, call, &target.named(&name), object, noted).await;
    }
    let mut name = String::new();
    for _ in 0..NAMES_MAX {
        name = metadata::generate_name(&base);
        let mut object = object.clone();
        meta::set(&mut object, "name", name.as_str());
        match once(server, call, &target.named(&name), object, noted).await {
            Err(ApiError::AlreadyExists { .. }) => {}
            outcome => return outcome,
        }
    }
    let subject = Subject::new(&*target.resource.group, &*target.resource.plural);
    Err(ApiError::GenerateName { subject, name })
}

async fn once(
    server: &Server,
    call: &mut Call,
    target: &Target,
    mut object: Value,
    noted: Ownership,
) -> Result<Arc<Entry>, ApiError> {
    let resource = &target.resource;
    let sent = ownership::take(&mut object);
    target.complete(&mut object);
    let owners = match noted {
        Ownership::Changed => {
            let manager = ownership::manager(server, call, target, "");
            ownership::created(target, &manager, sent, &object)
        }
        Ownership::Noted | Ownership::Kept => sent,
    };
    ownership::put(&mut object, owners);
    metadata::begin_life(&mut object, server.now());
    resource.strategy.prepare_create(&mut object, &server.cx(&call.identity, 0));
    target.begin_status(&mut object);
    let object = admit(server, call, target, object).await?;
    let errors = resource.validate(&object, None);
    if !errors.is_empty() {
        return Err(target.invalid(errors));
    }
    call.warnings.extend(resource.strategy.warnings(&object, None));
    let request = server.admission_request(call, target, Operation::Create, "", None);
    let warnings = match server.admission.validate(&request, &object) {
        Ok(warnings) => warnings,
        // Judged from memory: what is refused may have become allowed a moment ago.
        Err(_) => {
            server.catch_up().await?;
            server.admission.validate(&request, &object)?
        }
    };
    call.warnings.extend(warnings);
    if call.is_dry_run() {
        return dry_run(server, call, target, object).await;
    }
    store(server, call, target, &object).await
}

/// Runs the mutating plugins. A refusal counts only once this master knows all that was acknowledged (a
/// namespace made a moment ago, through another master); and a pod may come before its namespace's default
/// account: it waits a moment.
async fn admit(
    server: &Server,
    call: &Call,
    target: &Target,
    object: Value,
) -> Result<Value, ApiError> {
    let request = server.admission_request(call, target, Operation::Create, "", None);
    let began_ms = server.clock.monotonic_ms();
    let mut is_fresh = false;
    loop {
        let mut tried = object.clone();
        let Err(error) = server.admission.mutate(&request, &mut tried) else { return Ok(tried) };
        if !is_fresh {
            server.catch_up().await?;
            is_fresh = true;
            continue;
        }
        let waited_ms = server.clock.monotonic_ms().saturating_sub(began_ms);
        let waits = admission::waits_for_default_account(&error);
        if !waits || u128::from(waited_ms) > ACCOUNT_WAIT_MAX.as_millis() {
            return Err(error);
        }
        tokio::time::sleep(ACCOUNT_LOOK_EVERY).await;
    }
}

async fn store(
    server: &Server,
    call: &Call,
    target: &Target,
    object: &Value,
) -> Result<Arc<Entry>, ApiError> {
    let resource = &target.resource;
    let key = target.store_key();
    let request = server.admission_request(call, target, Operation::Create, "", None);
    let turn = Turn::of(server, &request, object).await;
    for attempt in 0..CLAIMS_MAX {
        let mut object = object.clone();
        let cx = server.cx(&call.identity, attempt);
        let companions = resource.strategy.companions(Some(&mut object), None, &cx);
        let companions = match companions {
            Ok(companions) => companions,
            // An address may have become free a moment ago.
            Err(_) if attempt == 0 => {
                server.catch_up().await?;
                continue;
            }
            Err(errors) => {
                let (group, kind) = (&resource.group, &resource.kind);
                return Err(ApiError::invalid(group, kind, &target.name, errors));
            }
        };
        let home = match server.home(target, &request) {
            Err(_) if attempt == 0 => {
                server.catch_up().await?;
                continue;
            }
            home => home?,
        };
        let guards = server.guard(target, true)?.into_iter().chain(home);
        let companions: Vec<_> = companions.into_iter().chain(guards).collect();
        let charged = match quota::charge(server, &request, &object) {
            Err(_) if attempt == 0 => {
                server.catch_up().await?;
                continue;
            }
            charged => charged?,
        };
        let value = target.stored(&object);
        let write = Write {
            key: &key,
            expected: 0,
            value: Some(&value),
            ttl_s: resource.strategy.ttl_s(&object),
            companions: &companions,
            charged: charged.as_ref(),
            fence: call.fence,
        };
        match server.storage.write(&write).await? {
            Outcome::Done(revision) => {
                turn.end(server, revision).await;
                return Ok(target.written(&object, &value, revision));
            }
            Outcome::Changed(_) => return Err(target.already_exists()),
            // What was free in memory is taken in the store: look again once that is known here.
            Outcome::ClaimTaken => server.catch_up().await?,
        }
    }
    Err(ApiError::Internal(format!("no free claim for {key} after {CLAIMS_MAX} attempts")))
}

/// What would have been stored. Addresses and ports are chosen as they would have been, and not taken.
async fn dry_run(
    server: &Server,
    call: &Call,
    target: &Target,
    mut object: Value,
) -> Result<Arc<Entry>, ApiError> {
    if server.fresh(target).await?.is_some() {
        return Err(target.already_exists());
    }
    let resource = &target.resource;
    let cx = server.cx(&call.identity, 0);
    resource
        .strategy
        .companions(Some(&mut object), None, &cx)
        .map_err(|errors| target.invalid(errors))?;
    Ok(Arc::new(Entry::from_stored(target.key().into(), &encode(&object), UNSTORED)))
}

impl Server {
    /// What admission plugins are told of a write.
    pub(crate) fn admission_request<'a>(
        &'a self,
        call: &'a Call,
        target: &'a Target,
        operation: Operation,
        subresource: &'a str,
        old: Option<&'a Value>,
    ) -> admission::Request<'a> {
        admission::Request {
            operation,
            group: &target.resource.group,
            resource: &target.resource.plural,
            subresource,
            kind: &target.resource.kind,
            namespace: &target.namespace,
            name: &target.name,
            old,
            identity: &call.identity,
            reader: &*self.cacher,
            dry_run: call.is_dry_run(),
        }
    }
}
