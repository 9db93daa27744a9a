//! The configuration of one container: image, command, environment, mounts, limits, privileges.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use node_cri::v1;

use crate::amount;
use crate::env;
use crate::error::{Error, Result};
use crate::pod;
use crate::qos;
use crate::resize;
use crate::sandbox;
use crate::view;

const MESSAGE_PATH: &str = "/dev/termination-log";

/// An image that is present, with the user that it names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    pub(crate) id: String,
    pub(crate) uid: Option<i64>,
    pub(crate) username: String,
}

/// A mount whose source was found or made.
#[derive(Debug, Clone)]
pub(crate) struct ReadyMount<'a> {
    pub(crate) mount: &'a VolumeMount,
    pub(crate) source: std::path::PathBuf,
}

/// Everything that a configuration is made from.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    pub(crate) restarts: u32,
    pub(crate) image: &'a Image,
    pub(crate) environment: &'a [(String, String)],
    pub(crate) mounts: &'a [ReadyMount<'a>],
    /// The pod's `/etc/hosts`.
    pub(crate) hosts_file: &'a Path,
    /// Where the container may leave its last words.
    pub(crate) message_file: &'a Path,
    /// Memory of the machine.
    pub(crate) memory_bytes: u64,
}

/// What the runtime is to create.
pub(crate) fn config(inputs: &Inputs<'_>) -> Result<v1::ContainerConfig> {
    let Inputs { pod, container, restarts, .. } = inputs;
    check_user(inputs)?;
    let look = |name: &str| {
        let mut found = inputs.environment.iter();
        found.find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    let expand = |words: &Option<Vec<String>>| {
        words.iter().flatten().map(|word| env::expand(word, look)).collect::<Vec<_>>()
    };
    let mut labels = sandbox::identity(pod);
    labels.insert(view::CONTAINER_NAME.to_owned(), container.name.clone());
    let envs = inputs.environment.iter();
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: *restarts }),
        image: Some(v1::ImageSpec {
            image: inputs.image.id.clone(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expand(&container.command),
        args: expand(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: envs
            .map(|(key, value)| v1::KeyValue { key: key.clone(), value: value.clone() })
            .collect(),
        mounts: mounts(inputs),
        labels: labels.into_iter().collect(),
        annotations: annotations(inputs).into_iter().collect(),
        log_path: format!("{}/{restarts}.log", container.name),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources(pod, container, inputs.memory_bytes)),
            security_context: Some(security(pod, container)),
        }),
        ..Default::default()
    })
}

fn annotations(inputs: &Inputs<'_>) -> Vec<(String, String)> {
    let container = inputs.container;
    let policy = container.termination_message_policy.as_deref().unwrap_or("File");
    let path = container.termination_message_path.as_deref().unwrap_or(MESSAGE_PATH);
    let all = [
        (view::CONTAINER_HASH, pod::container_hash(container)),
        (view::RESTART_COUNT, inputs.restarts.to_string()),
        (view::MESSAGE_PATH, path.to_owned()),
        (view::MESSAGE_POLICY, policy.to_owned()),
        (view::STARTED_WITH, resize::annotation(container)),
        (view::GRACE_PERIOD, pod::grace_s(inputs.pod).to_string()),
    ];
    all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Refuses to run as root what must not.
fn check_user(inputs: &Inputs<'_>) -> Result<()> {
    let pod_context = pod::spec(inputs.pod).security_context.as_ref();
    let own = inputs.container.security_context.as_ref();
    let must = own
        .and_then(|context| context.run_as_non_root)
        .or(pod_context.and_then(|context| context.run_as_non_root));
    if must != Some(true) {
        return Ok(());
    }
    let said = own
        .and_then(|context| context.run_as_user)
        .or(pod_context.and_then(|context| context.run_as_user));
    let refuse = |why: String| Err(Error::ContainerConfig(why));
    match (said, inputs.image.uid, inputs.image.username.as_str()) {
        (Some(0), ..) => {
            refuse("container's runAsUser breaks non-root policy (runAsUser is 0)".to_owned())
        }
        (Some(_), ..) => Ok(()),
        (None, Some(0) | None, "") => {
            refuse("container has runAsNonRoot and image will run as root".to_owned())
        }
        (None, Some(uid), _) if uid != 0 => Ok(()),
        (None, _, name) => refuse(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
        )),
    }
}

