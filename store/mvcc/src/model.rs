//! The store, written as naively as possible: every revision is a whole copy of all keys.
//!
//! It shares the words with the real one and nothing else. Where a request is wrong in several ways, it
//! names them all, since which is found first is no promise.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::types::*;

type Keys = BTreeMap<Vec<u8>, KeyValue>;

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) now_ms: u64,
    /// Every change so far, for the test to take.
    pub(crate) committed: Vec<Change>,
    copies: BTreeMap<Revision, Keys>,
    events: BTreeMap<Revision, Vec<Event>>,
    /// Time to live and when it is due.
    leases: BTreeMap<LeaseId, (i64, u64)>,
    last_lease: LeaseId,
}

/// A command under way.
struct Draft {
    keys: Keys,
    events: Vec<Event>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            revision: 1,
            compacted: 0,
            now_ms: 0,
            committed: vec![],
            copies: BTreeMap::from([(1, Keys::new())]),
            events: BTreeMap::new(),
            leases: BTreeMap::new(),
            last_lease: 0,
        }
    }

    pub(crate) fn apply(&mut self, term: Term, batch: &Batch) -> Vec<Result<Reply, Vec<Error>>> {
        self.now_ms = self.now_ms.max(batch.now_ms);
        let commands = batch.commands.iter();
        commands
            .map(|Fenced { fence, command }| match *fence {
                Some(proposed) if proposed != term => {
                    Err(vec![Error::Fenced { proposed, applied: term }])
                }
                _ => self.run(command),
            })
            .collect()
    }

    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeReply, Vec<Error>> {
        if request.range.start.is_empty() {
            return Err(vec![Error::EmptyKey]);
        }
        self.check_revision(request.revision)?;
        let at = if request.revision <= 0 { self.revision } else { request.revision };
        let copy = &self.copies[&at];
        Ok(RangeReply { revision: self.revision, ..range_of(copy, request) })
    }

    pub(crate) fn events_since(
        &self,
        range: &KeyRange,
        from: Revision,
    ) -> Result<Vec<Change>, Error> {
        if from < self.compacted {
            return Err(Error::Compacted { asked: from, oldest: self.compacted });
        }
        let mut changes = Vec::new();
        for (revision, events) in self.events.range(from..) {
            let held = events.iter().filter(|event| range.contains(&event.kv.key));
            let events: Arc<[Event]> = held.cloned().collect();
            if !events.is_empty() {
                changes.push(Change { revision: *revision, events });
            }
        }
        Ok(changes)
    }

    pub(crate) fn lease(&self, id: LeaseId) -> LeaseInfo {
        match self.leases.get(&id) {
            None => LeaseInfo { id, remaining_ttl_s: -1, ..LeaseInfo::default() },
            Some((ttl_s, due_ms)) => {
                let remaining_ms = due_ms.saturating_sub(self.now_ms);
                let held = self.latest().values().filter(|kv| kv.lease == id);
                LeaseInfo {
                    id,
                    granted_ttl_s: *ttl_s,
                    due_ms: *due_ms,
                    remaining_ttl_s: i64::try_from(remaining_ms / 1000).unwrap(),
                    keys: held.map(|kv| kv.key.clone()).collect(),
                }
            }
        }
    }

    pub(crate) fn leases(&self) -> Vec<LeaseId> {
        self.leases.keys().copied().collect()
    }

    /// Keys that a read or a watch can still meet.
    pub(crate) fn key_count(&self) -> usize {
        let oldest = self.copies.values().next().unwrap();
        let written = self.events.values().flatten().map(|event| &event.kv.key[..]);
        let mut keys: Vec<_> = oldest.keys().map(|key| &key[..]).chain(written).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.len()
    }

    fn latest(&self) -> &Keys {
        &self.copies[&self.revision]
    }

    fn run(&mut self, command: &Command) -> Result<Reply, Vec<Error>> {
        let revision = self.revision;
        match command {
            Command::Txn(txn) => {
                let mut draft = self.draft();
                self.check(txn)?;
                let reply = self.run_txn(&mut draft, txn);
                self.commit(draft);
                Ok(Reply::Txn(reply))
            }
            Command::LeaseGrant { ttl_s, .. } if *ttl_s > 9_000_000_000 => {
                Err(vec![Error::LeaseTtlOutOfBounds { ttl_s: *ttl_s }])
            }
            Command::LeaseGrant { id, .. } if self.leases.contains_key(id) => {
                Err(vec![Error::LeaseExists { id: *id }])
            }
            Command::LeaseGrant { id, ttl_s } => {
                let mut id = *id;
                while id == 0 || (id == self.last_lease && self.leases.contains_key(&id)) {
                    self.last_lease += 1;
                    id = self.last_lease;
                }
                let ttl_s = (*ttl_s).max(1);
                self.leases.insert(id, (ttl_s, self.due_ms(ttl_s)));
                Ok(Reply::LeaseGranted { revision, id, ttl_s })
            }
            Command::LeaseRevoke { id } if !self.leases.contains_key(id) => {
                Err(vec![Error::LeaseNotFound { id: *id }])
            }
            Command::LeaseRevoke { id } => {
                self.end_leases(|other, _| other == *id);
                Ok(Reply::LeaseRevoked { revision: self.revision })
            }
            Command::LeaseKeepAlive { id } => {
                let ttl_s = self.leases.get(id).map_or(0, |lease| lease.0);
                let due_ms = self.due_ms(ttl_s);
                self.leases.entry(*id).and_modify(|lease| lease.1 = due_ms);
                Ok(Reply::LeaseKeptAlive { revision, ttl_s })
            }
            Command::LeaseExpire { ids } => {
                let now_ms = self.now_ms;
                let count = self.end_leases(|id, due_ms| ids.contains(&id) && due_ms <= now_ms);
                Ok(Reply::LeasesExpired { revision: self.revision, count })
            }
            Command::Compact { revision: asked } => self.compact(*asked),
        }
    }

    fn due_ms(&self, ttl_s: i64) -> u64 {
        self.now_ms + u64::try_from(ttl_s).unwrap() * 1000
    }

    fn end_leases(&mut self, ends: impl Fn(LeaseId, u64) -> bool) -> usize {
        let gone: Vec<_> = self
            .leases
            .iter()
            .filter(|(id, lease)| ends(**id, lease.1))
            .map(|(id, _)| *id)
            .collect();
        let mut draft = self.draft();
        for kv in self.latest().values().filter(|kv| gone.contains(&kv.lease)) {
            self.delete(&mut draft, &kv.key);
        }
        self.leases.retain(|id, _| !gone.contains(id));
        self.commit(draft);
        gone.len()
    }

    fn compact(&mut self, asked: Revision) -> Result<Reply, Vec<Error>> {
        if asked <= self.compacted {
            return Err(vec![Error::Compacted { asked, oldest: self.compacted }]);
        }
        if asked > self.revision {
            return Err(vec![Error::FutureRevision { asked, latest: self.revision }]);
        }
        self.compacted = asked;
        self.copies.retain(|revision, _| *revision >= asked);
        self.events.retain(|revision, _| *revision >= asked);
        for event in self.events.get_mut(&asked).into_iter().flatten() {
            event.prev = None;
        }
        Ok(Reply::Compacted { revision: self.revision })
    }

    fn draft(&self) -> Draft {
        Draft { keys: self.latest().clone(), events: vec![] }
    }

    fn commit(&mut self, draft: Draft) {
        if !draft.events.is_empty() {
            self.revision += 1;
            self.copies.insert(self.revision, draft.keys);
            let events = draft.events.clone().into();
            self.committed.push(Change { revision: self.revision, events });
            self.events.insert(self.revision, draft.events);
        }
    }

    fn check_revision(&self, asked: Revision) -> Result<(), Vec<Error>> {
        if asked > self.revision {
            Err(vec![Error::FutureRevision { asked, latest: self.revision }])
        } else if asked > 0 && asked < self.compacted {
            Err(vec![Error::Compacted { asked, oldest: self.compacted }])
        } else {
            Ok(())
        }
    }

    fn check(&self, txn: &Txn) -> Result<(), Vec<Error>> {
        let mut writes = Vec::new();
        let mut errors = Vec::new();
        collect_writes(txn, &mut vec![], &mut writes, &mut errors);
        for (index, first) in writes.iter().enumerate() {
            if writes[index + 1..].iter().any(|second| collide(first, second)) {
                errors.push(Error::DuplicateKey);
            }
        }
        if errors.is_empty() {
            self.admit(txn, &mut errors);
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn admit(&self, txn: &Txn, errors: &mut Vec<Error>) {
        for op in if self.succeeds(txn) { &txn.success } else { &txn.failure } {
            match op {
                Op::Range(request) => {
                    errors.extend(self.check_revision(request.revision).err().unwrap_or_default());
                }
                Op::Put(put) => {
                    let keeps = put.ignore_value || put.ignore_lease;
                    if keeps && !self.latest().contains_key(&put.key[..]) {
                        errors.push(Error::KeyNotFound);
                    }
                    if put.lease != 0 && !self.leases.contains_key(&put.lease) {
                        errors.push(Error::LeaseNotFound { id: put.lease });
                    }
                }
                Op::Delete(_) => {}
                Op::Txn(txn) => self.admit(txn, errors),
            }
        }
    }

    fn succeeds(&self, txn: &Txn) -> bool {
        txn.compare.iter().all(|Compare { range, order, target }| {
            let held: Vec<_> =
                self.latest().values().filter(|kv| range.contains(&kv.key)).cloned().collect();
            if held.is_empty() {
                let missing = KeyValue::default();
                return !matches!(target, Target::Value(_)) && is_so(&missing, *order, target);
            }
            held.iter().all(|kv| is_so(kv, *order, target))
        })
    }

    fn run_txn(&self, draft: &mut Draft, txn: &Txn) -> TxnReply {
        let succeeded = self.succeeds(txn);
        let mut replies = Vec::new();
        for op in if succeeded { &txn.success } else { &txn.failure } {
            replies.push(match op {
                Op::Range(request) => {
                    let old = (1..=self.revision).contains(&request.revision);
                    let keys = if old { &self.copies[&request.revision] } else { &draft.keys };
                    let revision = self.revision_in(draft);
                    OpReply::Range(RangeReply { revision, ..range_of(keys, request) })
                }
                Op::Put(put) => {
                    let prev = self.put(draft, put);
                    OpReply::Put { prev: prev.filter(|_| put.prev_kv) }
                }
                Op::Delete(delete) => {
                    let held = draft.keys.values().filter(|kv| delete.range.contains(&kv.key));
                    let held: Vec<_> = held.cloned().collect();
                    held.iter().for_each(|kv| self.delete(draft, &kv.key));
                    let deleted = i64::try_from(held.len()).unwrap();
                    OpReply::Delete { deleted, prev: if delete.prev_kv { held } else { vec![] } }
                }
                Op::Txn(txn) => OpReply::Txn(self.run_txn(draft, txn)),
            });
        }
        TxnReply { succeeded, revision: self.revision_in(draft), replies }
    }

    fn revision_in(&self, draft: &Draft) -> Revision {
        if draft.events.is_empty() { self.revision } else { self.revision + 1 }
    }

    fn put(&self, draft: &mut Draft, put: &PutRequest) -> Option<KeyValue> {
        let prev = draft.keys.get(&put.key[..]).cloned();
        let mut kv = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            create_revision: prev.as_ref().map_or(self.revision + 1, |prev| prev.create_revision),
            mod_revision: self.revision + 1,
            version: prev.as_ref().map_or(0, |prev| prev.version) + 1,
            lease: put.lease,
        };
        if let Some(prev) = &prev {
            kv.value = if put.ignore_value { prev.value.clone() } else { kv.value };
            kv.lease = if put.ignore_lease { prev.lease } else { kv.lease };
        }
        draft.keys.insert(put.key.to_vec(), kv.clone());
        draft.events.push(Event { kind: EventKind::Put, kv, prev: prev.clone() });
        prev
    }

    fn delete(&self, draft: &mut Draft, key: &[u8]) {
        let prev = draft.keys.remove(key);
        let key = key.to_vec().into();
        let kv = KeyValue { key, mod_revision: self.revision + 1, ..KeyValue::default() };
        draft.events.push(Event { kind: EventKind::Delete, kv, prev });
    }
}

