//! Where machines join, where tokens are made, and where a master says how it is.
//!
//! # Path
//! `apiserver/route.rs` → here → `Handle::change_membership`, `master_pki::Authority`
//!
//! # Invariants
//! - Only a bearer of a token for that part joins as a master or as a node.
//! - A certificate says what this desk decides; of the request only the key is used.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use master_api::access::Identity;
use master_api::status::ApiError;
use master_apiserver::route::{Asked, Route};
use master_pki::join::{self, ClusterFacts, JoinReply, JoinRequest, MasterStatus, MemberStatus};
use master_pki::{Authority, JoinToken, Part, Profile, Usage};
use serde_json::{Value, json};
use store_env::clock::SharedClock;
use store_handle::{Handle, Member, MemberId, MembershipChange, ProposeError, Role};

use crate::config::Config;

/// Certificates of nodes live a year.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// A join token can be used for a day.
const TOKEN_LIFETIME_MS: u64 = 86_400_000;
/// The label under which a member publishes the URL of its API.
pub const API_LABEL: &str = "api";
const ADMINISTRATORS: &str = "system:masters";

/// Everything the desk needs.
pub struct Desk {
    pub config: Config,
    pub authority: Arc<Authority>,
    pub service_account_key_pem: String,
    pub handle: Arc<dyn Handle>,
    /// Acts as this master, in process.
    pub client: kube::Client,
    pub clock: SharedClock,
    /// RFC 3339, of the first of this master's certificates to end.
    pub certificate_expires: String,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("master", &self.config.name).finish_non_exhaustive()
    }
}

impl Route for Desk {
    fn prefix(&self) -> &'static str {
        "/trireme/v1/"
    }

    fn answer(&self, asked: Asked) -> BoxFuture<'_, Result<Value, ApiError>> {
        Box::pin(async move {
            match (asked.method.as_str(), asked.path.as_str()) {
                ("POST", join::PATH) => self.join(&asked).await,
                ("GET", join::STATUS_PATH) => to_value(&self.status()),
                ("POST", join::TOKEN_PATH) => self.token(&asked).await,
                ("POST", join::REMOVE_PATH) => self.remove(&asked).await,
                _ => Err(ApiError::NoSuchPath),
            }
        })
    }
}

fn to_value(value: &impl serde::Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(ApiError::internal)
}

impl Desk {
    async fn join(&self, asked: &Asked) -> Result<Value, ApiError> {
        let request: JoinRequest = serde_json::from_slice(&asked.body)
            .map_err(|error| ApiError::bad_request(format!("the join request: {error}")))?;
        let reply = match request {
            JoinRequest::Master { name, peer, api } => {
                bears(&asked.identity, Part::Master)?;
                self.add_master(name, peer, api).await?
            }
            JoinRequest::Node { name, addresses, client_csr, serving_csr } => {
                bears(&asked.identity, Part::Node)?;
                self.add_node(&name, &addresses, &client_csr, &serving_csr)?
            }
        };
        to_value(&reply)
    }

    async fn add_master(
        &self,
        name: String,
        peer: SocketAddr,
        api: SocketAddr,
    ) -> Result<JoinReply, ApiError> {
        check_name(&name)?;
        if let Some(earlier) = superseded(&self.handle.members(), &name)? {
            self.handle
                .change_membership(MembershipChange::Remove(earlier))
                .await
                .map_err(|error| unavailable("removing the earlier learner", &error))?;
        }
        let member_id = (rand::random::<u64>() >> 11) | 1;
        let member = Member {
            id: member_id,
            name,
            peer_address: peer.to_string(),
            labels: [(API_LABEL.to_owned(), format!("https://{api}"))].into(),
            is_voter: false,
        };
        self.handle
            .change_membership(MembershipChange::Add(member))
            .await
            .map_err(|error| unavailable("adding the master", &error))?;
        Ok(JoinReply::Master {
            facts: self.facts(),
            member_id,
            authority: self.authority.credential().clone(),
            service_account_key_pem: self.service_account_key_pem.clone(),
        })
    }

