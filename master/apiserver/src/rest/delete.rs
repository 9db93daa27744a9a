//! Delete: at once, after a grace period, or once finalizers let go.

use std::sync::Arc;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use master_api::meta;
use master_api::status::{self, ApiError, FieldError};
use master_auth::admission::Operation;
use master_registry::Resource;
use master_registry::schema::{self, FieldValidation, MediaType, Schema};
use serde_json::Value;

use super::metadata::{FOREGROUND, ORPHAN, is_held, mark_deleted};
use super::options::dry_run_problem;
use super::{Target, answer, answer_value, body};
use crate::cacher::entry::{Entry, encode};
use crate::call::{Call, Response};
use crate::protobuf;
use crate::query::Query;
use crate::server::Server;
use crate::storage::{Outcome, Write};

const RACES_MAX: u32 = 64;

/// What becomes of an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// What a client demands of a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    pub grace_s: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub propagation: Option<Propagation>,
    pub dry_run: bool,
    /// Whether the client asked in the old words that dependents go, too.
    pub is_cascading: bool,
}

/// What became of the object.
#[derive(Debug)]
pub enum Deleted {
    /// It is gone; this is what it was.
    Gone(Arc<Entry>),
    /// It goes on for a while.
    Pending(Arc<Entry>),
}

/// What is to be done with an object.
#[derive(Debug, PartialEq)]
enum Plan {
    Remove,
    Mark(Value),
    /// It is being deleted already, and nothing about that changes.
    Nothing,
}

/// Kinds whose deletion answers with the object rather than with a Status, as upstream does.
fn is_answered_with_object(resource: &Resource) -> bool {
    match &*resource.group {
        "" => matches!(
            &*resource.plural,
            "pods"
                | "services"
                | "serviceaccounts"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "podtemplates"
                | "resourcequotas"
        ),
        "networking.k8s.io" => resource.plural == "servicecidrs",
        "storage.k8s.io" => resource.plural != "csistoragecapacities",
        "resource.k8s.io" => true,
        _ => false,
    }
}

/// Answers with a Status, or with the object that is still there.
pub async fn run(server: &Server, call: &mut Call, target: &Target) -> Result<Response, ApiError> {
    let options = options(call).await?;
    let deleted = delete(server, call, target, &options).await?.said(&mut call.warnings);
    let resource = &target.resource;
    match deleted {
        Deleted::Gone(entry) => {
            let entry = target.shown(entry);
            if is_answered_with_object(resource) {
                return answer(server, call, StatusCode::OK, resource, &entry);
            }
            let uid = meta::uid(entry.value()).to_owned();
            let status = status::success(&resource.group, &resource.plural, &target.name, &uid);
            answer_value(call, StatusCode::OK, &status)
        }
        Deleted::Pending(entry) => {
            let entry = target.shown(entry);
            // As upstream: only who says so in the old words is told that it has but begun.
            let code = if options.is_cascading { StatusCode::ACCEPTED } else { StatusCode::OK };
            answer(server, call, code, resource, &entry)
        }
    }
}

