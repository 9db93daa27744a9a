//! Transactions: judged as a whole before the first write, so that a refusal leaves no trace.
//!
//! ```text
//! check: keys present, nothing written twice     (the request alone, both branches)
//! choose: comparisons of every level             (against the state before the transaction)
//! admit: revisions, leases, keys to keep         (the chosen branches)
//! run: cannot fail any more
//! ```
//! As in etcd, a nested transaction's comparisons do not see what the outer one writes; its reads do.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use bytes::Bytes;

use crate::history::Version;
use crate::keyspace::Overlay;
use crate::state::State;
use crate::types::{
    Compare, DeleteRequest, Error, KeyRange, Op, OpReply, Order, PutRequest, Target, Txn, TxnReply,
};
use crate::versions::{self, Versions};
use crate::writer::{Writer, needed};

/// The branch a transaction takes, and those that the ones inside it take, in order.
#[derive(Debug)]
pub(crate) struct Path<'a> {
    succeeded: bool,
    steps: &'a [Op],
    nested: Vec<Path<'a>>,
}

/// Judges `txn` and finds its path.
pub(crate) fn plan<'a>(
    state: &State,
    stored: &dyn Versions,
    txn: &'a Txn,
) -> Result<Path<'a>, Error> {
    check(txn)?;
    let path = choose(state, stored, txn);
    admit(state, &path)?;
    Ok(path)
}

/// Runs a planned transaction on the state it was planned for.
pub(crate) fn run(writer: &mut Writer<'_>, path: &Path<'_>) -> TxnReply {
    let mut nested = path.nested.iter();
    let mut replies = Vec::with_capacity(path.steps.len());
    for op in path.steps {
        replies.push(match op {
            Op::Range(request) => {
                OpReply::Range(writer.range(request).expect("its revision was admitted"))
            }
            Op::Put(request) => run_put(writer, request),
            Op::Delete(request) => run_delete(writer, request),
            Op::Txn(_) => {
                let path = nested.next().expect("a path was chosen for every transaction inside");
                OpReply::Txn(run(writer, path))
            }
        });
    }
    TxnReply { succeeded: path.succeeded, revision: writer.revision(), replies }
}

fn run_put(writer: &mut Writer<'_>, request: &PutRequest) -> OpReply {
    let (mut value, mut lease) = (request.value.clone(), request.lease);
    if request.ignore_value || request.ignore_lease {
        let kept = writer.latest(&request.key).expect("the key's presence was admitted");
        if request.ignore_value {
            value = kept.value;
        }
        if request.ignore_lease {
            lease = kept.lease;
        }
    }
    OpReply::Put { prev: writer.put(&request.key, value, lease, request.prev_kv) }
}

fn run_delete(writer: &mut Writer<'_>, request: &DeleteRequest) -> OpReply {
    let mut deleted = 0;
    let mut prev = Vec::new();
    for key in writer.live_keys(&request.range) {
        prev.extend(writer.delete(&key, request.prev_kv));
        deleted += 1;
    }
    OpReply::Delete { deleted, prev }
}

/// What some steps may write.
#[derive(Debug, Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<&'a KeyRange>,
}

impl<'a> Writes<'a> {
    fn put(key: &'a [u8]) -> Self {
        Self { puts: BTreeSet::from([key]), deletes: Vec::new() }
    }

    fn delete(range: &'a KeyRange) -> Self {
        Self { puts: BTreeSet::new(), deletes: vec![range] }
    }

    /// Deleting twice is harmless: the second finds nothing.
    fn collides(&self, other: &Self) -> bool {
        let within = |puts: &BTreeSet<&[u8]>, deletes: &[&KeyRange]| {
            deletes.iter().any(|range| puts.iter().any(|key| range.contains(key)))
        };
        !self.puts.is_disjoint(&other.puts)
            || within(&self.puts, &other.deletes)
            || within(&other.puts, &self.deletes)
    }

    fn add(&mut self, mut other: Self) {
        self.puts.append(&mut other.puts);
        self.deletes.append(&mut other.deletes);
    }
}

fn check(txn: &Txn) -> Result<(), Error> {
    if let ([], [Op::Put(put)]) = (&txn.failure[..], &txn.success[..]) {
        check_compares(&txn.compare)?;
        return check_put(put);
    }
    check_txn(txn).map(drop)
}

