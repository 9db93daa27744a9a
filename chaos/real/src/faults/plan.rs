//! Which faults come, and in which order: drawn, or by a script.

use std::collections::VecDeque;

use anyhow::{Context as _, bail};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use super::fault::{Field, KINDS, Kind};
use super::{Args, Step};

#[derive(Debug)]
pub(super) enum Plan {
    /// Each kind once, in any order, and then again; so many at a time.
    Drawn { kinds: Vec<Kind>, left: Vec<Kind>, at_once: usize },
    /// These steps, once.
    Script(VecDeque<Vec<Kind>>),
}

impl Plan {
    pub(super) fn new(args: &Args, field: &Field) -> anyhow::Result<Self> {
        if !args.script.is_empty() {
            let lacks = |kind: &Kind| Some((kind.name, (kind.make)().lacks(field)?));
            if let Some((name, what)) = args.script.iter().flat_map(|step| &step.0).find_map(lacks)
            {
                bail!("{name} needs {what}");
            }
            let steps = args.script.iter().map(|Step(kinds)| kinds.clone());
            return Ok(Self::Script(steps.collect()));
        }
        let all = if args.faults.is_empty() { KINDS } else { &args.faults };
        let able = |kind: &Kind| match (kind.make)().lacks(field) {
            None => true,
            Some(what) => {
                println!("{:<20} left out, since it needs {what}", kind.name);
                false
            }
        };
        let kinds: Vec<_> = all.iter().copied().filter(able).collect();
        kinds.first().context("no fault is possible here")?;
        Ok(Self::Drawn { kinds, left: Vec::new(), at_once: args.at_once.into() })
    }

    /// Whether it ends by itself, and not when the time is over.
    pub(super) fn is_script(&self) -> bool {
        matches!(self, Self::Script(_))
    }

    /// Those that come next, at the same time; nothing: the script is over.
    pub(super) fn next(&mut self, rng: &mut SmallRng) -> Option<Vec<Kind>> {
        match self {
            Self::Script(steps) => steps.pop_front(),
            Self::Drawn { kinds, left, at_once } => {
                if left.is_empty() {
                    left.clone_from(kinds);
                    left.shuffle(rng);
                }
                let first = left.pop()?;
                let is_alone = |kind: &Kind| (kind.make)().is_alone();
                let mut together = vec![first];
                while together.len() < *at_once && !is_alone(&first) {
                    let Some(at) = left.iter().rposition(|kind| !is_alone(kind)) else { break };
                    together.push(left.remove(at));
                }
                Some(together)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    #[test]
    fn every_kind_comes_once_a_turn_and_what_spoils_a_disk_comes_alone() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut plan = Plan::Drawn { kinds: KINDS.to_vec(), left: Vec::new(), at_once: 2 };
        for _ in 0..20 {
            let mut seen = Vec::new();
            while seen.len() < KINDS.len() {
                let together = plan.next(&mut rng).unwrap();
                assert!(together.len() <= 2);
                let is_alone = |kind: &Kind| (kind.make)().is_alone();
                assert!(together.len() == 1 || !together.iter().any(is_alone));
                seen.extend(together.iter().map(|kind| kind.name));
            }
            seen.sort_unstable();
            let mut all: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
            all.sort_unstable();
            assert_eq!(seen, all);
        }
    }

    #[test]
    fn script_is_read_as_it_is_written() {
        let names = |text| super::super::step(text).map(|Step(kinds)| kinds.len());
        assert_eq!(names("kill-leader"), Ok(1));
        assert_eq!(names("pause-leader+disk-full"), Ok(2));
        assert!(names("pause-leader+corrupt-file").unwrap_err().contains("comes alone"));
        assert!(names("pause").unwrap_err().contains("no such fault"));
    }
}
