//! A served kind: its names, verbs, subresources, schema and strategy, in one value.
//!
//! Routes, discovery, OpenAPI, storage keys, tables and RBAC names all follow from it.

use std::borrow::Cow;
use std::sync::Arc;

use master_api::status::FieldError;
use serde_json::Value;

use crate::custom::Custom;
use crate::objectmeta;
use crate::rules;
use crate::schema::Schema;
use crate::strategy::Strategy;

/// Text that is static for built-in kinds and owned for custom ones.
pub type Text = Cow<'static, str>;

/// The verbs of a kind that is stored.
pub const STORED_VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// One kind in one version.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Empty for the core group.
    pub group: Text,
    pub version: Text,
    pub kind: Text,
    pub plural: Text,
    pub singular: Text,
    pub short: Vec<Text>,
    pub categories: Vec<Text>,
    pub namespaced: bool,
    pub verbs: Vec<Text>,
    pub subresources: Vec<Subresource>,
    pub schema: Arc<Schema>,
    pub strategy: Arc<dyn Strategy>,
    /// Group and plural whose storage this resource shares: `events.k8s.io/v1` events are stored as
    /// core events. `None`: its own.
    pub stored_as: Option<(Text, Text)>,
    /// Of kinds that users define.
    pub custom: Option<Custom>,
}

impl Resource {
    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        master_api::meta::join_api_version(&self.group, &self.version)
    }

    /// `PodList`.
    pub fn list_kind(&self) -> String {
        match &self.custom {
            Some(custom) => custom.kind.list_name.clone(),
            None => format!("{}List", self.kind),
        }
    }

    /// Whether objects of the kind are kept; reviews, bindings and component statuses are only answered.
    pub fn is_stored(&self) -> bool {
        self.can("watch")
    }

    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// Group and plural under which objects are stored, read and authorized companions named.
    pub fn storage(&self) -> (&str, &str) {
        match &self.stored_as {
            Some((group, plural)) => (group, plural),
            None => (&self.group, &self.plural),
        }
    }

    /// Whether an object that was stored at `revision` is served byte for byte as it is stored.
    pub fn serves_as_stored(&self, revision: i64) -> bool {
        match &self.custom {
            Some(custom) => custom.kind.serves_as_stored(revision),
            None => self.stored_as.is_none(),
        }
    }

    /// Whether an object is stored just as it is served.
    pub fn stores_as_served(&self) -> bool {
        let of_custom = |custom: &Custom| custom.kind.version == custom.kind.storage_version;
        self.stored_as.is_none() && self.custom.as_ref().is_none_or(of_custom)
    }

    pub fn has(&self, subresource: &Subresource) -> bool {
        self.subresources.contains(subresource)
    }

    /// The rules that hold for every object, then those of the kind. An address that is there stays as it is written.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = objectmeta::validate(self, new, old);
        errors.extend(self.strategy.validate(new, old));
        if let Some(old) = old {
            errors.retain(|error| !(rules::is_about_form(error) && holds(old, &error.bad_value)));
        }
        errors
    }
}

/// Whether a value stands anywhere within an object.
fn holds(object: &Value, value: &Value) -> bool {
    match object {
        Value::Object(fields) => fields.values().any(|field| holds(field, value)),
        Value::Array(items) => items.iter().any(|item| holds(item, value)),
        one => one == value,
    }
}

/// A path below an object, with a meaning of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subresource {
    Approval,
    Attach,
    Binding,
    EphemeralContainers,
    Eviction,
    Exec,
    Finalize,
    Log,
    PortForward,
    Proxy,
    Resize,
    Scale,
    Status,
    Token,
}

impl Subresource {
    /// The last part of the path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Attach => "attach",
            Self::Binding => "binding",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Eviction => "eviction",
            Self::Exec => "exec",
            Self::Finalize => "finalize",
            Self::Log => "log",
            Self::PortForward => "portforward",
            Self::Proxy => "proxy",
            Self::Resize => "resize",
            Self::Scale => "scale",
            Self::Status => "status",
            Self::Token => "token",
        }
    }

    /// Group, version and kind of the body where it is not the parent's.
    pub fn body(self, parent: &Resource) -> (Text, Text, Text) {
        let fixed = |group: &'static str, version: &'static str, kind: &'static str| {
            (Text::from(group), Text::from(version), Text::from(kind))
        };
        let proxy = if parent.kind == "Node" {
            "NodeProxyOptions"
        } else if parent.kind == "Service" {
            "ServiceProxyOptions"
        } else {
            "PodProxyOptions"
        };
        match self {
            Self::Approval
            | Self::EphemeralContainers
            | Self::Finalize
            | Self::Log
            | Self::Resize
            | Self::Status => (parent.group.clone(), parent.version.clone(), parent.kind.clone()),
            Self::Attach => fixed("", "v1", "PodAttachOptions"),
            Self::Exec => fixed("", "v1", "PodExecOptions"),
            Self::PortForward => fixed("", "v1", "PodPortForwardOptions"),
            Self::Proxy => fixed("", "v1", proxy),
            Self::Binding => fixed("", "v1", "Binding"),
            Self::Eviction => fixed("policy", "v1", "Eviction"),
            Self::Scale => fixed("autoscaling", "v1", "Scale"),
            Self::Token => fixed("authentication.k8s.io", "v1", "TokenRequest"),
        }
    }

    /// The verbs that discovery lists.
    pub fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::Approval
            | Self::EphemeralContainers
            | Self::Resize
            | Self::Scale
            | Self::Status => &["get", "patch", "update"],
            Self::Attach | Self::Exec | Self::PortForward => &["create", "get"],
            Self::Binding | Self::Eviction | Self::Token => &["create"],
            Self::Finalize => &["update"],
            Self::Log => &["get"],
            Self::Proxy => &["create", "delete", "get", "patch", "update"],
        }
    }
}
