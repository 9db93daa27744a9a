//! Volumes of pods: made ready before the containers, kept current, taken down after them.
//!
//! # Invariants
//! - A volume that was ready once stays usable when the masters are away.
//! - What containers may have written to is deleted only after it was unmounted.

mod atomic;
mod host_path;
mod mounts;
mod payload;
mod token;

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    ConfigMap, EmptyDirVolumeSource, Pod, ProjectedVolumeSource, Secret, Volume, VolumeMount,
};
use store_env::clock::SharedClock;
use store_env::task::blocking;

use crate::amount;
use crate::config::Config;
use crate::env;
use crate::error::{Error, Result};
use crate::field::Facts;
use crate::objects::Objects;
use crate::pod;
use payload::Selection;

pub(crate) use atomic::Payload;
pub(crate) use mounts::remove as remove_directory;
pub use mounts::unmount_all;

/// Makes, updates and removes the volumes of this node's pods.
#[derive(Debug)]
pub(crate) struct Volumes {
    config: Arc<Config>,
    objects: Objects,
    tokens: token::Tokens,
}

impl Volumes {
    pub(crate) fn new(config: Arc<Config>, objects: Objects, clock: SharedClock) -> Self {
        let tokens = token::Tokens::new(objects.clone(), clock);
        Self { config, objects, tokens }
    }

    /// Where a volume is on this machine.
    pub(crate) fn path(&self, pod: &Pod, volume: &Volume) -> PathBuf {
        let kind = match volume {
            Volume { host_path: Some(source), .. } => return PathBuf::from(&source.path),
            Volume { empty_dir: Some(_), .. } => "empty-dir",
            Volume { config_map: Some(_), .. } => "configmap",
            Volume { secret: Some(_), .. } => "secret",
            Volume { downward_api: Some(_), .. } => "downward-api",
            _ => "projected",
        };
        let volumes = self.config.pod_dir(pod::uid(pod)).join("volumes");
        volumes.join(format!("kubernetes.io~{kind}")).join(&volume.name)
    }

    /// Makes all volumes of the pod ready, and current where they follow API objects.
    pub(crate) async fn prepare(&self, pod: &Pod, facts: &Facts) -> Result<()> {
        for volume in pod::spec(pod).volumes.iter().flatten() {
            let ready = self.one(pod, volume, facts).await;
            if let Err(error) = ready {
                let path = self.path(pod, volume);
                let is_usable = path.join("..data").exists() && !matches!(error, Error::Volume(_));
                if !is_usable {
                    let name = &volume.name;
                    let message =
                        format!("MountVolume.SetUp failed for volume \"{name}\" : {error}");
                    return Err(Error::Volume(message));
                }
                tracing::debug!(pod = pod::key(pod), volume = volume.name, %error, "not refreshed");
            }
        }
        Ok(())
    }

    async fn one(&self, pod: &Pod, volume: &Volume, facts: &Facts) -> Result<()> {
        let path = self.path(pod, volume);
        let group = fs_group(pod);
        if let Some(source) = &volume.host_path {
            let source = source.clone();
            return blocking(move || host_path::ensure(&source)).await;
        }
        if let Some(source) = &volume.empty_dir {
            let source = source.clone();
            return blocking(move || empty_dir(&path, &source, group)).await;
        }
        let payload = self.payload(pod, volume, facts).await?;
        // Secrets never reach a disk.
        let is_secret = volume.secret.is_some() || volume.projected.is_some();
        blocking(move || {
            if is_secret {
                mounts::memory(&path, None)?;
            }
            std::fs::create_dir_all(&path).map_err(Error::io(&path))?;
            atomic::write(&path, &payload, group).map(drop)
        })
        .await
    }

