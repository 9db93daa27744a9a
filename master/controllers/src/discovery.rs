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

/// Every kind once, in the first of its group's versions that serves it. The second part tells which group
/// versions could not be asked: what they serve is unknown, not absent.
pub(crate) async fn discover(client: &Client) -> Result<(Vec<Served>, Vec<String>), Error> {
    let late = |_| Error::TooLate("discovery");
    let core =
        timeout(RPC_DEADLINE, client.list_core_api_resources("v1")).await.map_err(late)??;
    let mut served = kinds("", "v1", core);
    let groups = timeout(RPC_DEADLINE, client.list_api_groups()).await.map_err(late)??;
    let mut failed = Vec::new();
    for group in groups.groups {
        let mut found: Vec<Served> = Vec::new();
        for version in &group.versions {
            let asked = client.list_api_group_resources(&version.group_version);
            match timeout(RPC_DEADLINE, asked).await {
                Ok(Ok(list)) => {
                    let mut more = kinds(&group.name, &version.version, list);
                    more.retain(|kind| {
                        !found.iter().any(|known| known.resource.plural == kind.resource.plural)
                    });
                    found.append(&mut more);
                }
                Ok(Err(_)) | Err(_) => failed.push(version.group_version.clone()),
            }
        }
        served.append(&mut found);
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
