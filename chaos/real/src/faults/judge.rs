//! The end of a run: leases end, members tell what they hold, checks speak, figures are printed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chaos::check;
use chaos::history::{Final, History, Outcome};
use chaos::lines;
use etcd_client::{Client, GetOptions};
use tokio::time::Instant;

use super::client::{connect, whole_history};
use super::fault::Field;
use super::machine::Machine;
use super::record::SharedRecord;
use super::run::{Round, by_kind};

/// After this, no lease is left, though each new leader gives them their time again.
const LEASES_END_WITHIN: Duration = Duration::from_secs(20);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until every lease has ended, or should have.
pub(super) async fn settle(field: &Field) -> anyhow::Result<()> {
    let until = Instant::now() + LEASES_END_WITHIN;
    let mut client = connect(&field.machines[0].endpoint()).await?;
    let options = GetOptions::new().with_prefix().with_count_only();
    while client.get("lease/", Some(options.clone())).await?.count() > 0 && Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Completes the history, checks it, and prints what it covered.
pub(super) async fn judge(
    field: &Field,
    record: &SharedRecord,
    rounds: &[Round],
    is_etcd: bool,
) -> anyhow::Result<()> {
    let mut clients = Vec::new();
    for machine in &field.machines {
        clients.push(connect(&machine.endpoint()).await?);
    }
    let reply = clients[0].get("none", None).await?;
    let last = reply.header().context("an answer has a header")?.revision();
    for change in whole_history(&mut clients[0], last).await? {
        record.change(change.revision, &change.writes);
    }
    for (number, client) in (1..).zip(&mut clients) {
        record.holds(number, held(client, last).await?);
    }
    let mut history = record.history();
    tell(&history, record, rounds);
    if is_etcd {
        println!("leaders are not judged: etcd's status tells the term of what it has applied");
        history.leads.clear();
    }
    let wrong = speak(&history, check::of_stores());
    if !wrong.is_empty() {
        bail!("violated: {}", wrong.join(", "));
    }
    Ok(())
}

/// Clients that did not go on elsewhere while they could.
pub(super) fn stayed(rounds: &[Round]) -> Option<String> {
    let stayed = rounds.iter().find_map(|round| {
        let (gap_ms, within) = (round.loyal_gap_ms?, round.moves_within?);
        (u128::from(gap_ms) >= within.as_millis()).then_some((round, gap_ms, within))
    });
    let (round, gap_ms, within) = stayed?;
    Some(format!(
        "{}: a client of all masters had no write acknowledged for {gap_ms} ms; within {within:?} it must go on at another",
        round.kinds
    ))
}

/// Lets checks speak; returns those that found something wrong.
pub(super) fn speak(
    history: &History,
    checks: impl Iterator<Item = (&'static str, check::Check)>,
) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    for (name, check) in checks {
        match check(history) {
            Ok(()) => println!("{name}: holds"),
            Err(reason) => {
                println!("{name}: VIOLATION {reason}");
                wrong.push(name);
            }
        }
    }
    wrong
}

/// What a member holds at this revision.
async fn held(client: &mut Client, revision: i64) -> anyhow::Result<Final> {
    let ask = async {
        // It has applied what it is asked about.
        client.get("none", None).await?;
        client.hash_kv(revision).await
    };
    let reply = tokio::time::timeout(ANSWER_WITHIN, ask).await.context("no hash")??;
    Ok(Final { revision, hash: u64::from(reply.hash()) })
}

/// Prints what it covered.
pub(super) fn tell(history: &History, record: &SharedRecord, rounds: &[Round]) {
    let rounds = by_kind(rounds);
    let width = rounds.keys().map(|kinds| kinds.len()).max().unwrap_or(0).max(20);
    println!(
        "\n{:<width$} {:>5} {:>14} {:>14} {:>14} {:>14}",
        "fault", "times", "gap median ms", "longest ms", "of one there", "whole after ms"
    );
    for (kinds, rounds) in rounds {
        let mut gaps: Vec<_> = rounds.iter().map(|round| round.gap_ms).collect();
        let mut whole: Vec<_> = rounds.iter().map(|round| round.whole_ms).collect();
        let mut loyal: Vec<_> = rounds.iter().filter_map(|round| round.loyal_gap_ms).collect();
        gaps.sort_unstable();
        whole.sort_unstable();
        loyal.sort_unstable();
        println!(
            "{kinds:<width$} {:>5} {:>14} {:>14} {:>14} {:>14}",
            rounds.len(),
            gaps[gaps.len() / 2],
            gaps[gaps.len() - 1],
            loyal.get(loyal.len() / 2).map_or_else(|| "-".to_owned(), u64::to_string),
            whole[whole.len() / 2]
        );
    }
    let leaders: BTreeSet<_> = history.leads.iter().collect();
    println!(
        "\nleader changes {}, acknowledged writes {}, reads {}, unknown outcomes {}, revisions {}",
        leaders.len().saturating_sub(1),
        history.count(|it| matches!(it, Outcome::Wrote { .. })),
        history.count(|it| matches!(it, Outcome::Read { .. })),
        history.count(|it| matches!(it, Outcome::Unknown)),
        history.changes.len(),
    );
    let counts = record.counts();
    let seen: Vec<_> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
    println!("{}\n", seen.join(", "));
}

/// Leaves the history, and what the members said.
pub(super) fn leave(
    out: &Path,
    seed: u64,
    record: &SharedRecord,
    machines: &[Machine],
) -> anyhow::Result<()> {
    let folder = out.join(format!("real-{seed}"));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let file = folder.join("history.jsonl");
    lines::write(&record.history(), &mut BufWriter::new(File::create(&file)?))?;
    // What clients and nodes of masters did; those of a store leave none.
    std::fs::write(folder.join("clients.trace"), record.world.lock().trace.join("\n"))?;
    for machine in machines {
        std::fs::copy(machine.log(), folder.join(format!("{}.log", machine.name())))?;
    }
    println!("history: kchaos check {}; the members' logs beside it", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_that_does_not_go_on_elsewhere_is_found() {
        let run = |loyal_gap_ms, moves_within_s: Option<u64>| {
            let moves_within = moves_within_s.map(Duration::from_secs);
            let kinds = "clients-from-leader".to_owned();
            stayed(&[Round { kinds, gap_ms: 40, loyal_gap_ms, moves_within, whole_ms: 0 }])
        };
        assert_eq!(run(Some(1_200), Some(4)), None);
        assert_eq!(run(Some(4_100), None), None, "other faults leave nobody to go to");
        assert!(run(Some(4_100), Some(4)).is_some_and(|stayed| stayed.contains("4100 ms")));
    }
}
