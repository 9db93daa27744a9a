//! The end of a run: all that clients wanted comes to be, masters tell what they hold, checks speak.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use anyhow::{Context as _, bail};
use chaos::check;
use chaos::history::{Final, Revised, Write};
use chaos::kube::converged;
use kube::Client;
use serde_json::Value;
use tokio::time::Instant;

use super::gaps::gaps;
use super::objects::{KINDS, Kind, Told};
use super::traffic::Traffic;
use super::{Crews, Masters};
use crate::faults::judge::{speak, stayed, tell};
use crate::faults::record::SharedRecord;
use crate::faults::run::Round;

/// As long as in a simulation.
const CONVERGE_WITHIN: Duration = Duration::from_secs(60);
const AGREE_WITHIN: Duration = Duration::from_secs(30);
const END_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What no client of the API sees.
const NOT_SEEN: &[(&str, &str)] = &[
    ("transfers", "the API has no transactions"),
    ("snapshots", "lists are judged by their versions"),
    ("leases", "the API has none that end"),
    ("fenced", "only a store's client fences"),
    ("terms", "only a simulation sees to which term a write was fenced"),
];

/// What nobody tells of Kubernetes' own programs.
const NOT_SEEN_UPSTREAM: &[(&str, &str)] =
    &[("one-leader", "etcd's status tells the term of what it has applied")];

/// What a run must have shown to count.
const LEAST: &[(&str, usize)] = &[
    ("register reads", 20),
    ("register writes", 20),
    ("registers that others had changed", 1),
    ("watch events", 500),
    ("watches resumed", 30),
    ("api reads", 20),
    ("pods started", 10),
    ("creates", 10),
    ("namespaces deleted", 1),
    ("bindings lost by a client", 1),
];

/// Everything by key, with the revision that it is of.
type Held = BTreeMap<String, (i64, String)>;

/// Lets all come to its end, and judges it.
pub(crate) async fn judge(
    masters: &Masters,
    crews: Crews,
    traffic: Option<Traffic>,
    record: &SharedRecord,
    rounds: &[Round],
) -> anyhow::Result<()> {
    let Crews { clients, stop, observers, stop_observers, nodes, stop_nodes } = crews;
    {
        let mut world = record.world.lock();
        world.is_over = true;
        world.over.cancel();
    }
    stop.cancel();
    converge(masters, traffic.as_ref(), record).await?;
    // Whoever still waits has been seen to wait for nothing.
    clients.finish(END_WITHIN).await;
    record.world.lock().kube.is_quiet = true;
    agree(masters, record).await?;
    stop_observers.cancel();
    observers.finish(END_WITHIN).await;
    stop_nodes.cancel();
    nodes.finish(END_WITHIN).await;
    if let Some(traffic) = traffic {
        traffic.judge(&masters.each[0]).await?;
    }
    record.fill_gaps();
    let history = record.history();
    tell(&history, record, rounds);
    let mut not_seen = NOT_SEEN.to_vec();
    if masters.is_upstream {
        not_seen.extend(NOT_SEEN_UPSTREAM);
    }
    for (name, why) in &not_seen {
        println!("{name}: not judged, since {why}");
    }
    let all: Vec<_> = match masters.is_upstream {
        true => check::of_upstream().collect(),
        false => check::all().collect(),
    };
    let is_seen = |name| not_seen.iter().all(|(not, _)| *not != name);
    let mut wrong = speak(&history, all.into_iter().filter(|(name, _)| is_seen(*name)));
    let (counts, violations) = {
        let world = record.world.lock();
        (world.counts.clone(), world.violations.clone())
    };
    for violation in violations.into_iter().chain(stayed(rounds)) {
        println!("VIOLATION {violation}");
        wrong.push("what was seen meanwhile");
    }
    if !wrong.is_empty() {
        bail!("violated: {}", wrong.join(", "));
    }
    for (what, least) in LEAST {
        let count = counts.get(what).copied().unwrap_or(0);
        if count < *least {
            bail!(
                "too little to judge by: {what} {count}, of {least} at least; let it go on longer"
            );
        }
    }
    Ok(())
}

