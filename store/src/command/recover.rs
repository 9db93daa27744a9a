//! `kstore recover`: when too few members are left to go on, one survivor founds the group anew with its data.
//!
//! # Invariants
//! - What is to be done is written down before anything is: an interrupted recovery is done to its end by the
//!   same command, and no member starts in between.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};
use store_env::clock::SystemClock;
use store_env::rng;
use store_handle::{Member, Revision};
use store_raft::rebuild::{self, Disks, Place, Plan, Survey};

use super::{LEAP, say};
use crate::disks;
use crate::identity::{self, Identity};

/// What it says when it has only looked.
const LOOKED: u8 = 2;

/// Which survivor.
#[derive(Clone, Debug, Args)]
pub(super) struct Recover {
    /// The survivor's data. It must not be running.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Do it. Without, it is only said what would be done.
    #[arg(long)]
    yes: bool,
    /// So many revisions are left out, so that none that a client has seen comes a second time.
    #[arg(long, default_value_t = LEAP, value_name = "REVISIONS", value_parser = clap::value_parser!(i64).range(1..=1 << 60))]
    bump_revision: Revision,
}

/// What is to be done; in the data directory for as long as it is under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Intent {
    identity: Identity,
    me: Member,
    base: Place,
    leap: Revision,
}

impl Recover {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = &self.data_dir;
        let intended = read(folder)?;
        let old = Identity::load(folder)?
            .with_context(|| format!("{} holds no member of a group", folder.display()))?;
        let (log, state) = disks::open(folder)?;
        let disks = Disks { log, state, clock: SystemClock::shared() };
        let intent = match intended {
            Some(intent) => {
                say("An earlier recovery was interrupted: it is gone on with.");
                intent
            }
            None => {
                let survey = rebuild::survey(&disks)?;
                let intent = self.intent(&old, &survey)?;
                say(&account(folder, &old, &survey, &intent));
                intent
            }
        };
        if !self.yes {
            say("\nNothing was changed. Add --yes to do it.");
            return Ok(ExitCode::from(LOOKED));
        }
        identity::write(&folder.join(identity::INTENT), &intent)?;
        let plan = Plan {
            members: vec![intent.me.clone()],
            me: intent.me.id,
            base: intent.base,
            leap: Some(intent.leap),
        };
        let revision = rebuild::rebuild(&disks, &plan)?;
        drop(disks);
        intent.identity.write(folder)?;
        identity::remove(&folder.join(identity::INTENT))?;
        say(&format!(
            "\nDone: member {:x} is alone in cluster {:x}, epoch {}, and goes on after revision {revision}.\n\
             Start it as before, then add new members: etcdctl member add NAME --peer-urls=URL",
            intent.me.id, intent.identity.cluster_id, intent.identity.epoch,
        ));
        Ok(ExitCode::SUCCESS)
    }

    fn intent(&self, old: &Identity, survey: &Survey) -> anyhow::Result<Intent> {
        let own = survey.members.iter().find(|member| member.id == old.member_id);
        let own = own.with_context(|| {
            "this member was removed from its group, or has never been in it: recover another one"
        })?;
        let me = Member { id: rng::draw().max(1), is_voter: true, ..own.clone() };
        let mut former_epochs = old.former_epochs.clone();
        former_epochs.push(old.epoch);
        let identity = Identity {
            cluster_id: old.cluster_id,
            epoch: old.epoch + 1,
            member_id: me.id,
            founders: Vec::new(),
            former_epochs,
        };
        Ok(Intent { identity, me, base: survey.after(), leap: self.bump_revision })
    }
}

/// What is kept, what may be lost, and what will be.
fn account(folder: &Path, old: &Identity, survey: &Survey, intent: &Intent) -> String {
    let Survey { revision, last, committed, .. } = survey;
    let name = |member: &Member| match &member.name[..] {
        "" => format!("{:x}", member.id),
        name => name.to_owned(),
    };
    let mut members: Vec<&Member> = survey.members.iter().collect();
    members.sort_by_key(|member| name(member));
    let named = |is_meant: &dyn Fn(&Member) -> bool| {
        let meant = members.iter().filter(|member| is_meant(member)).map(|member| name(member));
        meant.collect::<Vec<_>>().join(", ")
    };
    let voters = named(&|member| member.is_voter);
    let others = named(&|member| member.id != old.member_id);
    let time =
        i64::try_from(survey.now_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let time = time.filter(|_| survey.now_ms > 0).map(|time| format!(", proposed at {time}"));
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    line(format!(
        "{}: member {} ({:x}) of cluster {:x}, epoch {}; voters: {}",
        folder.display(),
        name(&intent.me),
        old.member_id,
        old.cluster_id,
        old.epoch,
        voters,
    ));
    line(format!(
        "\nKept:  everything in this member's log: up to revision {revision} (entry {} of term {}{})",
        last.index,
        last.term,
        time.unwrap_or_default(),
    ));
    match last.index.saturating_sub(committed.index) {
        0 => line("       all of it is known to be acknowledged by a majority".into()),
        _ => line(format!(
            "       what comes after entry {} is kept too, although it does not know whether a majority has it",
            committed.index
        )),
    }
    line(format!(
        "Lost:  what the others have acknowledged after entry {} without this member; it cannot know whether \
         there is any. If another survivor's log ends later, recover that one",
        last.index
    ));
    line(format!(
        "Then:  cluster {:x} is of epoch {}, and {} is its only member, as {:x}; revisions go on after {}, and \
         history before is compacted, so that watches begin anew",
        old.cluster_id,
        intent.identity.epoch,
        name(&intent.me),
        intent.me.id,
        revision + intent.leap,
    ));
    if !others.is_empty() {
        line(format!(
            "       {others}: never again with the data that they have, only as new members, with empty data \
             directories"
        ));
    }
    text.trim_end().to_owned()
}

fn read(folder: &Path) -> anyhow::Result<Option<Intent>> {
    let path = folder.join(identity::INTENT);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} is damaged", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}
