//! How long a Job waits before it replaces pods that failed. Pure.
//!
//! Ten seconds after the first failure, after each further one twice as long, ten minutes at most. A success ends the count. What
//! was counted is remembered only as long as one leads: a new leader counts anew, as upstream's does.

use std::time::Duration;

use jiff::Timestamp;
use master_client::pod::{ContainerStatus, Pod};

use crate::pods;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// The failures of a job since its last success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    failures: i32,
    newest: Option<Timestamp>,
}

impl Record {
    /// The record once these pods have ended, too.
    pub(super) fn after(self, succeeded: &[&Pod], failed: &[&Pod]) -> Self {
        let success = succeeded.iter().map(|pod| ended_at(pod)).max();
        let before = if success.is_some() { Self::default() } else { self };
        let later = failed.iter().map(|pod| ended_at(pod));
        later.filter(|failure| success.is_none_or(|success| *failure > success)).fold(
            before,
            |record, failure| Self {
                failures: record.failures.saturating_add(1),
                newest: record.newest.max(Some(failure)),
            },
        )
    }

    /// How long to wait from now on.
    pub(super) fn left(self, now: Timestamp) -> Duration {
        self.newest.map_or(Duration::ZERO, |newest| left(self.failures, newest, now))
    }
}

/// How long to wait after so many failures in a row.
pub(super) fn left(failures: i32, newest: Timestamp, now: Timestamp) -> Duration {
    if failures <= 0 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(failures - 1).unwrap_or(0).min(10);
    let whole = (FIRST * (1 << doublings)).min(LONGEST);
    // A pod whose end is ahead of this clock is waited for all the longer, as upstream does.
    let gone_ms = now.as_millisecond() - newest.as_millisecond();
    let left_ms = i64::try_from(whole.as_millis()).unwrap_or(i64::MAX) - gone_ms;
    Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
}

/// When a pod ended: the last of its containers; or since when it is not ready; or when it was deleted; or made.
pub(super) fn ended_at(pod: &Pod) -> Timestamp {
    let not_ready = pods::condition(pod, "Ready").filter(|ready| ready.status == "False");
    let not_ready = not_ready.and_then(|ready| ready.last_transition_time.as_ref());
    let grace_s = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
    let deleted =
        pod.metadata.deletion_timestamp.as_ref().and_then(|deleted| {
            deleted.0.checked_sub(jiff::SignedDuration::from_secs(grace_s)).ok()
        });
    let made = pod.metadata.creation_timestamp.as_ref().map(|made| made.0);
    containers_ended_at(pod)
        .or(not_ready.map(|since| since.0))
        .or(deleted)
        .or(made)
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// When the last container ended, if all have; those that start first and stay count with them.
fn containers_ended_at(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let stays = |status: &&ContainerStatus| {
        let mut first = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        first.any(|it| it.name == status.name && it.restart_policy.as_deref() == Some("Always"))
    };
    let first = status.init_container_statuses.iter().flatten().filter(stays);
    let all = status.container_statuses.iter().flatten().chain(first);
    let ended = all.map(|container| {
        container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|at| at.0)
    });
    ended.collect::<Option<Vec<_>>>()?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{at, object, time};

    fn ended(at_s: i64) -> Pod {
        let state = json!({"terminated": {"exitCode": 1, "finishedAt": time(at_s)}});
        object(json!({"metadata": {}, "status": {"containerStatuses": [
            {"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}}))
    }

    #[test]
    fn delays_double_until_ten_minutes() {
        let check = |failures: i32, gone_s: i64, expected_s: u64| {
            let left = left(failures, at(1_000), at(1_000 + gone_s));
            assert_eq!(left.as_secs(), expected_s, "{failures} {gone_s}");
        };
        check(0, 0, 0);
        check(1, 0, 10);
        check(1, 4, 6);
        check(1, 10, 0);
        check(2, 0, 20);
        check(6, 0, 320);
        check(7, 0, 600);
        check(i32::MAX, 0, 600);
    }

    #[test]
    fn failures_count_from_the_last_success_on() {
        let check = |before: i32,
                     succeeded: &[i64],
                     failed: &[i64],
                     expected: (i32, Option<i64>)| {
            let record = Record { failures: before, newest: (before > 0).then(|| at(100)) };
            let pods = |ends: &[i64]| -> Vec<Pod> { ends.iter().map(|end| ended(*end)).collect() };
            let (good, bad) = (pods(succeeded), pods(failed));
            let record =
                record.after(&good.iter().collect::<Vec<_>>(), &bad.iter().collect::<Vec<_>>());
            let newest = record.newest.map(Timestamp::as_second);
            assert_eq!((record.failures, newest), expected, "{before} {succeeded:?} {failed:?}");
        };
        check(2, &[], &[], (2, Some(100)));
        check(2, &[], &[300, 200], (4, Some(300)));
        check(2, &[250], &[], (0, None));
        check(2, &[250], &[300, 200, 250], (1, Some(300)));
    }

    #[test]
    fn end_of_a_pod_is_read_from_what_is_known() {
        let check = |pod: Value, expected_s: i64| {
            let pod: Pod = object(pod);
            assert_eq!(ended_at(&pod).as_second(), expected_s, "{pod:?}");
        };
        let made = json!({"creationTimestamp": time(5)});
        let ready = json!([{"type": "Ready", "status": "False", "lastTransitionTime": time(50)}]);
        let gone = json!({"creationTimestamp": time(5), "deletionTimestamp": time(40), "deletionGracePeriodSeconds": 30});
        let container = |name: &str, state: Value| json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        let over = |at_s: i64| json!({"terminated": {"exitCode": 0, "finishedAt": time(at_s)}});
        check(json!({"metadata": made}), 5);
        check(json!({"metadata": gone}), 10);
        check(json!({"metadata": gone, "status": {"conditions": ready}}), 50);
        let both = [container("a", over(60)), container("b", over(70))];
        check(
            json!({"metadata": gone, "status": {"conditions": ready, "containerStatuses": both}}),
            70,
        );
        let one = [container("a", over(60)), container("b", json!({"running": {}}))];
        check(
            json!({"metadata": gone, "status": {"conditions": ready, "containerStatuses": one}}),
            50,
        );
        let spec = json!({"containers": [], "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}]});
        let first = [container("s", over(80)), container("i", over(90))];
        check(
            json!({"metadata": made, "spec": spec, "status": {"containerStatuses": both, "initContainerStatuses": first}}),
            80,
        );
    }
}