    async fn payload(&self, pod: &Pod, volume: &Volume, facts: &Facts) -> Result<Payload> {
        let namespace = pod::namespace(pod);
        if let Some(source) = &volume.config_map {
            let found: Option<ConfigMap> = self.objects.get(namespace, &source.name).await?;
            let selection = Selection {
                items: source.items.as_ref(),
                default_mode: payload::mode(source.default_mode, 0o644),
                is_optional: source.optional.unwrap_or(false),
            };
            return payload::config_map(&source.name, found.as_ref(), selection);
        }
        if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            let found: Option<Secret> = self.objects.get(namespace, name).await?;
            let selection = Selection {
                items: source.items.as_ref(),
                default_mode: payload::mode(source.default_mode, 0o644),
                is_optional: source.optional.unwrap_or(false),
            };
            return payload::secret(name, found.as_ref(), selection);
        }
        if let Some(source) = &volume.downward_api {
            let items = source.items.as_deref().unwrap_or_default();
            let mode = payload::mode(source.default_mode, 0o644);
            return payload::downward(pod, items, mode, facts);
        }
        match &volume.projected {
            Some(source) => self.projected(pod, source, facts).await,
            None => Err(Error::Volume("this kind of volume is not supported".to_owned())),
        }
    }

    async fn projected(
        &self,
        pod: &Pod,
        source: &ProjectedVolumeSource,
        facts: &Facts,
    ) -> Result<Payload> {
        let namespace = pod::namespace(pod);
        let default_mode = payload::mode(source.default_mode, 0o644);
        let mut files = Payload::new();
        for part in source.sources.iter().flatten() {
            if let Some(wanted) = &part.service_account_token {
                let content = self.tokens.get(pod, wanted).await?.into_bytes();
                // Readable by the one who runs, or by the group that was asked for; else by its user.
                let mode = token_mode(pod, default_mode);
                files.insert(wanted.path.clone(), atomic::File { content, mode });
            }
            if let Some(part) = &part.config_map {
                let found: Option<ConfigMap> = self.objects.get(namespace, &part.name).await?;
                let is_optional = part.optional.unwrap_or(false);
                let selection = Selection { items: part.items.as_ref(), default_mode, is_optional };
                files.extend(payload::config_map(&part.name, found.as_ref(), selection)?);
            }
            if let Some(part) = &part.secret {
                let found: Option<Secret> = self.objects.get(namespace, &part.name).await?;
                let is_optional = part.optional.unwrap_or(false);
                let selection = Selection { items: part.items.as_ref(), default_mode, is_optional };
                files.extend(payload::secret(&part.name, found.as_ref(), selection)?);
            }
            if let Some(part) = &part.downward_api {
                let items = part.items.as_deref().unwrap_or_default();
                files.extend(payload::downward(pod, items, default_mode, facts)?);
            }
        }
        Ok(files)
    }

    /// The host path that a container mounts: the volume, or the part of it that `subPath` names.
    pub(crate) async fn mount_source(
        &self,
        pod: &Pod,
        container: &str,
        index: usize,
        mount: &VolumeMount,
        variables: &[(String, String)],
    ) -> Result<PathBuf> {
        let mut volumes = pod::spec(pod).volumes.iter().flatten();
        let volume = volumes.find(|volume| volume.name == mount.name).ok_or_else(|| {
            Error::ContainerConfig(format!("volume \"{}\" not found", mount.name))
        })?;
        let root = self.path(pod, volume);
        let Some(part) = sub_path(mount, variables)? else { return Ok(root) };
        let parts = self.config.pod_dir(pod::uid(pod)).join("volume-subpaths");
        let target = parts.join(&mount.name).join(container).join(index.to_string());
        let made = target.clone();
        let result = blocking(move || mounts::part(&root, &part, &made)).await;
        result.map_err(|error| {
            // The container's owner is not told what is on this machine.
            tracing::warn!(pod = pod::key(pod), container, %error, "part of a volume not mounted");
            Error::ContainerConfig(format!(
                "failed to prepare subPath for volumeMount {:?} of container {container:?}",
                mount.name
            ))
        })?;
        Ok(target)
    }

    /// Unmounts and deletes the volumes of a pod.
    pub(crate) async fn remove(&self, uid: &str) -> Result<()> {
        self.tokens.forget(uid);
        let directory = self.config.pod_dir(uid);
        blocking(move || {
            mounts::remove(&directory.join("volume-subpaths"))?;
            mounts::remove(&directory.join("volumes"))
        })
        .await
    }

    /// Deletes everything that was kept for a pod.
    pub(crate) async fn remove_pod_dir(&self, uid: &str) -> Result<()> {
        let directory = self.config.pod_dir(uid);
        blocking(move || mounts::remove(&directory)).await
    }

    /// Uids of the pods for which something is kept.
    pub(crate) fn known(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.config.pods_dir()).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

