//! A client of this server within its own process: no sockets, no TLS, the same rules.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::BodyExt;
use master_api::access::Identity;
use master_client::informer::{Keeper, Kept};
use master_registry::Resource;
use store_handle::Term;

use super::Server;
use crate::cacher::table_name;
use crate::chain;

impl Server {
    /// A client that is `identity`. With a `fence` its writes happen in that term or not at all; it
    /// passes authorization, admission and validation like any other.
    pub fn client(self: &Arc<Self>, identity: Identity, fence: Option<Term>) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (server, identity) = (server.clone(), identity.clone());
            async move {
                let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
                Ok::<_, Infallible>(chain::in_process(server, identity, fence, request).await)
            }
        });
        kube::Client::new(service, "default")
    }

    /// Finds the objects of a built-in resource as this server keeps them, for informers in this process. None for a
    /// resource that is stored otherwise than it is served.
    pub fn keeper(self: &Arc<Self>, group: &str, plural: &str) -> Option<Keeper> {
        let served = self.served();
        let is_it = |one: &&Arc<Resource>| one.group == group && one.plural == plural;
        let mut versions = served.catalog.all().iter().filter(is_it);
        let resource =
            versions.next().filter(|one| one.custom.is_none() && one.stores_as_served())?;
        let is_only = versions.next().is_none();
        let (server, table) = (self.clone(), table_name(&resource.group, &resource.plural));
        let keeper = move |key: &str, version: &str| {
            let entry = server.cacher.entry(&table, key)?;
            let is_meant = entry.revision.to_string() == version;
            is_meant.then(|| Kept { key: entry.key.clone(), text: entry.stored().clone() })
        };
        is_only.then(|| -> Keeper { Arc::new(keeper) })
    }
}
