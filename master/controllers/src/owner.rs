//! Who controls what: owner references, adoption of orphans, release of what no longer matches.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self as meta, OwnerReference};
use kube::core::ObjectMeta;
use master_api::selector::LabelSelector;
use master_client::informer::{Kind, Store};
use serde_json::json;

use crate::context::Cx;
use crate::error::{Error, Forgive};
use crate::informers::Known;

/// A selector as objects carry it. An absent or malformed one selects nothing.
pub(crate) fn selector_of(selector: Option<&meta::LabelSelector>) -> Option<LabelSelector> {
    LabelSelector::from_json(&serde_json::to_value(selector?).ok()?).ok()
}

pub(crate) fn selects(selector: &LabelSelector, labels: &ObjectMeta) -> bool {
    match &labels.labels {
        Some(labels) => selector.matches_map(labels),
        None => selector.matches_map(&std::collections::BTreeMap::new()),
    }
}

/// The owner that controls an object.
pub(crate) fn controller_of(object: &ObjectMeta) -> Option<&OwnerReference> {
    object.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The key of the controlling owner, if it is of this kind.
pub(crate) fn controller_key(object: &ObjectMeta, kind: &str) -> Option<String> {
    let owner = controller_of(object).filter(|owner| owner.kind == kind)?;
    Some(format!("{}/{}", object.namespace.as_deref().unwrap_or_default(), owner.name))
}

/// The reference that makes `owner` the controller of what carries it.
pub(crate) fn reference_to<O: Kind>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::api_version(&()).into_owned(),
        kind: O::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

pub(crate) fn is_terminating(object: &ObjectMeta) -> bool {
    object.deletion_timestamp.is_some()
}

pub(crate) fn name_of(object: &ObjectMeta) -> &str {
    object.name.as_deref().unwrap_or_default()
}

pub(crate) fn namespace_of(object: &ObjectMeta) -> &str {
    object.namespace.as_deref().unwrap_or_default()
}

pub(crate) fn annotation<'a>(object: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    object.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(crate) fn label<'a>(object: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    object.labels.as_ref()?.get(key).map(String::as_str)
}

/// What an owner does about an object of the kind it controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Keep,
    Adopt,
    Release,
    Ignore,
}

/// Upstream's rules: an orphan that matches is adopted, a child that no longer matches released,
/// and an owner on its way out does neither.
pub(crate) fn claim(owner: &ObjectMeta, matches: bool, object: &ObjectMeta) -> Claim {
    match controller_of(object) {
        Some(controller) if Some(&controller.uid) != owner.uid.as_ref() => Claim::Ignore,
        Some(_) if matches => Claim::Keep,
        Some(_) if is_terminating(owner) => Claim::Ignore,
        Some(_) => Claim::Release,
        None if matches && !is_terminating(owner) && !is_terminating(object) => Claim::Adopt,
        None => Claim::Ignore,
    }
}

/// The objects of `store` that `owner` controls, after it adopted and released what it should.
pub(crate) async fn claim_all<O: Kind, K: Known>(
    cx: &Cx,
    owner: &O,
    selector: &LabelSelector,
    store: &Store<K>,
) -> Result<Vec<std::sync::Arc<K>>, Error> {
    claim_holding(cx, owner, selector, store, None).await
}