    fn add_node(
        &self,
        name: &str,
        addresses: &[IpAddr],
        client_csr: &str,
        serving_csr: &str,
    ) -> Result<JoinReply, ApiError> {
        check_name(name)?;
        let now_ms = self.clock.unix_ms();
        let mut profile = Profile {
            common_name: format!("system:node:{name}"),
            organization: Some("system:nodes".into()),
            alt_names: Vec::new(),
            usage: Usage::Client,
            lifetime: CERTIFICATE_LIFETIME,
        };
        let sign = |csr: &str, profile: &Profile| {
            self.authority
                .sign_request(csr, profile, now_ms)
                .map_err(|error| ApiError::bad_request(error.to_string()))
        };
        let client_certificate_pem = sign(client_csr, &profile)?;
        profile.usage = Usage::Server;
        profile.alt_names = std::iter::once(name.to_owned())
            .chain(addresses.iter().map(ToString::to_string))
            .collect();
        Ok(JoinReply::Node {
            facts: self.facts(),
            authority_pem: self.authority.certificate_pem().to_owned(),
            client_certificate_pem,
            serving_certificate_pem: sign(serving_csr, &profile)?,
        })
    }

    fn facts(&self) -> ClusterFacts {
        ClusterFacts {
            cluster_id: self.config.cluster_id,
            service_cidr: self.config.service_cidr.clone(),
            pod_cidr: self.config.pod_cidr.clone(),
            cluster_dns: self.config.cluster_dns,
            cluster_domain: self.config.cluster_domain.clone(),
            masters: self.masters(),
        }
    }

    /// The URLs of all masters, this one first.
    fn masters(&self) -> Vec<String> {
        let own = format!("https://{}", self.config.api_advertise);
        let others =
            self.handle.members().into_iter().filter_map(|mut it| it.labels.remove(API_LABEL));
        let others: Vec<String> = others.filter(|url| *url != own).collect();
        std::iter::once(own).chain(others).collect()
    }

    async fn token(&self, asked: &Asked) -> Result<Value, ApiError> {
        administers(&asked.identity)?;
        let part = match parameter(asked, "part").as_deref() {
            Some("master") => Part::Master,
            Some("node") => Part::Node,
            _ => return Err(ApiError::bad_request("part: must be `master` or `node`")),
        };
        let (id, secret) = master_pki::token::generate_bootstrap();
        self.store_token(&id, &secret, part).await?;
        let token = JoinToken {
            part,
            bootstrap: format!("{id}.{secret}"),
            authority_hash: self.authority.public_key_hash().map_err(ApiError::internal)?,
            servers: self.masters(),
        };
        Ok(json!({ "token": token.encode() }))
    }

    /// As every bootstrap token: a Secret in `kube-system` that the authenticator reads.
    async fn store_token(&self, id: &str, secret: &str, part: Part) -> Result<(), ApiError> {
        let expires = rfc3339(self.clock.unix_ms() + TOKEN_LIFETIME_MS);
        let secret: Secret = serde_json::from_value(json!({
            "metadata": { "name": format!("bootstrap-token-{id}"), "namespace": "kube-system" },
            "type": "bootstrap.kubernetes.io/token",
            "stringData": {
                "token-id": id,
                "token-secret": secret,
                "expiration": expires,
                "usage-bootstrap-authentication": "true",
                "auth-extra-groups": part.group(),
            },
        }))
        .map_err(ApiError::internal)?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "kube-system");
        match secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => Ok(()),
            Err(error) => Err(ApiError::Unavailable(format!("storing the token: {error}"))),
        }
    }

    async fn remove(&self, asked: &Asked) -> Result<Value, ApiError> {
        administers(&asked.identity)?;
        let name = parameter(asked, "name").unwrap_or_default();
        let member = self.handle.members().into_iter().find(|member| member.name == name);
        let member = member.ok_or_else(|| ApiError::not_found("", "masters", &name))?;
        self.handle
            .change_membership(MembershipChange::Remove(member.id))
            .await
            .map_err(|error| unavailable("removing the master", &error))?;
        Ok(json!({ "removed": name }))
    }

    fn status(&self) -> MasterStatus {
        let status = self.handle.status();
        let members = self.handle.members();
        let name_of = |id| members.iter().find(|it| it.id == id).map(|it| it.name.clone());
        MasterStatus {
            name: self.config.name.clone(),
            role: match status.role {
                Role::Leader => "leader",
                Role::Follower => "follower",
                Role::Candidate => "candidate",
                Role::Learner => "learner",
            }
            .into(),
            leader: status.leader.and_then(name_of),
            term: status.term,
            revision: status.revision,
            applied: status.applied_index,
            lag: status.last_log_index.saturating_sub(status.applied_index),
            sync_p99_ms: status.sync_p99_ms,
            certificate_expires: self.certificate_expires.clone(),
            members: members
                .iter()
                .map(|member| MemberStatus {
                    id: member.id,
                    name: member.name.clone(),
                    api: member.labels.get(API_LABEL).cloned().unwrap_or_default(),
                    is_voter: member.is_voter,
                })
                .collect(),
        }
    }
}

