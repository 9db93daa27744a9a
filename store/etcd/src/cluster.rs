//! The members of the group, as etcd's clients see and change them.
//!
//! A member that is added as a voter begins as a learner, and is promoted by the leader when it has caught
//! up: a new member never takes a quorum away. Until it has started it is shown as the voter that it is to be, as etcd
//! shows it; from then on as the learner that it is: who waits for its vote must see when it has none yet.

use std::sync::Arc;

use store_env::rng;
use store_handle::{self as store, MembershipChange, ProposeError, STAYS_LEARNER};
use tonic::{Request, Response, Status};

use crate::errors;
use crate::facade::Facade;
use crate::metrics;
use crate::proto::etcdserverpb::cluster_server::Cluster;
use crate::proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse,
};
use crate::urls::{self, Url};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct ClusterService(pub(crate) Arc<Facade>);

/// Whether it was added as a learner, and is none by mere want of time.
fn stays_learner(member: &store::Member) -> bool {
    !member.is_voter && member.labels.contains_key(STAYS_LEARNER)
}

fn shown(member: store::Member) -> Member {
    let has_started = !member.name.is_empty();
    let is_learner = !member.is_voter && (has_started || stays_learner(&member));
    let peer_ur_ls = match urls::of_label(&member.labels, urls::PEER_URLS) {
        urls if urls.is_empty() => vec![format!("http://{}", member.peer_address)],
        urls => urls,
    };
    Member {
        id: member.id,
        name: member.name,
        peer_ur_ls,
        client_ur_ls: urls::of_label(&member.labels, urls::CLIENT_URLS),
        is_learner,
    }
}

impl ClusterService {
    fn list(&self) -> Vec<Member> {
        self.0.handle.members().into_iter().map(shown).collect()
    }

    async fn change(&self, change: MembershipChange) -> Result<(), ProposeError> {
        self.0.handle.change_membership(change).await
    }

    /// The member of this number, after everything that was acknowledged before.
    async fn find(&self, id: u64) -> Result<store::Member, Status> {
        self.0.read_index().await?;
        let found = self.0.handle.members().into_iter().find(|member| member.id == id);
        found.ok_or_else(errors::member_not_found)
    }

    /// Peer URLs that are well formed and nobody else's.
    async fn peer_urls(&self, id: u64, urls: &[String]) -> Result<Vec<Url>, Status> {
        let parsed: Result<Vec<Url>, _> = urls.iter().map(|url| Url::parse(url)).collect();
        let parsed = parsed.map_err(|_| errors::member_bad_urls())?;
        if parsed.is_empty() {
            return Err(errors::member_bad_urls());
        }
        self.0.read_index().await?;
        let others = self.list().into_iter().filter(|member| member.id != id);
        let taken: Vec<String> = others.flat_map(|member| member.peer_ur_ls).collect();
        if parsed.iter().any(|url| taken.contains(&url.to_string())) {
            return Err(errors::peer_urls_exist());
        }
        Ok(parsed)
    }

    /// Waits until this member sees the change too, so that the list in the reply shows it.
    async fn settle(&self) -> Result<(), Status> {
        self.0.read_index().await.map(drop)
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let request = request.into_inner();
        let urls = self.peer_urls(0, &request.peer_ur_ls).await?;
        let mut labels = urls::labels(&urls, &[]);
        if request.is_learner {
            let learners = self.0.handle.members().iter().filter(|it| stays_learner(it)).count();
            if learners >= self.0.options.learners_max {
                return Err(errors::too_many_learners());
            }
            labels.insert(STAYS_LEARNER.into(), "true".into());
        }
        let member = store::Member {
            // Never one that was used before: members removed do not return.
            id: rng::draw().max(1),
            name: String::new(),
            peer_address: urls[0].address.clone(),
            labels,
            is_voter: false,
        };
        let added = self.change(MembershipChange::Add(member.clone())).await;
        added.map_err(errors::of_proposal)?;
        self.settle().await?;
        Ok(Response::new(MemberAddResponse {
            header: Some(self.0.header_now()),
            member: Some(shown(member)),
            members: self.list(),
        }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let found = self.find(request.into_inner().id).await?;
        let voters = self.0.handle.members().iter().filter(|member| member.is_voter).count();
        if found.is_voter && voters == 1 {
            return Err(errors::not_enough_started());
        }
        let removed = self.change(MembershipChange::Remove(found.id)).await;
        removed.map_err(errors::of_proposal)?;
        // Who was just removed cannot wait for the others.
        if found.id != self.0.member_id {
            self.settle().await?;
        }
        Ok(Response::new(MemberRemoveResponse {
            header: Some(self.0.header_now()),
            members: self.list(),
        }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let request = request.into_inner();
        let mut member = self.find(request.id).await?;
        let urls = self.peer_urls(request.id, &request.peer_ur_ls).await?;
        member.peer_address = urls[0].address.clone();
        member.labels.extend(urls::labels(&urls, &[]));
        let changed = self.change(MembershipChange::Add(member)).await;
        changed.map_err(errors::of_proposal)?;
        self.settle().await?;
        Ok(Response::new(MemberUpdateResponse {
            header: Some(self.0.header_now()),
            members: self.list(),
        }))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.settle().await?;
        }
        let header = Some(self.0.header_now());
        Ok(Response::new(MemberListResponse { header, members: self.list() }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let found = self.find(request.into_inner().id).await?;
        if found.is_voter {
            return Err(errors::member_not_learner());
        }
        let promoted = self.change(MembershipChange::Promote(found.id)).await;
        let (done, refused) = (&self.0.metrics.promoted, &self.0.metrics.not_promoted);
        metrics::one(if promoted.is_ok() { done } else { refused });
        match promoted {
            Ok(()) => {}
            Err(ProposeError::NotProposed { .. }) if self.0.leadership().leader.is_some() => {
                return Err(errors::learner_not_ready());
            }
            Err(error) => return Err(errors::of_proposal(error)),
        }
        self.settle().await?;
        Ok(Response::new(MemberPromoteResponse {
            header: Some(self.0.header_now()),
            members: self.list(),
        }))
    }
}
