//! Objects as masters tell them, under the keys that the store has for them.

use anyhow::Context as _;
use http::Request;
use kube::Client;
use serde_json::Value;

/// What is watched on every master and compared in the end: where it is asked for, and where it is kept.
pub(super) const KINDS: &[Kind] = &[
    Kind { path: "/api/v1/configmaps", prefix: "/registry/core/configmaps/" },
    Kind { path: "/api/v1/namespaces", prefix: "/registry/core/namespaces/" },
    Kind { path: "/api/v1/nodes", prefix: "/registry/core/nodes/" },
    Kind { path: "/api/v1/pods", prefix: "/registry/core/pods/" },
    Kind { path: "/api/v1/serviceaccounts", prefix: "/registry/core/serviceaccounts/" },
    Kind { path: "/apis/apps/v1/deployments", prefix: "/registry/apps/deployments/" },
    Kind { path: "/apis/apps/v1/replicasets", prefix: "/registry/apps/replicasets/" },
    Kind { path: "/apis/apps/v1/statefulsets", prefix: "/registry/apps/statefulsets/" },
];

#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) path: &'static str,
    pub(super) prefix: &'static str,
}

/// An object as it was told: its key, the revision that it is of, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) key: String,
    pub(super) revision: i64,
    pub(super) text: String,
}

impl Kind {
    /// All that there are now, and as of which revision that is.
    pub(super) async fn list(self, client: &Client) -> anyhow::Result<(i64, Vec<Told>)> {
        let list: Value = client.request(Request::get(self.path).body(Vec::new())?).await?;
        let revision = revision(&list).context("a list has a resourceVersion")?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let told = items.into_iter().map(|item| self.told(item).context("a strange object"));
        Ok((revision, told.collect::<anyhow::Result<_>>()?))
    }

    /// What an object says; a list leaves its kind away, and a watch does not.
    pub(super) fn told(self, mut object: Value) -> Option<Told> {
        let fields = object.as_object_mut()?;
        fields.remove("apiVersion");
        fields.remove("kind");
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str()?;
        let key = match metadata["namespace"].as_str() {
            Some(namespace) => format!("{}{namespace}/{name}", self.prefix),
            None => format!("{}{name}", self.prefix),
        };
        Some(Told { key, revision: revision(&object)?, text: object.to_string() })
    }
}

/// The resourceVersion of an object, or of a list.
pub(super) fn revision(object: &Value) -> Option<i64> {
    object["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn object_of_a_watch_is_that_of_a_list() {
        let kind = KINDS[0];
        let metadata = json!({"name": "a", "namespace": "b", "resourceVersion": "7"});
        let listed = kind.told(json!({"metadata": metadata, "data": {"x": "y"}})).unwrap();
        let watched = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"x": "y"}});
        assert_eq!(Some(&listed), kind.told(watched).as_ref());
        assert_eq!((&*listed.key, listed.revision), ("/registry/core/configmaps/b/a", 7));
        assert_eq!(kind.told(json!({"metadata": {"name": "a"}})), None, "no version");
    }
}