/// Waits until all that was wanted is there, without anybody asking for anything.
async fn converge(
    masters: &Masters,
    traffic: Option<&Traffic>,
    record: &SharedRecord,
) -> anyhow::Result<()> {
    let healed = Instant::now();
    let mut last = String::new();
    loop {
        let client = &masters.each[0];
        let mut there: BTreeMap<&str, Vec<(String, Value)>> = BTreeMap::new();
        for kind in KINDS {
            let (_, told) = kind.list(client).await?;
            let object =
                |told: Told| Some((name(&told, *kind)?, serde_json::from_str(&told.text).ok()?));
            let mut objects: Vec<_> = told.into_iter().filter_map(object).collect();
            // Real nodes see to their own.
            objects.retain(|(_, object): &(String, Value)| {
                let node = object["spec"]["nodeName"].as_str().unwrap_or_default();
                !traffic.is_some_and(|traffic| traffic.runs_on(node))
            });
            there.insert(kind.prefix, objects);
        }
        let missing = {
            let world = record.world.lock();
            converged::missing_of(&world.kube, |prefix| {
                there.get(prefix).cloned().unwrap_or_default()
            })
        };
        match missing {
            None => {
                let after_ms = healed.elapsed().as_millis();
                println!(
                    "\nall that was wanted was there after {after_ms} ms; what came last: {last}"
                );
                return Ok(());
            }
            Some(missing) if healed.elapsed() > CONVERGE_WITHIN => {
                bail!("{missing}, {CONVERGE_WITHIN:?} after all was healed");
            }
            Some(missing) => {
                last = missing;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

fn name(told: &Told, kind: Kind) -> Option<String> {
    Some(told.key.strip_prefix(kind.prefix)?.to_owned())
}

/// Waits until all masters hold the same, and watches have told just that; notes what that is.
async fn agree(masters: &Masters, record: &SharedRecord) -> anyhow::Result<()> {
    let until = Instant::now() + AGREE_WITHIN;
    loop {
        let (mut all, mut newest) = (Vec::new(), 0);
        for client in &masters.each {
            let (revision, held) = held(client).await?;
            newest = newest.max(revision);
            all.push(held);
        }
        for (number, held) in (1..).zip(&all) {
            let revision = held.values().map(|(revision, _)| *revision).max().unwrap_or(0);
            record.holds(number, Final { revision, hash: hash(held) });
        }
        let first = all.swap_remove(0);
        let differs = all.iter().find_map(|other| difference(&first, other));
        let differs = differs.map(|key| format!("masters differ in what they hold of {key}"));
        let differs = differs.or_else(|| {
            let key = difference(&first, &told(record))?;
            Some(format!("what watches told of {key} is not what masters hold"))
        });
        match differs {
            None => {
                // Progress is told up to there, whatever changed it.
                let end =
                    || Revised { revision: newest, seen_us: record.now_us(), writes: Vec::new() };
                record.world.lock().history.changes.entry(newest).or_insert_with(end);
                return Ok(());
            }
            Some(differs) if Instant::now() > until => {
                bail!("{differs}, {AGREE_WITHIN:?} after nobody asks any more");
            }
            Some(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// All that a master holds, and the newest revision that it told.
async fn held(client: &Client) -> anyhow::Result<(i64, Held)> {
    let (mut newest, mut all) = (0, Held::new());
    for kind in KINDS {
        let (revision, told) = kind.list(client).await.context(kind.path)?;
        newest = newest.max(revision);
        all.extend(told.into_iter().map(|told| (told.key, (told.revision, told.text))));
    }
    Ok((newest, all))
}

/// All that there must be by what watches told.
fn told(record: &SharedRecord) -> Held {
    let world = record.world.lock();
    let mut all = Held::new();
    let gaps = gaps(&world.history, &record.lists.lock());
    let mut told: BTreeMap<i64, Vec<&Write>> = BTreeMap::new();
    for (revision, change) in &world.history.changes {
        told.entry(*revision).or_default().extend(&change.writes);
    }
    for (revision, write) in &gaps {
        told.entry(*revision).or_default().push(write);
    }
    for (revision, writes) in told {
        for write in writes {
            match &write.value {
                Some(text) => drop(all.insert(write.key.clone(), (revision, text.clone()))),
                None => drop(all.remove(&write.key)),
            }
        }
    }
    all
}

/// A key of which they hold different things.
fn difference(one: &Held, other: &Held) -> Option<String> {
    let keys = one.keys().chain(other.keys());
    keys.into_iter().find(|key| one.get(*key) != other.get(*key)).cloned()
}

fn hash(held: &Held) -> u64 {
    let mut hasher = DefaultHasher::new();
    held.hash(&mut hasher);
    hasher.finish()
}