/// A write and the branches in which it stands: which nested transaction, by position, and which way.
type Write<'a> = (Vec<(usize, bool)>, Result<&'a [u8], &'a KeyRange>);

fn collect_writes<'a>(
    txn: &'a Txn,
    at: &mut Vec<(usize, bool)>,
    writes: &mut Vec<Write<'a>>,
    errors: &mut Vec<Error>,
) {
    if txn.compare.iter().any(|compare| compare.range.start.is_empty()) {
        errors.push(Error::EmptyKey);
    }
    for (succeeded, ops) in [(true, &txn.success), (false, &txn.failure)] {
        for (index, op) in ops.iter().enumerate() {
            at.push((index, succeeded));
            let key = match op {
                Op::Range(request) => Some(&request.range.start),
                Op::Put(put) => {
                    if put.ignore_value && !put.value.is_empty()
                        || put.ignore_lease && put.lease != 0
                    {
                        errors.push(Error::ValueOrLeaseProvided);
                    }
                    writes.push((at.clone(), Ok(&put.key)));
                    Some(&put.key)
                }
                Op::Delete(delete) => {
                    writes.push((at.clone(), Err(&delete.range)));
                    Some(&delete.range.start)
                }
                Op::Txn(txn) => {
                    collect_writes(txn, at, writes, errors);
                    None
                }
            };
            if key.is_some_and(|key| key.is_empty()) {
                errors.push(Error::EmptyKey);
            }
            at.pop();
        }
    }
}

