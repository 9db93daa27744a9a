//! A member's account of itself, its whole contents, and who shall lead.

use std::io;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use store_env::task::blocking;
use store_handle::archive::Packer;
use store_handle::{MemberId, STAYS_LEARNER};
use tonic::{Request, Response, Status};

use crate::errors;
use crate::facade::{ETCD_VERSION, Facade};
use crate::proto::etcdserverpb::maintenance_server::Maintenance;
use crate::proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, HashKvRequest,
    HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest, MoveLeaderResponse,
    SnapshotRequest, SnapshotResponse, StatusRequest, StatusResponse,
};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct MaintenanceService(pub(crate) Arc<Facade>);

impl MaintenanceService {
    fn hash_at(&self, revision: i64) -> Result<store_handle::Hash, Status> {
        self.0.handle.hash(revision).map_err(errors::of_read)
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    type SnapshotStream = BoxStream<'static, Result<SnapshotResponse, Status>>;

    /// There is never an alarm that has to be cleared by hand.
    async fn alarm(&self, _: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        let header = Some(self.0.header_now());
        Ok(Response::new(AlarmResponse { header, alarms: Vec::new() }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let status = self.0.handle.status();
        let me = self.0.handle.members().into_iter().find(|member| member.id == status.id);
        let is_learner = me.is_some_and(|me| !me.is_voter && me.labels.contains_key(STAYS_LEARNER));
        let db_size = i64::try_from(self.0.facts.disk_bytes()).unwrap_or(i64::MAX);
        let no_leader = status.leader.is_none().then(|| errors::no_leader().message().to_owned());
        Ok(Response::new(StatusResponse {
            header: Some(self.0.header(status.revision)),
            version: ETCD_VERSION.into(),
            db_size,
            leader: status.leader.unwrap_or(0),
            raft_index: status.last_log_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors: no_leader.into_iter().collect(),
            db_size_in_use: db_size,
            is_learner,
            storage_version: ETCD_VERSION.into(),
            db_size_quota: 0,
        }))
    }

    /// Space comes back by itself: there is nothing to do.
    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        Ok(Response::new(DefragmentResponse { header: Some(self.0.header_now()) }))
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let hash = self.hash_at(0)?;
        let header = Some(self.0.header(hash.revision));
        Ok(Response::new(HashResponse { header, hash: hash.crc32 }))
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        let hash = self.hash_at(request.into_inner().revision)?;
        Ok(Response::new(HashKvResponse {
            header: Some(self.0.header_now()),
            hash: hash.crc32,
            compact_revision: hash.compacted,
            hash_revision: hash.revision,
        }))
    }

    async fn snapshot(
        &self,
        _: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let handle = self.0.handle.clone();
        let failed = |error: io::Error| Status::internal(error.to_string());
        let export = blocking(move || handle.export()).await.map_err(failed)?;
        let facade = self.0.clone();
        let pieces = stream::unfold(Some(Packer::new(export)), move |packer| async move {
            let mut packer = packer?;
            let packed = blocking(move || packer.next_piece().map(|blob| (blob, packer))).await;
            Some(match packed {
                Ok((blob, packer)) => (Ok(blob), (!packer.is_done()).then_some(packer)),
                Err(error) => (Err(failed(error)), None),
            })
        });
        let replies = pieces.map(move |blob| {
            Ok(SnapshotResponse {
                header: Some(facade.header_now()),
                remaining_bytes: 0,
                blob: blob?,
                version: ETCD_VERSION.into(),
            })
        });
        Ok(Response::new(replies.boxed()))
    }

    /// As in etcd, only the leader can be asked.
    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        let target: MemberId = request.into_inner().target_id;
        if self.0.leadership().leader != Some(self.0.member_id) {
            return Err(errors::not_leader());
        }
        let members = self.0.handle.members();
        if !members.iter().any(|member| member.id == target && member.is_voter) {
            return Err(errors::bad_transferee());
        }
        let moved = self.0.handle.transfer_leadership(Some(target)).await;
        moved.map_err(errors::of_proposal)?;
        Ok(Response::new(MoveLeaderResponse { header: Some(self.0.header_now()) }))
    }
}
