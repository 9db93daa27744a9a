//! Which kinds are served: one line each, in the order of discovery.

use std::any::TypeId;
use std::sync::Arc;

use k8s_openapi::api::{
    admissionregistration::v1 as admission_v1, apps::v1 as apps_v1, authentication::v1 as authn_v1,
    authorization::v1 as authz_v1, autoscaling::v1 as autoscaling_v1,
    autoscaling::v2 as autoscaling_v2, batch::v1 as batch_v1, certificates::v1 as certificates_v1,
    coordination::v1 as coordination_v1, core::v1 as core_v1, discovery::v1 as discovery_v1,
    events::v1 as events_v1, flowcontrol::v1 as flowcontrol_v1, networking::v1 as networking_v1,
    node::v1 as node_v1, policy::v1 as policy_v1, rbac::v1 as rbac_v1, resource::v1 as resource_v1,
    scheduling::v1 as scheduling_v1, storage::v1 as storage_v1,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as extensions_v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta_v1;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as registration_v1;
use k8s_openapi::{NamespaceResourceScope, Resource as Described};
use schemars::{JsonSchema, SchemaGenerator};

use crate::plain::Plain;
use crate::resource::{Resource, STORED_VERBS, Subresource};
use crate::schema::Schema;
use crate::strategy::Strategy;
use crate::{
    apiextensions, apps, autoscaling, batch, certificates, core, devices, discovery, flowcontrol,
    networking, policy, rbac, rows, storage,
};

/// A line of the list: a resource, and how to ask for its type's schema.
struct Kind {
    resource: Resource,
    register: fn(&mut SchemaGenerator),
}

impl Kind {
    fn of<K>(strategy: impl Strategy + 'static) -> Self
    where
        K: Described<Scope: 'static> + JsonSchema,
    {
        let namespaced = TypeId::of::<K::Scope>() == TypeId::of::<NamespaceResourceScope>();
        let resource = Resource {
            group: K::GROUP.into(),
            version: K::VERSION.into(),
            kind: K::KIND.into(),
            plural: K::URL_PATH_SEGMENT.into(),
            singular: K::KIND.to_lowercase().into(),
            short: Vec::new(),
            categories: Vec::new(),
            namespaced,
            verbs: STORED_VERBS.map(Into::into).to_vec(),
            subresources: Vec::new(),
            schema: Arc::new(Schema::builtin(K::schema_name().as_ref())),
            strategy: Arc::new(strategy),
            stored_as: None,
            custom: None,
        };
        Self { resource, register: register::<K> }
    }

    /// A kind that is only created and answered, never kept.
    fn answered<K>() -> Self
    where
        K: Described<Scope: 'static> + JsonSchema,
    {
        let mut kind = Self::of::<K>(Plain::bare());
        kind.resource.verbs = vec!["create".into()];
        kind
    }

    /// A kind that is only looked at, made anew for each question.
    fn looked_at<K>(strategy: impl Strategy + 'static) -> Self
    where
        K: Described<Scope: 'static> + JsonSchema,
    {
        let mut kind = Self::of::<K>(strategy);
        kind.resource.verbs = vec!["get".into(), "list".into()];
        kind
    }

    fn short(mut self, names: &[&'static str]) -> Self {
        self.resource.short = names.iter().map(|name| (*name).into()).collect();
        self
    }

    /// In `kubectl get all`.
    fn all(mut self) -> Self {
        self.resource.categories = vec!["all".into()];
        self
    }

    /// Objects are deleted one by one only.
    fn one_by_one(mut self) -> Self {
        self.resource.verbs.retain(|verb| verb != "deletecollection");
        self
    }

    fn categories(mut self, names: &[&'static str]) -> Self {
        self.resource.categories = names.iter().map(|name| (*name).into()).collect();
        self
    }

    fn with(mut self, subresources: &[Subresource]) -> Self {
        self.resource.subresources = subresources.to_vec();
        self
    }

    fn stored_as(mut self, group: &'static str, plural: &'static str) -> Self {
        self.resource.stored_as = Some((group.into(), plural.into()));
        self
    }
}

fn register<K: JsonSchema>(generator: &mut SchemaGenerator) {
    drop(generator.subschema_for::<K>());
}

/// Every served kind and version, in the order of discovery.
pub fn builtin() -> Vec<Arc<Resource>> {
    kinds().into_iter().map(|kind| Arc::new(kind.resource)).collect()
}

/// Asks for the schema of every kind, and of the bodies that subresources and replies have.
pub(crate) fn register_types(generator: &mut SchemaGenerator) {
    for kind in kinds() {
        (kind.register)(generator);
    }
    for register in [
        register::<autoscaling_v1::Scale>,
        register::<policy_v1::Eviction>,
        register::<authn_v1::TokenRequest>,
        register::<core_v1::Binding>,
        register::<meta_v1::DeleteOptions>,
        register::<meta_v1::Status>,
        register::<meta_v1::ListMeta>,
        register::<meta_v1::APIResourceList>,
        register::<meta_v1::APIGroup>,
    ] {
        register(generator);
    }
}

fn kinds() -> Vec<Kind> {
    let mut kinds = core_kinds();
    kinds.extend(apps_kinds());
    kinds.extend(review_kinds());
    kinds.extend(cluster_kinds());
    kinds
}

fn core_kinds() -> Vec<Kind> {
    use Subresource::{
        Attach, Binding, EphemeralContainers, Eviction, Exec, Finalize, Log, PortForward, Proxy,
        Resize, Scale, Status, Token,
    };
    let pod_paths = [
        Attach,
        Binding,
        EphemeralContainers,
        Eviction,
        Exec,
        Log,
        PortForward,
        Proxy,
        Resize,
        Status,
    ];
    vec![
        Kind::answered::<core_v1::Binding>(),
        Kind::looked_at::<core_v1::ComponentStatus>(core::componentstatuses::COMPONENT_STATUSES)
            .short(&["cs"]),
        Kind::of::<core_v1::ConfigMap>(core::configmaps::ConfigMaps).short(&["cm"]),
        Kind::of::<core_v1::Endpoints>(core::endpoints::Endpoints).short(&["ep"]),
        Kind::of::<core_v1::Event>(core::events::Events).short(&["ev"]),
        Kind::of::<core_v1::LimitRange>(core::limitranges::LimitRanges).short(&["limits"]),
        Kind::of::<core_v1::Namespace>(core::namespaces::Namespaces)
            .short(&["ns"])
            .one_by_one()
            .with(&[Finalize, Status]),
        Kind::of::<core_v1::Node>(core::nodes::Nodes).short(&["no"]).with(&[Proxy, Status]),
        Kind::of::<core_v1::PersistentVolumeClaim>(
            core::persistentvolumeclaims::PersistentVolumeClaims,
        )
        .short(&["pvc"])
        .with(&[Status]),
        Kind::of::<core_v1::PersistentVolume>(core::persistentvolumes::PersistentVolumes)
            .short(&["pv"])
            .with(&[Status]),
        Kind::of::<core_v1::Pod>(core::pods::Pods).short(&["po"]).all().with(&pod_paths),
        Kind::of::<core_v1::PodTemplate>(core::podtemplates::PodTemplates),
        Kind::of::<core_v1::ReplicationController>(
            core::replicationcontrollers::ReplicationControllers,
        )
        .short(&["rc"])
        .all()
        .with(&[Scale, Status]),
        Kind::of::<core_v1::ResourceQuota>(core::resourcequotas::ResourceQuotas)
            .short(&["quota"])
            .with(&[Status]),
        Kind::of::<core_v1::Secret>(core::secrets::Secrets),
        Kind::of::<core_v1::ServiceAccount>(rows::SERVICE_ACCOUNTS).short(&["sa"]).with(&[Token]),
        Kind::of::<core_v1::Service>(core::services::Services)
            .short(&["svc"])
            .all()
            .with(&[Proxy, Status]),
    ]
}

fn apps_kinds() -> Vec<Kind> {
    use Subresource::{Scale, Status};
    vec![
        Kind::of::<apps_v1::ControllerRevision>(rows::CONTROLLER_REVISIONS),
        Kind::of::<apps_v1::DaemonSet>(apps::daemonsets::DaemonSets)
            .short(&["ds"])
            .all()
            .with(&[Status]),
        Kind::of::<apps_v1::Deployment>(apps::deployments::Deployments)
            .short(&["deploy"])
            .all()
            .with(&[Scale, Status]),
        Kind::of::<apps_v1::ReplicaSet>(apps::replicasets::ReplicaSets)
            .short(&["rs"])
            .all()
            .with(&[Scale, Status]),
        Kind::of::<apps_v1::StatefulSet>(apps::statefulsets::StatefulSets)
            .short(&["sts"])
            .all()
            .with(&[Scale, Status]),
        Kind::of::<autoscaling_v2::HorizontalPodAutoscaler>(rows::AUTOSCALERS)
            .short(&["hpa"])
            .all()
            .with(&[Status]),
        Kind::of::<autoscaling_v1::HorizontalPodAutoscaler>(autoscaling::OldAutoscalers)
            .short(&["hpa"])
            .all()
            .with(&[Status])
            .stored_as("autoscaling", "horizontalpodautoscalers"),
        Kind::of::<batch_v1::CronJob>(batch::cronjobs::CronJobs)
            .short(&["cj"])
            .all()
            .with(&[Status]),
        Kind::of::<batch_v1::Job>(batch::jobs::Jobs).all().with(&[Status]),
    ]
}

/// Questions that are answered by the reply to their creation.
fn review_kinds() -> Vec<Kind> {
    vec![
        Kind::answered::<authn_v1::SelfSubjectReview>(),
        Kind::answered::<authn_v1::TokenReview>(),
        Kind::answered::<authz_v1::LocalSubjectAccessReview>(),
        Kind::answered::<authz_v1::SelfSubjectAccessReview>(),
        Kind::answered::<authz_v1::SelfSubjectRulesReview>(),
        Kind::answered::<authz_v1::SubjectAccessReview>(),
    ]
}

fn cluster_kinds() -> Vec<Kind> {
    use Subresource::{Approval, Status};
    vec![
        Kind::of::<admission_v1::MutatingAdmissionPolicy>(rows::MUTATING_POLICIES)
            .categories(&["api-extensions"]),
        Kind::of::<admission_v1::MutatingAdmissionPolicyBinding>(rows::ADMISSION_POLICY_BINDINGS)
            .categories(&["api-extensions"]),
        Kind::of::<admission_v1::MutatingWebhookConfiguration>(
            rows::MUTATING_WEBHOOK_CONFIGURATIONS,
        )
        .categories(&["api-extensions"]),
        Kind::of::<admission_v1::ValidatingAdmissionPolicy>(rows::ADMISSION_POLICIES)
            .categories(&["api-extensions"])
            .with(&[Status]),
        Kind::of::<admission_v1::ValidatingAdmissionPolicyBinding>(rows::VALIDATING_BINDINGS)
            .categories(&["api-extensions"]),
        Kind::of::<admission_v1::ValidatingWebhookConfiguration>(rows::WEBHOOK_CONFIGURATIONS)
            .categories(&["api-extensions"]),
        Kind::of::<certificates_v1::CertificateSigningRequest>(
            certificates::certificatesigningrequests::CertificateSigningRequests,
        )
        .short(&["csr"])
        .with(&[Approval, Status]),
        Kind::of::<extensions_v1::CustomResourceDefinition>(
            apiextensions::customresourcedefinitions::Definitions,
        )
        .short(&["crd", "crds"])
        .categories(&["api-extensions"])
        .with(&[Status]),
        Kind::of::<registration_v1::APIService>(rows::API_SERVICES)
            .categories(&["api-extensions"])
            .with(&[Status]),
        Kind::of::<coordination_v1::Lease>(rows::LEASES),
        Kind::of::<discovery_v1::EndpointSlice>(discovery::endpointslices::EndpointSlices),
        Kind::of::<events_v1::Event>(core::events::NewEvents)
            .short(&["ev"])
            .stored_as("", "events"),
        Kind::of::<flowcontrol_v1::FlowSchema>(flowcontrol::FLOW_SCHEMAS).with(&[Status]),
        Kind::of::<flowcontrol_v1::PriorityLevelConfiguration>(flowcontrol::PRIORITY_LEVELS)
            .with(&[Status]),
        Kind::of::<networking_v1::IngressClass>(networking::INGRESS_CLASSES),
        Kind::of::<networking_v1::Ingress>(networking::ingresses::Ingresses)
            .short(&["ing"])
            .with(&[Status]),
        Kind::of::<networking_v1::IPAddress>(networking::IP_ADDRESSES).short(&["ip"]),
        Kind::of::<networking_v1::NetworkPolicy>(networking::networkpolicies::NetworkPolicies)
            .short(&["netpol"]),
        Kind::of::<networking_v1::ServiceCIDR>(networking::SERVICE_CIDRS).with(&[Status]),
        Kind::of::<node_v1::RuntimeClass>(rows::RUNTIME_CLASSES),
        Kind::of::<policy_v1::PodDisruptionBudget>(
            policy::poddisruptionbudgets::PodDisruptionBudgets,
        )
        .short(&["pdb"])
        .with(&[Status]),
        Kind::of::<rbac_v1::ClusterRoleBinding>(rbac::bindings::CLUSTER_ROLE_BINDINGS),
        Kind::of::<rbac_v1::ClusterRole>(rbac::roles::CLUSTER_ROLES),
        Kind::of::<rbac_v1::RoleBinding>(rbac::bindings::ROLE_BINDINGS),
        Kind::of::<rbac_v1::Role>(rbac::roles::ROLES),
        Kind::of::<resource_v1::DeviceClass>(devices::DEVICE_CLASSES),
        Kind::of::<resource_v1::ResourceClaim>(devices::RESOURCE_CLAIMS).with(&[Status]),
        Kind::of::<resource_v1::ResourceClaimTemplate>(devices::RESOURCE_CLAIM_TEMPLATES),
        Kind::of::<resource_v1::ResourceSlice>(devices::RESOURCE_SLICES),
        Kind::of::<scheduling_v1::PriorityClass>(rows::PRIORITY_CLASSES).short(&["pc"]),
        Kind::of::<storage_v1::CSIDriver>(storage::CSI_DRIVERS),
        Kind::of::<storage_v1::CSINode>(storage::CSI_NODES),
        Kind::of::<storage_v1::CSIStorageCapacity>(storage::CSI_STORAGE_CAPACITIES),
        Kind::of::<storage_v1::StorageClass>(storage::STORAGE_CLASSES).short(&["sc"]),
        Kind::of::<storage_v1::VolumeAttachment>(storage::VOLUME_ATTACHMENTS).with(&[Status]),
        Kind::of::<storage_v1::VolumeAttributesClass>(storage::VOLUME_ATTRIBUTES_CLASSES)
            .short(&["vac"]),
    ]
}

#[cfg(test)]
mod tests;