/// Two writes collide unless both delete, or the place where their ways part is a comparison.
fn collide((one_at, one): &Write<'_>, (two_at, two): &Write<'_>) -> bool {
    let parting = one_at.iter().zip(two_at).find(|(one, two)| one != two);
    if parting.is_some_and(|(one, two)| one.1 != two.1) {
        return false;
    }
    match (one, two) {
        (Ok(one), Ok(two)) => one == two,
        (Ok(key), Err(range)) | (Err(range), Ok(key)) => range.contains(key),
        (Err(_), Err(_)) => false,
    }
}

fn is_so(kv: &KeyValue, order: Order, target: &Target) -> bool {
    let (is_equal, is_greater) = match target {
        Target::Version(asked) => (kv.version == *asked, kv.version > *asked),
        Target::CreateRevision(asked) => {
            (kv.create_revision == *asked, kv.create_revision > *asked)
        }
        Target::ModRevision(asked) => (kv.mod_revision == *asked, kv.mod_revision > *asked),
        Target::Lease(asked) => (kv.lease == *asked, kv.lease > *asked),
        Target::Value(asked) => (kv.value == *asked, kv.value > *asked),
    };
    match order {
        Order::Equal => is_equal,
        Order::NotEqual => !is_equal,
        Order::Greater => is_greater,
        Order::Less => !is_equal && !is_greater,
    }
}