/// The options: those of the body, or without one those of the query. A trial may always be asked for in the query.
pub async fn options(call: &mut Call) -> Result<DeleteOptions, ApiError> {
    let bytes = body::read(call).await?;
    let asked: Vec<_> = call.query.all("dryRun").collect();
    let mut options = DeleteOptions { dry_run: dry_run(&asked)?, ..DeleteOptions::default() };
    if bytes.is_empty() {
        from_query(&mut options, &call.query)?;
    } else {
        let mut sent = if body::media_type(call) == protobuf::MEDIA_TYPE {
            protobuf::decode(&bytes)?
        } else {
            schema::parse_object(&bytes, MediaType::parse(call.header(CONTENT_TYPE))?)?
        };
        let (api_version, kind) = (meta::api_version(&sent), meta::kind(&sent));
        if !matches!(kind, "" | "DeleteOptions") {
            return Err(ApiError::BadRequest(body::unregistered(api_version, kind)));
        }
        let schema = Schema::builtin("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
        schema::check(&mut sent, &schema, FieldValidation::Ignore).map_err(untyped)?;
        from_body(&mut options, &sent)?;
    }
    Ok(options)
}

/// Upstream: a negative period means one second.
fn grace(asked_s: i64) -> i64 {
    if asked_s < 0 { 1 } else { asked_s }
}

/// Upstream does not say here which kind it is that the text does not fit.
fn untyped(error: ApiError) -> ApiError {
    let text = error.to_string();
    let problem = text.split_once(": ").map_or(&*text, |(_, problem)| problem);
    ApiError::BadRequest(problem.to_owned())
}

fn from_query(options: &mut DeleteOptions, query: &Query) -> Result<(), ApiError> {
    let propagation = query.all("propagationPolicy").next().map(propagation).transpose()?;
    let orphan = query.get("orphanDependents").is_some().then(|| query.flag("orphanDependents"));
    one_of(query.get("propagationPolicy"), orphan)?;
    options.grace_s = query.parsed("gracePeriodSeconds")?.map(grace);
    options.propagation = propagation.or(orphan.map(orphaned));
    options.is_cascading = orphan == Some(false);
    options.uid = query.get("uid").map(str::to_owned);
    options.resource_version = query.get("resourceVersion").map(str::to_owned);
    Ok(())
}

/// Adds what a DeleteOptions object says.
pub fn from_body(options: &mut DeleteOptions, sent: &Value) -> Result<(), ApiError> {
    let text = |path: &[&str]| Some(meta::text(sent, path).to_owned()).filter(|t| !t.is_empty());
    options.grace_s = meta::number(sent, &["gracePeriodSeconds"]).map(grace);
    options.uid = text(&["preconditions", "uid"]);
    options.resource_version = text(&["preconditions", "resourceVersion"]);
    let policy = text(&["propagationPolicy"]);
    one_of(policy.as_deref(), sent["orphanDependents"].as_bool())?;
    let chosen = policy.as_deref().map(propagation).transpose()?;
    let orphan = sent["orphanDependents"].as_bool();
    options.propagation = chosen.or(orphan.map(orphaned));
    options.is_cascading = orphan == Some(false);
    let asked = meta::items(sent, &["dryRun"]).iter().filter_map(Value::as_str);
    options.dry_run |= dry_run(&asked.collect::<Vec<_>>())?;
    Ok(())
}

fn dry_run(asked: &[&str]) -> Result<bool, ApiError> {
    match dry_run_problem(asked) {
        None => Ok(!asked.is_empty()),
        Some(error) => Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", vec![error])),
    }
}

/// The same is not said in the old words and in the new ones.
fn one_of(policy: Option<&str>, orphans: Option<bool>) -> Result<(), ApiError> {
    let (Some(policy), Some(_)) = (policy, orphans) else { return Ok(()) };
    let detail = "orphanDependents and deletionPropagation cannot be both set";
    let error = FieldError::invalid("propagationPolicy", policy, detail);
    Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", vec![error]))
}

fn orphaned(orphans: bool) -> Propagation {
    if orphans { Propagation::Orphan } else { Propagation::Background }
}

fn propagation(text: &str) -> Result<Propagation, ApiError> {
    match text {
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        "Orphan" => Ok(Propagation::Orphan),
        other => {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            let error = FieldError::not_supported("propagationPolicy", other, &supported);
            Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", vec![error]))
        }
    }
}

/// What came of a deletion, and what admission warns of.
#[derive(Debug)]
pub struct Outspoken {
    deleted: Deleted,
    warnings: Vec<String>,
}

impl Outspoken {
    /// Adds the warnings to those of the call.
    pub fn said(self, warnings: &mut Vec<String>) -> Deleted {
        warnings.extend(self.warnings);
        self.deleted
    }
}

/// Deletes one object.
pub async fn delete(
    server: &Server,
    call: &Call,
    target: &Target,
    options: &DeleteOptions,
) -> Result<Outspoken, ApiError> {
    let mut warnings = Vec::new();
    let deleted = attempts(server, call, target, options, &mut warnings).await?;
    Ok(Outspoken { deleted, warnings })
}

async fn attempts(
    server: &Server,
    call: &Call,
    target: &Target,
    options: &DeleteOptions,
    warnings: &mut Vec<String>,
) -> Result<Deleted, ApiError> {
    // What is only tried is never held against the store.
    let mut is_fresh = options.dry_run;
    let mut current = if is_fresh {
        server.fresh(target).await?
    } else {
        server.cacher.entry(&target.table, &target.key())
    };
    for _ in 0..RACES_MAX {
        let plan = match &current {
            Some(entry) => admitted_plan(server, call, target, entry, options, warnings),
            None => Err(target.not_found()),
        };
        let plan = match plan {
            Ok(Plan::Nothing) | Err(_) if !is_fresh => {
                current = server.fresh(target).await?;
                is_fresh = true;
                continue;
            }
            plan => plan?,
        };
        let old = current.as_ref().expect("planned from it");
        let (outcome, shown) = match &plan {
            Plan::Nothing => return Ok(Deleted::Pending(old.clone())),
            Plan::Remove if options.dry_run => {
                let entry = Entry::from_stored(
                    old.key.clone(),
                    &encode(&last_seen(server, target, old)),
                    old.revision,
                );
                return Ok(Deleted::Gone(Arc::new(entry)));
            }
            Plan::Mark(new) if options.dry_run => {
                let entry = Entry::from_stored(old.key.clone(), &encode(new), old.revision);
                return Ok(Deleted::Pending(Arc::new(entry)));
            }
            Plan::Remove => {
                let shown = Arc::new(last_seen(server, target, old));
                (write(server, call, target, old, None).await?, shown)
            }
            Plan::Mark(new) => {
                let value = encode(new);
                (write(server, call, target, old, Some(&value)).await?, Arc::new(new.clone()))
            }
        };
        match outcome {
            Outcome::Done(revision) => {
                let entry = Entry::from_stored(old.key.clone(), &encode(&shown), revision);
                let entry = Arc::new(entry);
                let is_gone = plan == Plan::Remove;
                return Ok(if is_gone { Deleted::Gone(entry) } else { Deleted::Pending(entry) });
            }
            Outcome::Changed(newest) => {
                current = newest.map(|kv| Arc::new(Entry::new(old.key.clone(), &kv)));
                is_fresh = true;
            }
            Outcome::ClaimTaken => unreachable!("a deletion claims nothing"),
        }
    }
    Err(target.modified())
}

/// An object that goes at once, as the reply shows it: of a kind that may take its time, its end is written on it.
fn last_seen(server: &Server, target: &Target, old: &Entry) -> Value {
    let mut shown = (*old.value_once()).clone();
    if target.resource.strategy.graceful_delete_seconds(&shown).is_some() {
        mark_deleted(&mut shown, 0, server.now());
    }
    shown
}

async fn write(
    server: &Server,
    call: &Call,
    target: &Target,
    old: &Entry,
    value: Option<&bytes::Bytes>,
) -> Result<Outcome, ApiError> {
    let cx = server.cx(&call.identity, 0);
    let companions = if value.is_some() {
        Vec::new()
    } else {
        let strategy = &target.resource.strategy;
        strategy.companions(None, Some(old.value()), &cx).unwrap_or_default()
    };
    let key = target.store_key();
    let write = Write {
        key: &key,
        expected: old.revision,
        value,
        ttl_s: None,
        companions: &companions,
        charged: None,
        fence: call.fence,
    };
    server.storage.write(&write).await
}

fn admitted_plan(
    server: &Server,
    call: &Call,
    target: &Target,
    entry: &Entry,
    options: &DeleteOptions,
    warnings: &mut Vec<String>,
) -> Result<Plan, ApiError> {
    let old = entry.value();
    let request = server.admission_request(call, target, Operation::Delete, "", Some(old));
    warnings.extend(server.admission.admit(&request, &mut Value::Null)?);
    preconditions(target, old, options)?;
    let default_grace_s = target.resource.strategy.graceful_delete_seconds(old);
    let orphans = orphans_by_default(target);
    let begun = (!meta::is_terminating(old))
        .then(|| target.resource.strategy.begin_deletion(old, server.now()))
        .flatten();
    let Some(begun) = begun else {
        let is_event = target.resource.kind == "Event" && target.resource.custom.is_none();
        let alone = DeleteOptions { propagation: None, ..options.clone() };
        // Nothing depends on an event.
        let options = if is_event { &alone } else { options };
        return Ok(plan(old, default_grace_s, orphans, options, server.now()));
    };
    // What has a beginning of its own counts it as no change, and its dependents are its own business.
    let own = DeleteOptions { propagation: None, ..options.clone() };
    let mut plan = plan(&begun, default_grace_s, orphans, &own, server.now());
    if let Plan::Mark(new) = &mut plan {
        meta::set(new, "generation", begun["metadata"]["generation"].clone());
    }
    Ok(plan)
}

/// Whether the object is the one, and the version of it, that is to be deleted.
pub fn preconditions(
    target: &Target,
    old: &Value,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let differs = |what: &str, wanted: &str, found: &str, how: &str| {
        let message = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {how}"
        );
        let resource = &target.resource;
        // These have a deletion of their own upstream.
        let has_own = matches!(
            (&*resource.group, &*resource.plural),
            ("", "namespaces") | ("apiextensions.k8s.io", "customresourcedefinitions")
        );
        let told = if has_own { &resource.plural } else { &resource.kind };
        Err(ApiError::conflict(&resource.group, told, &target.name, message))
    };
    let (uid, version) = (meta::uid(old), meta::resource_version(old));
    match (&options.uid, &options.resource_version) {
        (Some(wanted), _) if wanted != uid => {
            differs("UID", wanted, uid, "deleted and then recreated")
        }
        (_, Some(wanted)) if wanted != version => {
            differs("ResourceVersion", wanted, version, "modified")
        }
        _ => Ok(()),
    }
}

