//! Answers questions: the cluster's own from the zone, all others from the machine's resolvers.

use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hickory_resolver::TokioResolver;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, OpCode, ResponseCode};
use hickory_server::proto::rr::rdata::SOA;
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use crate::zone::{Answer, Zone};

/// Clients ask again after this: endpoints move.
const TTL_S: u32 = 5;

/// A handler over the zone that is current.
#[derive(Debug)]
pub(crate) struct Handler {
    zone: Arc<ArcSwap<Zone>>,
    /// For names that are not ours; absent on a machine without resolvers.
    outside: Option<TokioResolver>,
}

/// What goes into a reply.
#[derive(Debug, Default)]
struct Reply {
    answers: Vec<Record>,
    authority: Vec<Record>,
    code: ResponseCode,
    is_authoritative: bool,
}

impl Handler {
    pub(crate) fn new(zone: Arc<ArcSwap<Zone>>) -> Self {
        let outside = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        if let Err(error) = &outside {
            tracing::info!(%error, "names outside the cluster cannot be resolved");
        }
        Self { zone, outside: outside.ok() }
    }

    async fn answer(&self, name: &Name, kind: RecordType) -> Reply {
        let zone = self.zone.load_full();
        let lower = hickory_server::proto::rr::LowerName::new(name);
        match zone.lookup(&lower, kind) {
            Answer::Found(data) => {
                let mut answers: Vec<Record> = data
                    .into_iter()
                    .map(|data| Record::from_rdata(name.clone(), TTL_S, data))
                    .collect();
                self.follow_alias(&mut answers, kind).await;
                Reply { answers, is_authoritative: true, ..Reply::default() }
            }
            Answer::NoData => nothing(&zone, ResponseCode::NoError),
            Answer::NoSuchName => nothing(&zone, ResponseCode::NXDomain),
            Answer::Foreign => self.ask_outside(name, kind).await,
        }
    }

    /// An alias is answered with what it stands for.
    async fn follow_alias(&self, answers: &mut Vec<Record>, kind: RecordType) {
        let Some(RData::CNAME(target)) = answers.first().map(|it| it.data.clone()) else { return };
        if kind != RecordType::CNAME {
            let behind = Box::pin(self.answer(&target.0, kind)).await;
            answers.extend(behind.answers);
        }
    }

    async fn ask_outside(&self, name: &Name, kind: RecordType) -> Reply {
        let Some(outside) = &self.outside else {
            return Reply { code: ResponseCode::Refused, ..Reply::default() };
        };
        match outside.lookup(name.clone(), kind).await {
            Ok(found) => Reply { answers: found.answers().to_vec(), ..Reply::default() },
            Err(error) if error.is_nx_domain() => {
                Reply { code: ResponseCode::NXDomain, ..Reply::default() }
            }
            Err(error) if error.is_no_records_found() => Reply::default(),
            Err(_) => Reply { code: ResponseCode::ServFail, ..Reply::default() },
        }
    }
}

/// A reply without answers says, by the zone's SOA, how long that may be remembered.
fn nothing(zone: &Zone, code: ResponseCode) -> Reply {
    let root = Name::from(zone.root());
    let below = |label: &str| {
        Name::from_str(label)
            .and_then(|it| it.append_domain(&root))
            .unwrap_or_else(|_| root.clone())
    };
    let soa = SOA::new(below("ns.dns"), below("hostmaster"), 1, 7_200, 1_800, 86_400, TTL_S);
    let authority = vec![Record::from_rdata(root.clone(), TTL_S, RData::SOA(soa))];
    Reply { authority, code, is_authoritative: true, ..Reply::default() }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let builder = MessageResponseBuilder::from_message_request(request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let reply = match request.request_info() {
            Ok(info) if info.metadata.op_code == OpCode::Query => {
                self.answer(&Name::from(info.query.name()), info.query.query_type()).await
            }
            Ok(_) => Reply { code: ResponseCode::NotImp, ..Reply::default() },
            Err(_) => Reply { code: ResponseCode::FormErr, ..Reply::default() },
        };
        metadata.authoritative = reply.is_authoritative;
        metadata.recursion_available = self.outside.is_some();
        metadata.response_code = reply.code;
        let message = builder.build(
            metadata,
            reply.answers.iter(),
            std::iter::empty(),
            reply.authority.iter(),
            std::iter::empty(),
        );
        response.send_response(message).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the client has gone");
            Header { metadata: request.metadata, counts: HeaderCounts::default() }.into()
        })
    }
}