/// Without the revision, which the caller knows.
fn range_of(keys: &Keys, request: &RangeRequest) -> RangeReply {
    let mut kvs: Vec<_> =
        keys.values().filter(|kv| request.range.contains(&kv.key)).cloned().collect();
    let count = i64::try_from(kvs.len()).unwrap();
    if request.count_only {
        return RangeReply { count, ..RangeReply::default() };
    }
    let min = |value: i64, bound: i64| bound == 0 || value >= bound;
    let max = |value: i64, bound: i64| bound == 0 || value <= bound;
    kvs.retain(|kv| min(kv.mod_revision, request.min_mod_revision));
    kvs.retain(|kv| max(kv.mod_revision, request.max_mod_revision));
    kvs.retain(|kv| min(kv.create_revision, request.min_create_revision));
    kvs.retain(|kv| max(kv.create_revision, request.max_create_revision));
    kvs.sort_by(|one, two| {
        let ordering = match request.sort_by {
            SortBy::Key => one.key.cmp(&two.key),
            SortBy::Version => one.version.cmp(&two.version),
            SortBy::CreateRevision => one.create_revision.cmp(&two.create_revision),
            SortBy::ModRevision => one.mod_revision.cmp(&two.mod_revision),
            SortBy::Value => one.value.cmp(&two.value),
        };
        if request.descending { ordering.reverse() } else { ordering }
    });
    let limit = usize::try_from(request.limit).unwrap();
    let more = limit > 0 && kvs.len() > limit;
    if more {
        kvs.truncate(limit);
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value.clear());
    }
    RangeReply { revision: 0, kvs, more, count }
}