/// Kinds from before there was a garbage collector leave their dependents alone unless told otherwise.
fn orphans_by_default(target: &Target) -> bool {
    let resource = &target.resource;
    matches!(
        (&*resource.group, &*resource.plural),
        ("", "replicationcontrollers") | ("batch", "jobs")
    )
}

fn plan(
    old: &Value,
    default_grace_s: Option<i64>,
    orphans_by_default: bool,
    options: &DeleteOptions,
    now: jiff::Timestamp,
) -> Plan {
    let pending_s = meta::is_terminating(old)
        .then(|| meta::deletion_grace_period_seconds(old).unwrap_or_default());
    let grace_s = match (default_grace_s, pending_s) {
        // Nothing runs yet or any more: there is nothing to wait for, whatever the client says.
        (None, _) | (_, Some(0)) | (Some(0), None) => 0,
        (Some(default_s), None) => options.grace_s.unwrap_or(default_s),
        // What has begun is only made shorter, by who says so.
        (Some(_), Some(pending_s)) => match options.grace_s {
            Some(asked_s) if asked_s < pending_s => asked_s,
            _ => return Plan::Nothing,
        },
    };
    let shortens = pending_s.is_none_or(|pending_s| grace_s < pending_s);
    let mut new = old.clone();
    set_finalizers(&mut new, old, orphans_by_default, options.propagation);
    if grace_s == 0 && !is_held(&new) {
        return Plan::Remove;
    }
    if shortens {
        mark_deleted(&mut new, grace_s, now);
    }
    if meta::kind(old) == "Namespace" && meta::api_version(old) == "v1" {
        meta::set(&mut new, "deletionGracePeriodSeconds", Value::Null);
        meta::object_mut(&mut new, &["status"]).insert("phase".into(), "Terminating".into());
    }
    if new == *old { Plan::Nothing } else { Plan::Mark(new) }
}

/// The finalizers that say what the garbage collector has to do first.
fn set_finalizers(
    new: &mut Value,
    old: &Value,
    orphans_by_default: bool,
    propagation: Option<Propagation>,
) {
    let had = |name: &str| meta::finalizers(old).contains(&name);
    let wanted = match propagation {
        Some(Propagation::Background) => None,
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Orphan) => Some(ORPHAN),
        None if had(ORPHAN) => Some(ORPHAN),
        None if had(FOREGROUND) => Some(FOREGROUND),
        None if orphans_by_default => Some(ORPHAN),
        None => None,
    };
    let mut names: Vec<String> = meta::finalizers(old)
        .into_iter()
        .filter(|name| ![FOREGROUND, ORPHAN].contains(name) || wanted == Some(name))
        .map(str::to_owned)
        .collect();
    if let Some(wanted) = wanted
        && !names.iter().any(|name| name == wanted)
    {
        names.push(wanted.to_owned());
    }
    let value = if names.is_empty() { Value::Null } else { names.into() };
    meta::set(new, "finalizers", value);
}

#[cfg(test)]
mod tests;
