//! The way of every write to an object that exists: read, produce, prepare, admit, validate, store on the
//! condition that it is still as it was read; once more if it is not.
//!
//! It starts from this master's memory without waiting; only a refusal or a lost race makes it look at what
//! the store has.
//!
//! # Path
//! `rest/update.rs`, `rest/patch.rs`, `subresource/*.rs` → here → `storage::Storage::write`

use std::sync::Arc;

use master_api::field::FieldError;
use master_api::status::ApiError;
use master_auth::admission::Operation;
use master_registry::objectmeta;
use serde_json::Value;

use super::create::CLAIMS_MAX;
use super::ownership::Ownership;
use super::quota::{self, Turn};
use super::{Target, metadata, ownership};
use crate::cacher::entry::{Entry, encode};
use crate::call::Call;
use crate::server::Server;
use crate::storage::{Outcome, Write};

/// How many lost races a write without a resourceVersion takes before it gives up.
const RACES_MAX: u32 = 64;

/// Which rules a change is under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Those of the object itself: status and system metadata are kept.
    Whole,
    /// Everything but the status is kept.
    Status,
    /// Only those of metadata: the subresource's own code has chosen what changes.
    Metadata,
}

/// A change of one object.
pub struct Change<'a> {
    pub subresource: &'a str,
    pub rules: Rules,
    pub ownership: Ownership,
    /// The new object from the current one. May be called several times.
    pub produce: &'a (dyn Fn(&Value) -> Result<Value, ApiError> + Send + Sync),
}

impl std::fmt::Debug for Change<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// What the new version of an object is to be.
enum Step {
    Put(Value),
    /// The last one who held it let go.
    Remove(Value),
}

/// Carries a change out; returns the new version.
pub async fn change(
    server: &Server,
    call: &mut Call,
    target: &Target,
    change: &Change<'_>,
) -> Result<Arc<Entry>, ApiError> {
    // What is only tried is never held against the store.
    let mut is_fresh = call.is_dry_run();
    let mut current = if is_fresh {
        server.fresh(target).await?
    } else {
        server.cacher.entry(&target.table, &target.key())
    };
    for _ in 0..RACES_MAX {
        let before = current.as_ref().map(|entry| target.shown(entry.clone()).value_once());
        let prepared = match &before {
            Some(before) => prepare(server, call, target, change, before),
            None => Err(target.not_found()),
        };
        let (step, warnings) = match prepared {
            Ok(prepared) => prepared,
            // Perhaps memory lags behind: judged again by what the store has.
            Err(error) if !is_fresh => {
                let newest = server.fresh(target).await?;
                is_fresh = true;
                if revision(&newest) == revision(&current) {
                    return Err(error);
                }
                current = newest;
                continue;
            }
            Err(error) => return Err(error),
        };
        let old = current.as_ref().expect("prepared from it");
        // Nothing changes: nothing is written, if that is what the store has, too.
        if let Step::Put(new) = &step
            && old.is_stored_as(&target.stored(new))
        {
            let newest = if is_fresh { current.clone() } else { server.fresh(target).await? };
            is_fresh = true;
            if revision(&newest) != revision(&current) {
                current = newest;
                continue;
            }
            call.warnings.extend(warnings);
            return Ok(target.shown(old.clone()));
        }
        if call.is_dry_run() {
            call.warnings.extend(warnings);
            let (Step::Put(new) | Step::Remove(new)) = &step;
            return Ok(Arc::new(Entry::from_stored(old.key.clone(), &encode(new), old.revision)));
        }
        match store(server, call, target, change, (old, before.as_deref()), &step).await? {
            Stored::Done(entry) => {
                call.warnings.extend(warnings);
                return Ok(entry);
            }
            Stored::Changed(newest) => {
                current = newest;
                is_fresh = true;
            }
        }
    }
    Err(target.modified())
}

fn revision(entry: &Option<Arc<Entry>>) -> i64 {
    entry.as_ref().map_or(0, |entry| entry.revision)
}

