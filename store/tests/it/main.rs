//! `kstore` as its clients see it: real processes, driven by the `etcd-client` crate and by `etcdctl`.
//!
//! The battery is also run against etcd itself, so that it is checked too: `KSTORE_BATTERY_PEER=etcd`
//! (the program on the path, or the one that `KSTORE_BATTERY_ETCD` names).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cluster;
mod corrupt;
mod ctl;
mod fail_over;
mod front;
mod gateway;
mod growth;
mod header;
mod kv;
mod learner;
mod lease;
mod line;
mod maintenance;
mod members;
mod plain;
mod recover;
mod snapshot;
mod space;
mod tls;
mod txn;
mod watch;