/// The member that a new master of this name takes the place of.
fn superseded(members: &[Member], name: &str) -> Result<Option<MemberId>, ApiError> {
    match members.iter().find(|member| member.name == name) {
        // It would come back with an empty disk, and have forgotten its votes.
        Some(known) if known.is_voter => {
            let message = format!(
                "master \"{name}\" is a member already: if its disk is lost, remove it first with `kctl cluster remove {name}`"
            );
            Err(ApiError::conflict("", "masters", name, message))
        }
        // One that never voted has nothing to forget: an interrupted join begins anew.
        known => Ok(known.map(|learner| learner.id)),
    }
}

fn parameter(asked: &Asked, name: &str) -> Option<String> {
    asked.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

fn check_name(name: &str) -> Result<(), ApiError> {
    match master_api::names::dns1123_subdomain(name).into_iter().next() {
        None => Ok(()),
        Some(problem) => Err(ApiError::bad_request(format!("name \"{name}\": {problem}"))),
    }
}

fn unavailable(what: &str, error: &ProposeError) -> ApiError {
    ApiError::Unavailable(format!("{what}: {error}"))
}

fn bears(identity: &Identity, part: Part) -> Result<(), ApiError> {
    if identity.groups.iter().any(|group| group == part.group()) {
        return Ok(());
    }
    let word = if part == Part::Master { "master" } else { "node" };
    let message = format!(
        "this token does not let anybody join as a {word}: make one with `kctl cluster token --as {word}`"
    );
    Err(ApiError::forbidden("", "masters", "", message))
}

fn administers(identity: &Identity) -> Result<(), ApiError> {
    if identity.groups.iter().any(|group| group == ADMINISTRATORS) {
        return Ok(());
    }
    Err(ApiError::forbidden("", "masters", "", "only administrators may do this"))
}

/// Milliseconds since the Unix epoch, as Kubernetes writes times.
pub fn rfc3339(unix_ms: u64) -> String {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    master_api::time::seconds(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: MemberId, name: &str, is_voter: bool) -> Member {
        let (peer_address, labels) = (String::new(), [].into());
        Member { id, name: name.into(), peer_address, labels, is_voter }
    }

    fn identity(groups: &[&str]) -> Identity {
        Identity {
            groups: groups.iter().map(|it| (*it).to_owned()).collect(),
            ..Identity::default()
        }
    }

    #[test]
    fn voter_is_not_let_in_again_and_a_learner_begins_anew() {
        let members = [member(1, "master-1", true), member(2, "master-2", false)];
        assert_eq!(superseded(&members, "master-3").unwrap(), None);
        assert_eq!(superseded(&members, "master-2").unwrap(), Some(2));
        let refusal = superseded(&members, "master-1").unwrap_err();
        assert!(matches!(refusal, ApiError::Conflict { .. }), "{refusal:?}");
        assert!(refusal.to_string().contains("`kctl cluster remove master-1`"), "{refusal}");
    }

    #[test]
    fn token_is_good_for_its_own_part_only() {
        let bearer = identity(&["system:bootstrappers", Part::Node.group()]);
        assert!(bears(&bearer, Part::Node).is_ok());
        let refusal = bears(&bearer, Part::Master).unwrap_err().to_string();
        assert!(refusal.contains("`kctl cluster token --as master`"), "{refusal}");
        assert!(administers(&bearer).is_err());
        assert!(administers(&identity(&[ADMINISTRATORS])).is_ok());
    }

    #[test]
    fn name_must_be_one_that_a_certificate_can_carry() {
        assert!(check_name("master-1.example").is_ok());
        let refusal = check_name("Master_1").unwrap_err().to_string();
        assert!(refusal.starts_with("name \"Master_1\": "), "{refusal}");
    }
}
