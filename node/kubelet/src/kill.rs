//! Bringing containers and pods down: hook, SIGTERM, grace, SIGKILL, sandbox.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;

use crate::context::Context;
use crate::error::Result;
use crate::hooks;
use crate::pod::{self, Role};
use crate::view::{ContainerView, PodView};

/// What a container gets after a hook that used all of its grace.
const GRACE_MIN: Duration = Duration::from_secs(2);

/// How a container is stopped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) grace: Duration,
    /// Asked to hurry up, a container is not given its hook a second time.
    pub(crate) with_hook: bool,
}

/// Stops one container with its hook and its grace.
pub(crate) async fn container(
    cx: &Context,
    pod: &Pod,
    view: &PodView,
    found: &ContainerView,
    Manner { grace, with_hook }: Manner,
    text: String,
) -> Result<()> {
    cx.events.normal(pod, Some(&found.name), "Killing", text);
    let started_ms = cx.clock.monotonic_ms();
    let mut left = grace;
    let spec = pod::container(pod, &found.name).map(|(_, container)| container);
    let hook = spec.and_then(|spec| spec.lifecycle.as_ref()?.pre_stop.as_ref());
    if let (Some(spec), Some(hook)) = (spec, hook)
        && with_hook
        && !grace.is_zero()
    {
        let ip = cx.pod_ips(pod, view).first().copied();
        let runtime = cx.runtime.as_ref();
        if let Err(message) = hooks::run(runtime, spec, &found.id, hook, ip, Some(grace)).await {
            let text = format!("PreStopHook failed: {message}");
            cx.events.warning(pod, Some(&found.name), "FailedPreStopHook", text);
        }
        let used = Duration::from_millis(cx.clock.monotonic_ms() - started_ms);
        left = grace.saturating_sub(used).max(GRACE_MIN);
    }
    cx.runtime.stop_container(&found.id, left).await?;
    Ok(())
}

/// Stops all containers of a pod, then its sandboxes. Sidecars go last, in reverse order.
pub(crate) async fn pod(cx: &Context, pod: &Pod, view: &PodView, manner: Manner) -> Result<()> {
    let grace = manner.grace;
    let started_ms = cx.clock.monotonic_ms();
    let is_sidecar = |found: &&ContainerView| {
        matches!(pod::container(pod, &found.name), Some((Role::Sidecar, _)))
    };
    let stop = |found: &ContainerView, grace: Duration| {
        let (found, text) = (found.clone(), format!("Stopping container {}", found.name));
        async move { container(cx, pod, view, &found, Manner { grace, ..manner }, text).await }
    };
    let mains = view.running().filter(|found| !is_sidecar(found));
    for stopped in join_all(mains.map(|found| stop(found, grace))).await {
        stopped?;
    }
    let mut sidecars: Vec<&ContainerView> = view.running().filter(is_sidecar).collect();
    sidecars.sort_by_key(|found| {
        let order = pod::containers(pod).position(|(_, container)| container.name == found.name);
        std::cmp::Reverse(order)
    });
    for found in sidecars {
        let used = Duration::from_millis(cx.clock.monotonic_ms() - started_ms);
        stop(found, grace.saturating_sub(used).max(GRACE_MIN.min(grace))).await?;
    }
    for sandbox in view.sandboxes.iter().filter(|sandbox| sandbox.is_ready) {
        cx.runtime.stop_sandbox(&sandbox.id).await?;
    }
    Ok(())
}
