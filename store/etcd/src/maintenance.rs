//! A member's account of itself, its whole contents, and who shall lead.

use std::io;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use store_env::task::blocking;
use store_handle::MemberId;
use store_handle::archive::Packer;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::errors;
use crate::facade::{ETCD_VERSION, Facade};
use crate::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::proto::etcdserverpb::downgrade_request::DowngradeAction;
use crate::proto::etcdserverpb::maintenance_server::Maintenance;
use crate::proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse,
    DowngradeInfo, DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest,
    HashResponse, MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest, SnapshotResponse,
    StatusRequest, StatusResponse,
};

/// What a downgrade would start from.
const CLUSTER_VERSION: &str = "3.6";

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct MaintenanceService(pub(crate) Arc<Facade>);

impl MaintenanceService {
    /// Those of one member (0: of all), of one kind (none: of all).
    fn alarms(&self, member: MemberId, kind: AlarmType) -> Vec<AlarmMember> {
        let mut found = Vec::new();
        for (id, alarms) in self.0.alarms() {
            let is_corrupt = alarms.is_corrupt || alarms.is_in_doubt;
            let both = [(alarms.no_space, AlarmType::Nospace), (is_corrupt, AlarmType::Corrupt)];
            for (_, alarm) in both.into_iter().filter(|(is_raised, _)| *is_raised) {
                let is_asked = kind == AlarmType::None || kind == alarm;
                if is_asked && (member == 0 || member == id) {
                    found.push(AlarmMember { member_id: id, alarm: alarm.into() });
                }
            }
        }
        found
    }

    fn hash_at(&self, revision: i64) -> Result<store_handle::Hash, Status> {
        self.0.handle.hash(revision).map_err(errors::of_read)
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    type SnapshotStream = BoxStream<'static, Result<SnapshotResponse, Status>>;

    /// Members say of themselves what is wrong, and take it back by themselves: nobody can do it for them.
    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        let request = request.into_inner();
        let alarms = match request.action() {
            AlarmAction::Get => self.alarms(request.member_id, request.alarm()),
            // None of those that are there goes away before its cause does.
            AlarmAction::Deactivate => Vec::new(),
            AlarmAction::Activate => {
                return Err(Status::unimplemented(
                    "etcdserver: members raise alarms about themselves, and clear them",
                ));
            }
        };
        let header = Some(self.0.header_now());
        Ok(Response::new(AlarmResponse { header, alarms }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let status = self.0.handle.status();
        let me = self.0.handle.members().into_iter().find(|member| member.id == status.id);
        let is_learner = me.is_some_and(|me| !me.is_voter);
        let whole = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let no_leader = status.leader.is_none().then(|| errors::no_leader().message().to_owned());
        let alarms = self.alarms(0, AlarmType::None).into_iter().map(|found| {
            let (id, alarm) = (found.member_id, found.alarm().as_str_name());
            format!("memberID:{id} alarm:{alarm} ")
        });
        Ok(Response::new(StatusResponse {
            header: Some(self.0.header(status.revision)),
            version: ETCD_VERSION.into(),
            db_size: whole(self.0.facts.db_bytes()),
            leader: status.leader.unwrap_or(0),
            raft_index: status.last_log_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors: no_leader.into_iter().chain(alarms).collect(),
            db_size_in_use: whole(self.0.facts.db_live_bytes()),
            is_learner,
            storage_version: ETCD_VERSION.into(),
            db_size_quota: whole(self.0.facts.db_bytes_max()),
            downgrade_info: Some(DowngradeInfo::default()),
        }))
    }

    /// Space comes back by itself; this makes it come back now.
    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        let facts = self.0.facts.clone();
        let (_counted, began) = (self.0.metrics.defragment(), Instant::now());
        let reclaimed = blocking(move || facts.reclaim()).await;
        self.0.metrics.defragmentations.note(began.elapsed());
        reclaimed.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(DefragmentResponse { header: Some(self.0.header_now()) }))
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let began = Instant::now();
        let hash = self.hash_at(0)?;
        self.0.metrics.hashes.note(began.elapsed());
        let header = Some(self.0.header(hash.revision));
        Ok(Response::new(HashResponse { header, hash: hash.crc32 }))
    }

    async fn hash_kv(
        &self,
        request: Request<HashKvRequest>,
    ) -> Result<Response<HashKvResponse>, Status> {
        let began = Instant::now();
        let hash = self.hash_at(request.into_inner().revision)?;
        self.0.metrics.hashes_at.note(began.elapsed());
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

    /// No older version reads what this one writes: every target is refused, as etcd refuses one too old.
    async fn downgrade(
        &self,
        request: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        let request = request.into_inner();
        let is_version = |text: &str| {
            let parts: Vec<&str> = text.split('.').collect();
            (2..=3).contains(&parts.len()) && parts.iter().all(|part| part.parse::<u32>().is_ok())
        };
        match request.action() {
            // There is none to be cancelled, which etcd takes for done.
            DowngradeAction::Cancel => {
                let (header, version) = (Some(self.0.header_now()), CLUSTER_VERSION.into());
                Ok(Response::new(DowngradeResponse { header, version }))
            }
            DowngradeAction::Validate | DowngradeAction::Enable => {
                Err(match is_version(&request.version) {
                    true => errors::bad_downgrade_target(),
                    false => errors::bad_downgrade_version(),
                })
            }
        }
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