/// The same, of objects that have a finalizer while they are the owner's: it comes and goes with the owner.
pub(crate) async fn claim_holding<O: Kind, K: Known>(
    cx: &Cx,
    owner: &O,
    selector: &LabelSelector,
    store: &Store<K>,
    finalizer: Option<&str>,
) -> Result<Vec<std::sync::Arc<K>>, Error> {
    let mut claimed = Vec::new();
    let mut may_adopt = None;
    for object in store.list_in(namespace_of(owner.meta())) {
        match claim(owner.meta(), selects(selector, object.meta()), object.meta()) {
            Claim::Keep => claimed.push(object),
            Claim::Ignore => {}
            Claim::Release => {
                let held = finalizer.map(|finalizer| others(object.meta(), finalizer));
                set_owners(cx, &*object, without(object.meta(), owner), held).await?;
            }
            Claim::Adopt => {
                if may_adopt.is_none() {
                    may_adopt = Some(is_alive(cx, owner).await?);
                }
                if may_adopt == Some(true) {
                    let mut owners = without(object.meta(), owner);
                    owners.push(reference_to(owner));
                    let held = finalizer.map(|finalizer| {
                        let mut held = others(object.meta(), finalizer);
                        held.push(finalizer.to_owned());
                        held
                    });
                    set_owners(cx, &*object, owners, held).await?;
                    let key = master_client::informer::key_of(&*object);
                    claimed.extend(store.get(&key));
                }
            }
        }
    }
    Ok(claimed)
}

/// Asked of the store itself: an adoption by an owner that is gone would be undone by the garbage
/// collector, together with the child.
async fn is_alive<O: Kind>(cx: &Cx, owner: &O) -> Result<bool, Error> {
    let live = cx.live(owner).await?;
    Ok(live.is_some_and(|live| live.meta().uid == owner.meta().uid && !is_terminating(live.meta())))
}

fn without<O: Kind>(object: &ObjectMeta, owner: &O) -> Vec<OwnerReference> {
    let owners = object.owner_references.iter().flatten();
    owners.filter(|other| Some(&other.uid) != owner.meta().uid.as_ref()).cloned().collect()
}

/// Its finalizers without this one.
fn others(object: &ObjectMeta, finalizer: &str) -> Vec<String> {
    let all = object.finalizers.iter().flatten();
    all.filter(|other| *other != finalizer).cloned().collect()
}

async fn set_owners<K: Known>(
    cx: &Cx,
    object: &K,
    owners: Vec<OwnerReference>,
    finalizers: Option<Vec<String>>,
) -> Result<(), Error> {
    let meta = object.meta();
    let mut patch = json!({"metadata": {
        "uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": owners}});
    if let Some(finalizers) = finalizers {
        patch["metadata"]["finalizers"] = json!(finalizers);
    }
    cx.merge(object, "", patch).await.or_gone()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `owner`: `u`, or `u-` when terminating. `object`: controlling uid (`.` for none), `-` alike.
    fn check(owner: &str, matches: bool, object: &str, expected: Claim) {
        let terminating = |meta: &mut ObjectMeta, sketch: &str| {
            if sketch.ends_with('-') {
                meta.deletion_timestamp = Some(meta::Time(jiff::Timestamp::UNIX_EPOCH));
            }
        };
        let uid = Some(owner.trim_end_matches('-').to_owned());
        let mut owner_meta = ObjectMeta { uid, ..ObjectMeta::default() };
        terminating(&mut owner_meta, owner);
        let mut object_meta = ObjectMeta::default();
        let uid = object.trim_end_matches('-');
        if uid != "." {
            let controller =
                OwnerReference { uid: uid.into(), controller: Some(true), ..Default::default() };
            object_meta.owner_references = Some(vec![controller]);
        }
        terminating(&mut object_meta, object);
        let got = claim(&owner_meta, matches, &object_meta);
        assert_eq!(got, expected, "owner {owner}, matches {matches}, object {object}");
    }

    #[test]
    fn matching_orphans_are_adopted_and_strays_released() {
        check("u", true, ".", Claim::Adopt);
        check("u", false, ".", Claim::Ignore);
        check("u", true, "u", Claim::Keep);
        check("u", false, "u", Claim::Release);
        check("u", true, "v", Claim::Ignore);
    }

    #[test]
    fn nobody_on_the_way_out_is_adopted_or_adopts() {
        check("u-", true, ".", Claim::Ignore);
        check("u-", false, "u", Claim::Ignore);
        check("u-", true, "u", Claim::Keep);
        check("u", true, ".-", Claim::Ignore);
    }
}
