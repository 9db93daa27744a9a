//! Images for containers: present, pulled, or waited for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use node_cri::{SharedRuntime, v1};
use parking_lot::Mutex;
use store_env::clock::SharedClock;

use crate::backoff::Backoff;
use crate::container::Image;
use crate::error::{Error, Result};
use crate::events::Recorder;
use crate::objects::Objects;
use crate::pod;

/// Failed pulls by image: the back-off, when each failed, in which words.
#[derive(Debug)]
struct Failures {
    backoff: Backoff,
    last: BTreeMap<String, (u64, String)>,
}

/// Brings images to this node, one failed pull at a time.
#[derive(Debug)]
pub(crate) struct Images {
    runtime: SharedRuntime,
    objects: Objects,
    clock: SharedClock,
    events: Recorder,
    failures: Mutex<Failures>,
}

impl Images {
    pub(crate) fn new(
        runtime: SharedRuntime,
        objects: Objects,
        clock: SharedClock,
        events: Recorder,
    ) -> Self {
        let failures = Failures { backoff: Backoff::kubelet(), last: BTreeMap::new() };
        let failures = Mutex::new(failures);
        Self { runtime, objects, clock, events, failures }
    }

    /// The image of a container, pulled if its policy says so.
    pub(crate) async fn ensure(&self, pod: &Pod, container: &Container) -> Result<Image> {
        let name = container.image.as_deref().unwrap_or_default();
        if name.is_empty() || name.contains(char::is_whitespace) || name.contains("//") {
            return Err(Error::InvalidImage(name.to_owned()));
        }
        let present = self.runtime.image_status(name).await?;
        let event = |reason: &str, text: String| {
            self.events.normal(pod, Some(&container.name), reason, text);
        };
        match (policy(container), present) {
            ("Never", None) => {
                let error = Error::ImageNeverPull(name.to_owned());
                self.events.warning(pod, Some(&container.name), error.reason(), error.to_string());
                Err(error)
            }
            // An image that no registry has named came from an archive: there is nothing newer to pull.
            ("Always", Some(found)) if found.repo_digests.is_empty() => {
                event("Pulled", format!("Container image {name:?} already present on machine"));
                Ok(image(&found))
            }
            ("Always", _) | (_, None) => self.pull(pod, container, name).await,
            (_, Some(found)) => {
                event("Pulled", format!("Container image {name:?} already present on machine"));
                Ok(image(&found))
            }
        }
    }

    async fn pull(&self, pod: &Pod, container: &Container, name: &str) -> Result<Image> {
        let now_ms = self.clock.unix_ms();
        {
            let failures = self.failures.lock();
            if let Some((failed_ms, message)) = failures.last.get(name)
                && failures.backoff.remaining_ms(name, *failed_ms, now_ms) > 0
            {
                let error =
                    Error::ImageBackOff { image: name.to_owned(), message: message.clone() };
                let text = format!("Back-off pulling image {name:?}");
                self.events.normal(pod, Some(&container.name), "BackOff", text);
                return Err(error);
            }
        }
        let text = format!("Pulling image {name:?}");
        self.events.normal(pod, Some(&container.name), "Pulling", text);
        let auth = self.credentials(pod, name).await;
        let pulled = self.runtime.pull_image(name, auth).await;
        let done_ms = self.clock.unix_ms();
        let status = match pulled {
            Ok(_) => self.runtime.image_status(name).await?,
            Err(error) => return Err(self.failed(pod, container, name, &error, done_ms)),
        };
        let mut failures = self.failures.lock();
        failures.backoff.reset(name);
        failures.last.remove(name);
        let took = done_ms.saturating_sub(now_ms);
        let text = format!("Successfully pulled image {name:?} in {took}ms");
        self.events.normal(pod, Some(&container.name), "Pulled", text);
        status
            .as_ref()
            .map(image)
            .ok_or_else(|| Error::ImagePull(format!("{name} is not there after its pull")))
    }

    fn failed(
        &self,
        pod: &Pod,
        container: &Container,
        name: &str,
        error: &node_cri::Error,
        now_ms: u64,
    ) -> Error {
        let message = error.to_string();
        let mut failures = self.failures.lock();
        let failed_ms = failures.last.get(name).map_or(now_ms, |(failed_ms, _)| *failed_ms);
        failures.backoff.tried(name, failed_ms, now_ms);
        failures.last.insert(name.to_owned(), (now_ms, message.clone()));
        let text = format!("Failed to pull image {name:?}: {message}");
        self.events.warning(pod, Some(&container.name), "Failed", text);
        Error::ImagePull(message)
    }

    /// When the pull of some image of the pod may be tried again.
    pub(crate) fn retry_ms(&self, pod: &Pod) -> Option<u64> {
        let failures = self.failures.lock();
        let now_ms = self.clock.unix_ms();
        let names = pod::containers(pod).filter_map(|(_, container)| container.image.as_deref());
        let waits = names.filter_map(|name| {
            let (failed_ms, _) = failures.last.get(name)?;
            Some(now_ms + failures.backoff.remaining_ms(name, *failed_ms, now_ms))
        });
        waits.min()
    }

    /// The registry's credentials among the pod's pull secrets.
    async fn credentials(&self, pod: &Pod, image: &str) -> Option<v1::AuthConfig> {
        let host = registry(image);
        for reference in pod::spec(pod).image_pull_secrets.iter().flatten() {
            let found = self.objects.get::<Secret>(pod::namespace(pod), &reference.name).await;
            let data = found.ok().flatten().and_then(|secret| secret.data)?;
            let config = data.get(".dockerconfigjson")?;
            let config: serde_json::Value = serde_json::from_slice(&config.0).ok()?;
            for (server, entry) in config["auths"].as_object().into_iter().flatten() {
                if server.contains(host) {
                    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
                    return Some(v1::AuthConfig {
                        username: text("username"),
                        password: text("password"),
                        auth: text("auth"),
                        ..Default::default()
                    });
                }
            }
        }
        None
    }
}

fn image(found: &v1::Image) -> Image {
    Image {
        id: found.id.clone(),
        uid: found.uid.as_ref().map(|uid| uid.value),
        username: found.username.clone(),
    }
}

/// The pull policy: what the container says, or what its tag means.
fn policy(container: &Container) -> &str {
    let image = container.image.as_deref().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or(image);
    let is_latest =
        !last.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    let default = if is_latest { "Always" } else { "IfNotPresent" };
    container.image_pull_policy.as_deref().unwrap_or(default)
}

fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}
