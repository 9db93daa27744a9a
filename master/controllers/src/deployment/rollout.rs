//! How many pods each ReplicaSet of a Deployment gets: surge, unavailability, proportions.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::revision::{self, MAX, note_size};
use crate::owner::annotation;

/// Pods the set is to have.
pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Pods of the set that serve.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// Pods the deployment is to have.
pub(super) fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub(super) fn is_rolling(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
}

/// A number, or a percentage of `whole` (rounded up or down).
fn resolve(value: Option<&IntOrString>, whole: i32, up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let percent = text.trim_end_matches('%').parse::<i64>().unwrap_or(0);
            let product = i64::from(whole) * percent;
            let part = if up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(part).unwrap_or(i32::MAX)
        }
    }
}

/// (surge, unavailable); never both 0, or nothing could move.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    if !is_rolling(deployment) {
        return (0, 0);
    }
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.clone()).unwrap_or_default();
    let whole = wanted(deployment);
    let surge = resolve(rolling.max_surge.as_ref(), whole, true);
    let unavailable = resolve(rolling.max_unavailable.as_ref(), whole, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// Pods allowed beyond those wanted.
pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    fenceposts(deployment).0
}

/// Pods that may be missing while the template changes.
pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    fenceposts(deployment).1.min(wanted(deployment))
}

/// The sizes of a deployment's sets while a plan is made.
///
/// `sets` is ordered by creation; `new` is the place of the set of the current template.
#[derive(Debug)]
pub(super) struct Sets<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) sets: Vec<ReplicaSet>,
    pub(super) new: Option<usize>,
}

impl Sets<'_> {
    fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|place| Some(*place) != self.new).collect()
    }

    /// Those that are to have pods.
    fn active(&self, places: Vec<usize>) -> Vec<usize> {
        places.into_iter().filter(|place| self.size(*place) > 0).collect()
    }

    fn size(&self, place: usize) -> i32 {
        replicas(&self.sets[place])
    }

    pub(super) fn total(&self) -> i32 {
        self.sets.iter().map(replicas).sum()
    }

    /// Sets the size of one set; whether that changed it.
    pub(super) fn scale(&mut self, place: usize, size: i32, force: bool) -> bool {
        let before = self.size(place);
        if before == size && !force {
            return false;
        }
        let set = &mut self.sets[place];
        note_size(set, self.deployment);
        set.spec.get_or_insert_default().replicas = Some(size);
        before != size
    }

    /// How large the newest set may become now.
    pub(super) fn new_size(&self, place: usize) -> i32 {
        let wanted = wanted(self.deployment);
        if !is_rolling(self.deployment) {
            return wanted;
        }
        let room = wanted + max_surge(self.deployment) - self.total();
        let missing = wanted - self.size(place);
        self.size(place) + room.min(missing).max(0)
    }

    /// A rolling step upwards: grows (or, after a change of mind, shrinks) the newest set.
    pub(super) fn grow_new(&mut self) -> bool {
        let Some(new) = self.new else { return false };
        let wanted = wanted(self.deployment);
        let size = if self.size(new) > wanted { wanted } else { self.new_size(new) };
        self.scale(new, size, false)
    }

    /// A rolling step downwards: first old pods that do not serve anyway, then as many as leaves
    /// enough that do.
    pub(super) fn shrink_old(&mut self) -> bool {
        let old = self.active(self.old());
        let Some(new) = self.new.filter(|_| !old.is_empty()) else { return false };
        let least = wanted(self.deployment) - max_unavailable(self.deployment);
        let new_missing = self.size(new) - available(&self.sets[new]);
        let spare = self.total() - least - new_missing;
        if spare <= 0 {
            return false;
        }
        let mut removed = 0;
        for &place in &old {
            let idle = self.size(place) - available(&self.sets[place]);
            let size = idle.min(spare - removed).max(0);
            self.scale(place, self.size(place) - size, false);
            removed += size;
        }
        let serving: i32 =
            old.iter().chain([&new]).map(|place| available(&self.sets[*place])).sum();
        let mut surplus = (serving - least).max(0);
        for &place in &old {
            let size = self.size(place).min(surplus);
            self.scale(place, self.size(place) - size, false);
            surplus -= size;
            removed += size;
        }
        removed > 0
    }

    /// Recreate: all old pods go first.
    pub(super) fn drop_old(&mut self) -> bool {
        let mut changed = false;
        for place in self.old() {
            changed |= self.scale(place, 0, false);
        }
        changed
    }

    /// The deployment was resized (or is paused): the one active set, or all in proportion.
    pub(super) fn resize(&mut self) {
        let wanted = wanted(self.deployment);
        let everyone = (0..self.sets.len()).collect();
        let active = self.active(everyone);
        let single = match active.as_slice() {
            [] => self.new.or_else(|| self.sets.len().checked_sub(1)),
            [only] => Some(*only),
            _ => None,
        };
        if let Some(place) = single {
            self.scale(place, wanted, false);
        } else if self.new.is_some_and(|new| self.is_saturated(new)) {
            self.drop_old();
        } else if is_rolling(self.deployment) && !active.is_empty() {
            self.spread(active);
        }
    }

    /// The newest set has all pods, and they serve.
    fn is_saturated(&self, place: usize) -> bool {
        let (set, wanted) = (&self.sets[place], wanted(self.deployment));
        let noted = annotation(&set.metadata, revision::DESIRED).and_then(|text| text.parse().ok());
        replicas(set) == wanted && noted == Some(wanted) && available(set) == wanted
    }

    /// Spreads what the resize adds or removes over the active sets, by their share; what rounding
    /// leaves goes to the largest.
    fn spread(&mut self, mut active: Vec<usize>) {
        let wanted = wanted(self.deployment);
        let allowed = if wanted > 0 { wanted + max_surge(self.deployment) } else { 0 };
        let current: i32 = active.iter().map(|place| self.size(*place)).sum();
        let to_add = allowed - current;
        // Among equals the newer grows first and the older shrinks first.
        active.sort_by_key(|&place| {
            let age = i64::try_from(place).unwrap_or(i64::MAX);
            (-self.size(place), if to_add > 0 { -age } else { age })
        });
        let mut sizes: Vec<i32> = Vec::new();
        let mut added = 0;
        for &place in &active {
            let left = to_add - added;
            let share = self.share(place);
            let part = match to_add {
                0 => 0,
                1.. => share.min(left),
                _ => share.max(left),
            };
            sizes.push(self.size(place) + part);
            added += part;
        }
        if let Some(largest) = sizes.first_mut() {
            *largest = (*largest + to_add - added).max(0);
        }
        for (place, size) in active.into_iter().zip(sizes) {
            self.scale(place, size, true);
        }
    }

    /// By how much a set's size changes if it keeps its part of the whole.
    fn share(&self, place: usize) -> i32 {
        let size = self.size(place);
        let wanted = wanted(self.deployment);
        if wanted == 0 {
            return -size;
        }
        let noted = annotation(&self.sets[place].metadata, MAX).and_then(|text| text.parse().ok());
        let status = self.deployment.status.as_ref();
        let before: i32 = noted
            .filter(|before| *before > 0)
            .or_else(|| status.and_then(|status| status.replicas))
            .unwrap_or(0);
        if before == 0 {
            return 0;
        }
        let max = wanted + max_surge(self.deployment);
        let scaled = f64::from(size) * f64::from(max) / f64::from(before);
        #[expect(clippy::cast_possible_truncation, reason = "a number of pods, rounded")]
        let scaled = scaled.round() as i32;
        scaled - size
    }
}
