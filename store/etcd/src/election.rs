//! Elections: one of those who campaign is elected, speaks, and resigns (`v3electionpb`).

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use store_handle::{
    DeleteRequest, EventKind, KeyRange, KeyValue, Op, PutRequest, Revision, Txn, WatchItem,
    WatchRequest, Watcher,
};
use tonic::{Request, Response, Status};

use crate::convert;
use crate::errors;
use crate::facade::Facade;
use crate::line::{self, Leaving};
use crate::proto::v3electionpb::election_server::Election;
use crate::proto::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct ElectionService(pub(crate) Arc<Facade>);

fn missing_leader() -> Status {
    Status::unknown("\"leader\" field must be provided")
}

impl ElectionService {
    /// Says something else, as who is elected.
    async fn proclaim_as(&self, leader: LeaderKey, value: Bytes) -> Result<Revision, Status> {
        let LeaderKey { key, rev, lease, .. } = leader;
        let put = PutRequest { key: key.clone(), value, lease, ..PutRequest::default() };
        let compare = vec![line::created_at(key, rev)];
        let txn = Txn { compare, success: vec![Op::Put(put)], failure: Vec::new() };
        let reply = line::run(&self.0, txn).await?;
        match reply.succeeded {
            true => Ok(reply.revision),
            false => Err(Status::unknown("election: not leader")),
        }
    }
}

#[tonic::async_trait]
impl Election for ElectionService {
    type ObserveStream = BoxStream<'static, Result<LeaderResponse, Status>>;

    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let CampaignRequest { name, lease, value } = request.into_inner();
        let place = line::enter(&self.0, &name, lease, value.clone()).await?;
        let leaving = Leaving::new(&self.0, place.key.clone());
        let (key, rev, lease) = (place.key.clone(), place.created, place.lease);
        let leader = LeaderKey { name, key, rev, lease };
        let mut revision = place.revision;
        if place.known.as_ref().is_some_and(|known| known.value != value) {
            revision = self.proclaim_as(leader.clone(), value).await?;
        }
        line::wait_turn(&self.0, &place).await?;
        leaving.stay();
        let header = Some(self.0.header(revision));
        Ok(Response::new(CampaignResponse { header, leader: Some(leader) }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let ProclaimRequest { leader, value } = request.into_inner();
        let revision = self.proclaim_as(leader.ok_or_else(missing_leader)?, value).await?;
        Ok(Response::new(ProclaimResponse { header: Some(self.0.header(revision)) }))
    }

    async fn leader(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let prefix = line::prefix_of(&request.into_inner().name);
        let mut found = line::first(&self.0, prefix).await?;
        let kv = found.kvs.pop().ok_or_else(|| Status::unknown("election: no leader"))?;
        let header = Some(self.0.header(found.revision));
        Ok(Response::new(LeaderResponse { header, kv: Some(convert::key_value(kv)) }))
    }

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let prefix = line::prefix_of(&request.into_inner().name);
        let observer = Observer { facade: self.0.clone(), prefix, followed: None };
        let replies = stream::unfold(Some(observer), |observer| async move {
            let mut observer = observer?;
            match observer.next().await {
                Ok(reply) => Some((Ok(reply), Some(observer))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(replies.boxed()))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let leader = request.into_inner().leader.ok_or_else(missing_leader)?;
        let range = KeyRange::key(leader.key.clone());
        let delete = Op::Delete(DeleteRequest { range, prev_kv: false });
        let compare = vec![line::created_at(leader.key, leader.rev)];
        let txn = Txn { compare, success: vec![delete], failure: Vec::new() };
        let reply = line::run(&self.0, txn).await?;
        Ok(Response::new(ResignResponse { header: Some(self.0.header(reply.revision)) }))
    }
}

/// Sees who is elected, and what each of them says.
struct Observer {
    facade: Arc<Facade>,
    prefix: Bytes,
    /// The key of who was elected last, for as long as it is there.
    followed: Option<Watcher>,
}

impl Observer {
    async fn next(&mut self) -> Result<LeaderResponse, Status> {
        loop {
            let Some(watcher) = &mut self.followed else {
                let kv = self.elected().await?;
                let revision = kv.mod_revision;
                self.followed = Some(self.watch(KeyRange::key(kv.key.clone()), revision + 1)?);
                return Ok(self.reply(revision, kv));
            };
            match watcher.next().await {
                Some(WatchItem::Events { revision, events }) => match events.last() {
                    Some(event) if event.kind == EventKind::Put => {
                        let kv = event.kv.clone();
                        return Ok(self.reply(revision, kv));
                    }
                    _ => self.followed = None,
                },
                Some(WatchItem::Progress { .. }) => {}
                Some(WatchItem::Compacted { .. }) => self.followed = None,
                None => return Err(errors::stopped()),
            }
        }
    }

    /// Waits until somebody is elected.
    async fn elected(&self) -> Result<KeyValue, Status> {
        loop {
            let mut found = line::first(&self.facade, self.prefix.clone()).await?;
            if let Some(kv) = found.kvs.pop() {
                return Ok(kv);
            }
            let range = KeyRange::prefix(self.prefix.clone());
            let mut watcher = self.watch(range, found.revision + 1)?;
            match watcher.next().await {
                Some(_) => {}
                None => return Err(errors::stopped()),
            }
        }
    }

    fn watch(&self, range: KeyRange, start: Revision) -> Result<Watcher, Status> {
        self.facade.handle.watch(WatchRequest { range, start }).map_err(errors::of_read)
    }

    fn reply(&self, revision: Revision, kv: KeyValue) -> LeaderResponse {
        let header = Some(self.facade.header(revision));
        LeaderResponse { header, kv: Some(convert::key_value(kv)) }
    }
}
