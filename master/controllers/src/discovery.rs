//! Which kinds the API server serves, asked of it: custom ones come and go.

use kube::Client;
use kube::api::ApiResource;
use tokio::time::timeout;

use crate::context::RPC_DEADLINE;
use crate::error::Error;

/// One kind that can be listed and deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) resource: ApiResource,
    pub(crate) is_namespaced: bool,
    pub(crate) verbs: Vec<String>,
}

impl Served {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// `deployments.apps`
    pub(crate) fn name(&self) -> String {
        if self.resource.group.is_empty() {
            return self.resource.plural.clone();
        }
        format!("{}.{}", self.resource.plural, self.resource.group)
    }
}

/// Every kind, each group in its preferred version. The second part tells which group versions
/// could not be asked: what they serve is unknown, not absent.
pub(crate) async fn discover(client: &Client) -> Result<(Vec<Served>, Vec<String>), Error> {
    let late = |_| Error::TooLate("discovery");
    let core =
        timeout(RPC_DEADLINE, client.list_core_api_resources("v1")).await.map_err(late)??;
    let mut served = kinds("", "v1", core);
    let groups = timeout(RPC_DEADLINE, client.list_api_groups()).await.map_err(late)??;
    let mut failed = Vec::new();
    for group in groups.groups {
        let preferred = group.preferred_version.as_ref().or(group.versions.first());
        let Some(version) = preferred else { continue };
        let asked =
            timeout(RPC_DEADLINE, client.list_api_group_resources(&version.group_version)).await;
        match asked {
            Ok(Ok(list)) => served.extend(kinds(&group.name, &version.version, list)),
            Ok(Err(_)) | Err(_) => failed.push(version.group_version.clone()),
        }
    }
    Ok((served, failed))
}

fn kinds(
    group: &str,
    version: &str,
    list: k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList,
) -> Vec<Served> {
    let whole = list.resources.into_iter().filter(|resource| !resource.name.contains('/'));
    whole
        .map(|resource| Served {
            resource: ApiResource {
                group: group.to_owned(),
                version: version.to_owned(),
                api_version: if group.is_empty() {
                    version.to_owned()
                } else {
                    format!("{group}/{version}")
                },
                kind: resource.kind,
                plural: resource.name,
            },
            is_namespaced: resource.namespaced,
            verbs: resource.verbs,
        })
        .collect()
}
