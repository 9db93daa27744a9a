//! Starting things: a sandbox, and a container from image to running.
//!
//! # Path
//! `worker.rs` → here → `image.rs`, `volume/`, `env.rs`, `container.rs` → `node_cri::Runtime`

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::container::{self, ReadyMount};
use crate::context::{Context, machine_file};
use crate::env;
use crate::error::{Error, Result};
use crate::hooks;
use crate::hosts;
use crate::pod;
use crate::sandbox;
use crate::view::PodView;

/// Makes the pod's cgroup, directories and sandbox.
pub(crate) async fn sandbox(cx: &Context, pod: &Pod, attempt: u32) -> Result<String> {
    let cgroup = cx.cgroups.ensure_pod(&cx.config.cgroup_root, pod)?;
    let (namespace, name, uid) = (pod::namespace(pod), pod::name(pod), pod::uid(pod));
    for directory in [cx.config.pod_logs_dir(namespace, name, uid), cx.config.pod_dir(uid)] {
        std::fs::create_dir_all(&directory).map_err(Error::io(&directory))?;
    }
    let machine_resolv = machine_file("/etc/resolv.conf");
    let config = sandbox::config(pod, attempt, &cx.config, &cgroup, &machine_resolv);
    let handler = pod::spec(pod).runtime_class_name.clone().unwrap_or_default();
    Ok(cx.runtime.run_sandbox(config, &handler).await?)
}

/// Creates and starts a container in the pod's ready sandbox.
pub(crate) async fn container(
    cx: &Context,
    pod: &Pod,
    view: &PodView,
    spec: &Container,
    restarts: u32,
) -> Result<()> {
    let sandbox = view.ready_sandbox().ok_or_else(|| {
        Error::Runtime(node_cri::Error::NotFound("the pod has no ready sandbox".to_owned()))
    })?;
    let image = cx.images.ensure(pod, spec).await?;
    let config = configure(cx, pod, view, spec, restarts, &image).await;
    let config = config.inspect_err(|error| {
        cx.events.warning(pod, Some(&spec.name), "Failed", format!("Error: {error}"));
    })?;
    let cgroup = crate::qos::cgroup_path(&cx.config.cgroup_root, pod);
    let machine_resolv = machine_file("/etc/resolv.conf");
    let parent = sandbox::config(pod, sandbox.attempt, &cx.config, &cgroup, &machine_resolv);
    let failed = |text: String| {
        cx.events.warning(pod, Some(&spec.name), "Failed", format!("Error: {text}"));
        text
    };
    let id = cx
        .runtime
        .create_container(&sandbox.id, config, parent)
        .await
        .inspect_err(|error| drop(failed(error.to_string())))?;
    cx.events.normal(pod, Some(&spec.name), "Created", format!("Created container: {}", spec.name));
    let started = cx.runtime.start_container(&id).await;
    started.map_err(|error| Error::RunContainer(failed(error.to_string())))?;
    cx.events.normal(pod, Some(&spec.name), "Started", format!("Started container {}", spec.name));
    post_start(cx, pod, view, spec, &id).await
}

async fn configure(
    cx: &Context,
    pod: &Pod,
    view: &PodView,
    spec: &Container,
    restarts: u32,
    image: &container::Image,
) -> Result<node_cri::v1::ContainerConfig> {
    let facts = cx.facts(pod, view);
    let sources = cx.objects.sources(pod, spec).await?;
    let services = cx.services.as_ref().map(|store| store.list()).unwrap_or_default();
    let environment = env::environment(pod, spec, &sources, &services, &facts)?;
    let mut mounts = Vec::new();
    for (index, mount) in spec.volume_mounts.iter().flatten().enumerate() {
        let source = cx.volumes.mount_source(pod, &spec.name, index, mount, &environment).await?;
        mounts.push(ReadyMount { mount, source });
    }
    let hosts_file = cx.config.pod_dir(pod::uid(pod)).join("etc-hosts");
    let machine_hosts = machine_file("/etc/hosts");
    let hosts = hosts::render(pod, &facts.pod_ips, &cx.config.cluster_domain, &machine_hosts);
    std::fs::write(&hosts_file, hosts).map_err(Error::io(&hosts_file))?;
    let message_file = cx.message_file(pod::uid(pod), &spec.name, restarts);
    make_message_file(&message_file)?;
    container::config(&container::Inputs {
        pod,
        container: spec,
        restarts,
        image,
        environment: &environment,
        mounts: &mounts,
        hosts_file: &hosts_file,
        message_file: &message_file,
        memory_bytes: cx.machine.memory_bytes,
    })
}

/// Anybody in the container may write its last words.
fn make_message_file(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
    std::fs::write(path, []).map_err(Error::io(path))?;
    let permissions = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(path, permissions).map_err(Error::io(path))
}

/// A container whose postStart hook fails is killed.
async fn post_start(
    cx: &Context,
    pod: &Pod,
    view: &PodView,
    spec: &Container,
    id: &str,
) -> Result<()> {
    let hook = spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
    let Some(hook) = hook else { return Ok(()) };
    let ip = cx.pod_ips(pod, view).first().copied();
    let Err(message) = hooks::run(cx.runtime.as_ref(), spec, id, hook, ip, None).await else {
        return Ok(());
    };
    let error = Error::PostStart(message);
    cx.events.warning(pod, Some(&spec.name), "FailedPostStartHook", error.to_string());
    let grace = std::time::Duration::from_secs(pod::grace_s(pod));
    cx.runtime.stop_container(id, grace).await?;
    Err(error)
}