fn prepare(
    server: &Server,
    call: &Call,
    target: &Target,
    change: &Change<'_>,
    old: &Value,
) -> Result<(Step, Vec<String>), ApiError> {
    let resource = &target.resource;
    let strategy = &resource.strategy;
    let mut new = (change.produce)(old)?;
    let sent = ownership::take(&mut new);
    target.complete(&mut new);
    metadata::carry_over(&mut new, old);
    let cx = server.cx(&call.identity, 0);
    if change.rules == Rules::Status {
        strategy.prepare_status_update(&mut new, old, &cx);
        ownership::take(&mut new);
    }
    let owners = match change.ownership {
        Ownership::Changed => {
            let manager = ownership::manager(server, call, target, change.subresource);
            ownership::updated(target, &manager, change.rules, sent, old, &new)
        }
        Ownership::Noted => sent,
        Ownership::Kept => ownership::of(old).clone(),
    };
    if change.rules == Rules::Whole {
        strategy.prepare_update(&mut new, old, &cx);
    }
    ownership::put(&mut new, owners);
    let request =
        server.admission_request(call, target, Operation::Update, change.subresource, Some(old));
    server.admission.mutate(&request, &mut new)?;
    if change.rules == Rules::Whole && strategy.shape().generation {
        // What admission has put back, or added, counts too.
        strategy.prepare_update(&mut new, old, &cx);
    }
    let errors: Vec<FieldError> = match change.rules {
        Rules::Whole => resource.validate(&new, Some(old)),
        Rules::Status => {
            let mut errors = objectmeta::validate_part(resource, &new, old);
            errors.extend(strategy.validate_status(&new, old));
            errors
        }
        Rules::Metadata => objectmeta::validate_part(resource, &new, old),
    };
    if !errors.is_empty() {
        return Err(target.invalid(errors));
    }
    let mut warnings = server.admission.validate(&request, &new)?;
    if change.rules == Rules::Whole {
        warnings.splice(0..0, strategy.warnings(&new, Some(old)));
    }
    ownership::settle(&mut new, old);
    let ends = metadata::has_ended(&new, old);
    Ok((if ends { Step::Remove(new) } else { Step::Put(new) }, warnings))
}

enum Stored {
    Done(Arc<Entry>),
    Changed(Option<Arc<Entry>>),
}

async fn store(
    server: &Server,
    call: &Call,
    target: &Target,
    change: &Change<'_>,
    (old, before): (&Arc<Entry>, Option<&Value>),
    step: &Step,
) -> Result<Stored, ApiError> {
    let resource = &target.resource;
    let key = target.store_key();
    let request =
        server.admission_request(call, target, Operation::Update, change.subresource, before);
    let (Step::Put(wanted) | Step::Remove(wanted)) = step;
    let turn = Turn::of(server, &request, wanted).await;
    for attempt in 0..CLAIMS_MAX {
        let cx = server.cx(&call.identity, attempt);
        let mut new = wanted.clone();
        let removes = matches!(step, Step::Remove(_));
        let kept = if removes { None } else { Some(&mut new) };
        let companions = resource.strategy.companions(kept, before, &cx);
        let companions = companions.map_err(|errors| target.invalid(errors))?;
        let companions: Vec<_> =
            companions.into_iter().chain(server.guard(target, false)?).collect();
        let charged = if removes { None } else { quota::charge(server, &request, &new)? }
            .filter(|charged| !charged.puts.is_empty());
        let value = target.stored(&new);
        let write = Write {
            key: &key,
            expected: old.revision,
            value: (!removes).then_some(&value),
            ttl_s: resource.strategy.ttl_s(&new).filter(|_| !removes),
            companions: &companions,
            charged: charged.as_ref(),
            fence: call.fence,
        };
        match server.storage.write(&write).await? {
            Outcome::Done(revision) => {
                turn.end(server, revision).await;
                return Ok(Stored::Done(target.written(&new, &value, revision)));
            }
            Outcome::Changed(current) => {
                let newest = current.map(|kv| Arc::new(Entry::new(old.key.clone(), &kv)));
                return Ok(Stored::Changed(newest));
            }
            Outcome::ClaimTaken => server.catch_up().await?,
        }
    }
    Err(ApiError::Internal(format!("no free claim for {key} after {CLAIMS_MAX} attempts")))
}
