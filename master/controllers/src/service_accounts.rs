//! Gives each namespace what every pod in it counts on: the `default` service account, and the
//! cluster's certificate authority as a config map.
//!
//! Watches: `Namespace`, `ServiceAccount`, `ConfigMap` (`kube-root-ca.crt`). Writes: the latter two.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::core::ObjectMeta;
use master_client::informer::Store;
use serde::Serialize;
use store_env::task::Group;

use crate::context::Cx;
use crate::controller::{Controller, Requeue};
use crate::error::Error;
use crate::informers::{Known, ROOT_CA};
use crate::owner::{is_terminating, namespace_of};

const DEFAULT: &str = "default";
const DESCRIPTION: &str = "kubernetes.io/description";
const CA_DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver \
    when using internal endpoints such as the internal service IP or kubernetes.default.svc. No \
    other usage is guaranteed across distributions of Kubernetes clusters.";

/// Starts the controller of default service accounts.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    Controller::new("service-account-controller", cx, group)
        .of(&cx.informers.namespaces)
        .watches(&cx.informers.service_accounts, |account| {
            let is_default = account.metadata.name.as_deref() == Some(DEFAULT);
            is_default.then(|| namespace_of(&account.metadata).to_owned()).into_iter().collect()
        })
        .run(2, reconcile_account);
}

/// Starts the publisher of the certificate authority.
pub(crate) fn start_root_ca(cx: &Cx, group: &mut Group) {
    Controller::new("root-ca-certificate-publisher", cx, group)
        .of(&cx.informers.namespaces)
        .watches(&cx.informers.root_cas, |map| vec![namespace_of(&map.metadata).to_owned()])
        .run(2, reconcile_root_ca);
}

fn is_open(namespaces: &Store<Namespace>, name: &str) -> bool {
    namespaces.get(name).is_some_and(|namespace| !is_terminating(&namespace.metadata))
}

/// Creates it; fine if somebody else did, or if the namespace is just going.
async fn create<K: Known + Serialize>(cx: &Cx, object: &K) -> Result<Requeue, Error> {
    match cx.create(object).await {
        Err(error) if error.is_already_exists() || error.is_namespace_terminating() => {}
        result => drop(result?),
    }
    Ok(Requeue::OnChange)
}

async fn reconcile_account(cx: Cx, namespace: String) -> Result<Requeue, Error> {
    let known = cx.informers.service_accounts.get(&format!("{namespace}/{DEFAULT}"));
    if known.is_some() || !is_open(&cx.informers.namespaces, &namespace) {
        return Ok(Requeue::OnChange);
    }
    let metadata = ObjectMeta {
        name: Some(DEFAULT.to_owned()),
        namespace: Some(namespace),
        ..ObjectMeta::default()
    };
    create(&cx, &ServiceAccount { metadata, ..ServiceAccount::default() }).await
}

async fn reconcile_root_ca(cx: Cx, namespace: String) -> Result<Requeue, Error> {
    if !is_open(&cx.informers.namespaces, &namespace) {
        return Ok(Requeue::OnChange);
    }
    let data = BTreeMap::from([("ca.crt".to_owned(), cx.config.root_ca_pem.clone())]);
    let Some(known) = cx.informers.root_cas.get(&format!("{namespace}/{ROOT_CA}")) else {
        let annotations = BTreeMap::from([(DESCRIPTION.to_owned(), CA_DESCRIPTION.to_owned())]);
        let metadata = ObjectMeta {
            name: Some(ROOT_CA.to_owned()),
            namespace: Some(namespace),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        };
        return create(&cx, &ConfigMap { metadata, data: Some(data), ..ConfigMap::default() })
            .await;
    };
    if known.data.as_ref() != Some(&data) {
        cx.replace(&ConfigMap { data: Some(data), ..(*known).clone() }).await?;
    }
    Ok(Requeue::OnChange)
}
