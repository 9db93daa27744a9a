//! Single objects from the API, each read with a deadline.

use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod};
use kube::Api;
use serde::de::DeserializeOwned;

use crate::env::{self, Sources};
use crate::error::{Error, Result};
use crate::pod;

const DEADLINE: Duration = Duration::from_secs(10);

/// Reads config maps, secrets and the like; refuses when the node has no masters.
#[derive(Clone)]
pub(crate) struct Objects {
    client: Option<kube::Client>,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("has_masters", &self.client.is_some()).finish()
    }
}

impl Objects {
    pub(crate) fn new(client: Option<kube::Client>) -> Self {
        Self { client }
    }

    /// The client of the masters, or why `what` cannot be done without one.
    pub(crate) fn client(&self, what: &str) -> Result<kube::Client> {
        self.client.clone().ok_or_else(|| Error::NoMasters(what.to_owned()))
    }

    /// The object, or `None` where it does not exist.
    pub(crate) async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let what = format!("{} {namespace}/{name}", K::kind(&()).to_lowercase());
        let api: Api<K> = Api::namespaced(self.client(&what)?, namespace);
        within(&what, api.get_opt(name)).await
    }

    /// What a container's environment refers to.
    pub(crate) async fn sources(&self, pod: &Pod, container: &Container) -> Result<Sources> {
        let namespace = pod::namespace(pod);
        let (config_maps, secrets) = env::references(container);
        let mut sources = Sources::default();
        for name in config_maps {
            let found = self.get::<ConfigMap>(namespace, &name).await?;
            sources.config_maps.insert(name, found);
        }
        for name in secrets {
            let found = self.get(namespace, &name).await?;
            sources.secrets.insert(name, found);
        }
        Ok(sources)
    }
}

/// Awaits an API call for at most ten seconds.
pub(crate) async fn within<T>(
    what: &str,
    call: impl Future<Output = std::result::Result<T, kube::Error>>,
) -> Result<T> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(answer) => answer.map_err(Error::api(what)),
        Err(_) => Err(Error::Api {
            what: what.to_owned(),
            source: Box::new(kube::Error::Service("no answer within 10 s".into())),
        }),
    }
}