fn mounts(inputs: &Inputs<'_>) -> Vec<v1::Mount> {
    let mut mounts: Vec<v1::Mount> = inputs
        .mounts
        .iter()
        .map(|ready| {
            let propagation = match ready.mount.mount_propagation.as_deref() {
                Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
                Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
                _ => v1::MountPropagation::PropagationPrivate,
            };
            v1::Mount {
                container_path: absolute(&ready.mount.mount_path),
                host_path: ready.source.display().to_string(),
                readonly: ready.mount.read_only.unwrap_or(false),
                propagation: propagation.into(),
                ..Default::default()
            }
        })
        .collect();
    let has = |path: &str| mounts.iter().any(|mount| mount.container_path == path);
    let file = |container_path: &str, source: &Path| v1::Mount {
        container_path: container_path.to_owned(),
        host_path: source.display().to_string(),
        ..Default::default()
    };
    let path = inputs.container.termination_message_path.as_deref().unwrap_or(MESSAGE_PATH);
    let own = [("/etc/hosts", inputs.hosts_file), (path, inputs.message_file)];
    let missing: Vec<_> = own.into_iter().filter(|(path, _)| !has(path)).collect();
    mounts.extend(missing.into_iter().map(|(path, source)| file(path, source)));
    mounts
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// Limits of the container's own cgroup.
pub(crate) fn resources(
    pod: &Pod,
    container: &Container,
    memory_bytes: u64,
) -> v1::LinuxContainerResources {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    // A container without a limit of its own has that of the whole pod.
    let limit = |resource: &str, read: fn(&Quantity) -> Option<u64>| {
        let both = [amount::limit(container, resource), amount::limit_of_all(pod, resource)];
        both.into_iter().flatten().filter_map(read).find(|amount| *amount > 0)
    };
    let (cpu, memory) = (limit("cpu", amount::milli), limit("memory", amount::units));
    let request = amount::request(container, "cpu").and_then(amount::milli).or(cpu).unwrap_or(0);
    v1::LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: cpu.map_or(0, |milli| signed(amount::quota_us(milli))),
        cpu_shares: signed(amount::shares(request)),
        memory_limit_in_bytes: memory.map_or(0, signed),
        oom_score_adj: qos::oom_score_adj(pod, container, memory_bytes),
        ..Default::default()
    }
}

fn security(pod: &Pod, container: &Container) -> v1::LinuxContainerSecurityContext {
    let shared = pod::spec(pod).security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let capabilities = own.capabilities.unwrap_or_default();
    let user = own.run_as_user.or(shared.run_as_user);
    let group = own.run_as_group.or(shared.run_as_group);
    let profile = own.seccomp_profile.as_ref().or(shared.seccomp_profile.as_ref());
    let is_privileged = own.privileged.unwrap_or(false);
    v1::LinuxContainerSecurityContext {
        capabilities: Some(v1::Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            ..Default::default()
        }),
        privileged: is_privileged,
        namespace_options: Some(sandbox::namespaces(pod)),
        run_as_user: sandbox::int(user),
        // The runtime refuses a group without a user.
        run_as_group: sandbox::int(group.filter(|_| user.is_some())),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: sandbox::groups(pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        seccomp: (!is_privileged).then(|| sandbox::seccomp(profile)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn built(spec: serde_json::Value, image: &Image) -> Result<v1::ContainerConfig> {
        let object = json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec});
        let pod: Pod = serde_json::from_value(object).unwrap();
        let environment = [("WHO".to_owned(), "you".to_owned())];
        config(&Inputs {
            pod: &pod,
            container: &pod::spec(&pod).containers[0],
            restarts: 2,
            image,
            environment: &environment,
            mounts: &[],
            hosts_file: Path::new("/pods/u/etc-hosts"),
            message_file: Path::new("/pods/u/containers/c/2"),
            memory_bytes: 1 << 30,
        })
    }

    #[test]
    fn command_limits_and_own_mounts_reach_the_runtime() {
        let spec = json!({"containers": [{
            "name": "c", "args": ["hello $(WHO)"],
            "resources": {"requests": {"cpu": "250m"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
        }]});
        let config = built(spec, &Image::default()).unwrap();
        assert_eq!(config.args, ["hello you"]);
        assert_eq!(config.log_path, "c/2.log");
        let linux = config.linux.unwrap().resources.unwrap();
        assert_eq!((linux.cpu_shares, linux.cpu_quota), (256, 50_000));
        assert_eq!(linux.memory_limit_in_bytes, 64 << 20);
        let paths: Vec<_> = config.mounts.iter().map(|mount| &*mount.container_path).collect();
        assert_eq!(paths, ["/etc/hosts", "/dev/termination-log"]);
    }

    #[test]
    fn container_without_limits_has_those_of_its_pod() {
        let whole = json!({"limits": {"cpu": "2", "memory": "1Gi"}});
        let resources = |own: serde_json::Value| {
            let spec = json!({"resources": whole, "containers": [{"name": "c", "resources": own}]});
            let linux = built(spec, &Image::default()).unwrap().linux.unwrap().resources.unwrap();
            (linux.cpu_shares, linux.cpu_quota, linux.memory_limit_in_bytes)
        };
        assert_eq!(resources(json!({})), (2_048, 200_000, 1 << 30));
        assert_eq!(resources(json!({"requests": {"cpu": "1"}})), (1_024, 200_000, 1 << 30));
        assert_eq!(resources(json!({"limits": {"memory": "64Mi"}})), (2_048, 200_000, 64 << 20));
    }

    #[test]
    fn root_is_refused_where_the_pod_forbids_it() {
        let check = |own: serde_json::Value, uid: Option<i64>, name: &str, is_fine: bool| {
            let spec = json!({"securityContext": {"runAsNonRoot": true},
                "containers": [{"name": "c", "securityContext": own}]});
            let image = Image { uid, username: name.to_owned(), ..Default::default() };
            assert_eq!(built(spec, &image).is_ok(), is_fine, "{uid:?} {name}");
        };
        check(json!({}), None, "", false);
        check(json!({}), Some(0), "", false);
        check(json!({}), Some(1000), "", true);
        check(json!({}), None, "app", false);
        check(json!({"runAsUser": 0}), Some(1000), "", false);
        check(json!({"runAsUser": 5}), None, "", true);
        check(json!({"runAsNonRoot": false}), None, "", true);
    }
}