/// The part of a volume that a mount is about, if not the whole.
fn sub_path(mount: &VolumeMount, variables: &[(String, String)]) -> Result<Option<String>> {
    let refuse = |why: String| Err(Error::ContainerConfig(why));
    let expression = mount.sub_path_expr.as_deref().filter(|text| !text.is_empty());
    let part = match expression {
        None => mount.sub_path.clone().unwrap_or_default(),
        Some(expression) => {
            let missing = std::cell::RefCell::new(BTreeSet::new());
            let part = env::expand(expression, |name| {
                let found = variables.iter().find(|(key, _)| key == name);
                let value = found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty());
                if value.is_none() {
                    missing.borrow_mut().insert(name.to_owned());
                }
                value
            });
            let missing: Vec<String> = missing.into_inner().into_iter().collect();
            if !missing.is_empty() {
                return refuse(format!("missing value for {}", missing.join(", ")));
            }
            part
        }
    };
    if part.starts_with('/') {
        return refuse(format!("error SubPath `{part}` must not be an absolute path"));
    }
    if part.split('/').any(|name| name == "..") {
        return refuse(format!("unable to provision SubPath `{part}`: must not contain '..'"));
    }
    Ok(Some(part).filter(|part| !part.is_empty()))
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod::spec(pod).security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

fn token_mode(pod: &Pod, default_mode: u32) -> u32 {
    match fs_group(pod) {
        Some(_) => 0o640,
        None => default_mode,
    }
}

fn empty_dir(path: &Path, source: &EmptyDirVolumeSource, group: Option<u32>) -> Result<()> {
    if path.exists() && (source.medium.as_deref() != Some("Memory") || mounts::is_mounted(path)) {
        return Ok(());
    }
    match source.medium.as_deref() {
        Some("Memory") => {
            mounts::memory(path, source.size_limit.as_ref().and_then(amount::units))?;
        }
        _ => std::fs::create_dir_all(path).map_err(Error::io(path))?,
    }
    let mut mode = 0o777;
    if let Some(group) = group {
        chown(path, None, Some(group)).map_err(Error::io(path))?;
        // New files belong to the group too.
        mode |= 0o2000;
    }
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).map_err(Error::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_of_a_volume_is_named_by_what_is_known_and_stays_within() {
        let variables = [("UP", ".."), ("ROOT", "/tmp"), ("NAME", "web"), ("EMPTY", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let check = |plain: &str, expression: &str, expected: &str| {
            let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let mount = VolumeMount {
                sub_path: text(plain),
                sub_path_expr: text(expression),
                ..Default::default()
            };
            let said = match sub_path(&mount, &variables) {
                Ok(part) => part.unwrap_or_default(),
                Err(error) => {
                    assert_eq!(error.reason(), "CreateContainerConfigError");
                    error.to_string()
                }
            };
            assert_eq!(said, expected, "{plain} {expression}");
        };
        check("", "", "");
        check("a/b", "", "a/b");
        check("", "logs/$(NAME)", "logs/web");
        check("", "$(UP)", "unable to provision SubPath `..`: must not contain '..'");
        check("", "$(ROOT)", "error SubPath `/tmp` must not be an absolute path");
        check("", "$(WHO)/$(EMPTY)", "missing value for EMPTY, WHO");
    }
}