/// The writes of each branch: of the two, only one will be run.
fn check_txn(txn: &Txn) -> Result<[Writes<'_>; 2], Error> {
    check_compares(&txn.compare)?;
    Ok([check_steps(&txn.success)?, check_steps(&txn.failure)?])
}

fn check_steps(steps: &[Op]) -> Result<Writes<'_>, Error> {
    let mut all = Writes::default();
    for op in steps {
        let either = match op {
            Op::Range(request) => {
                check_key(&request.range.start)?;
                continue;
            }
            Op::Put(request) => {
                check_put(request)?;
                [Writes::put(&request.key), Writes::default()]
            }
            Op::Delete(request) => {
                check_key(&request.range.start)?;
                [Writes::delete(&request.range), Writes::default()]
            }
            Op::Txn(txn) => check_txn(txn)?,
        };
        if either.iter().any(|writes| all.collides(writes)) {
            return Err(Error::DuplicateKey);
        }
        either.into_iter().for_each(|writes| all.add(writes));
    }
    Ok(all)
}

fn check_compares(compares: &[Compare]) -> Result<(), Error> {
    compares.iter().try_for_each(|compare| check_key(&compare.range.start))
}

fn check_put(put: &PutRequest) -> Result<(), Error> {
    check_key(&put.key)?;
    let value_twice = put.ignore_value && !put.value.is_empty();
    let lease_twice = put.ignore_lease && put.lease != 0;
    if value_twice || lease_twice { Err(Error::ValueOrLeaseProvided) } else { Ok(()) }
}

fn check_key(key: &Bytes) -> Result<(), Error> {
    if key.is_empty() { Err(Error::EmptyKey) } else { Ok(()) }
}

fn choose<'a>(state: &State, stored: &dyn Versions, txn: &'a Txn) -> Path<'a> {
    let succeeded = txn.compare.iter().all(|compare| holds(state, stored, compare));
    let steps = if succeeded { &txn.success } else { &txn.failure };
    let nested = steps.iter().filter_map(|op| match op {
        Op::Txn(txn) => Some(choose(state, stored, txn)),
        Op::Range(_) | Op::Put(_) | Op::Delete(_) => None,
    });
    Path { succeeded, steps, nested: nested.collect() }
}

fn holds(state: &State, stored: &dyn Versions, compare: &Compare) -> bool {
    let mut live = state.keys.live_now(&compare.range).peekable();
    if live.peek().is_none() {
        return is_so(None, None, compare);
    }
    live.all(|(key, version)| {
        let is_asked = matches!(compare.target, Target::Value(_));
        let value = is_asked.then(|| match state.keys.value(version) {
            Some(value) => value.clone(),
            None => {
                let overlay = Overlay { keys: &state.keys, stored };
                needed(versions::read_of(&overlay, key, version.position())).value
            }
        });
        is_so(Some(version), value, compare)
    })
}

fn is_so(version: Option<&Version>, value: Option<Bytes>, compare: &Compare) -> bool {
    let number = |of: fn(&Version) -> i64, asked: &i64| version.map_or(0, of).cmp(asked);
    let ordering = match &compare.target {
        Target::Version(asked) => number(|version| version.version, asked),
        Target::CreateRevision(asked) => number(|version| version.create_revision, asked),
        Target::ModRevision(asked) => number(|version| version.mod_revision, asked),
        Target::Lease(asked) => number(|version| version.lease, asked),
        Target::Value(asked) => match value {
            Some(value) => value.cmp(asked),
            None => return false,
        },
    };
    match compare.order {
        Order::Equal => ordering == Ordering::Equal,
        Order::NotEqual => ordering != Ordering::Equal,
        Order::Greater => ordering == Ordering::Greater,
        Order::Less => ordering == Ordering::Less,
    }
}

fn admit(state: &State, path: &Path<'_>) -> Result<(), Error> {
    for op in path.steps {
        match op {
            Op::Range(request) => {
                state.span().resolve(request.revision)?;
            }
            Op::Put(put) => admit_put(state, put)?,
            Op::Delete(_) | Op::Txn(_) => {}
        }
    }
    path.nested.iter().try_for_each(|nested| admit(state, nested))
}

fn admit_put(state: &State, put: &PutRequest) -> Result<(), Error> {
    if (put.ignore_value || put.ignore_lease) && state.keys.latest(&put.key).is_none() {
        return Err(Error::KeyNotFound);
    }
    if put.lease != 0 && !state.lessor.exists(put.lease) {
        return Err(Error::LeaseNotFound { id: put.lease });
    }
    Ok(())
}
