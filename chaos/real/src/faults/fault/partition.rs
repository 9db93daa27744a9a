//! Machines that do not reach one another, while clients reach them all.

use rand::Rng as _;

use super::{Fault, Field};

#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    Leader,
    Minority,
}

/// Some are cut off from the rest.
#[derive(Debug)]
pub(super) struct Partition {
    who: Who,
}

impl Partition {
    pub(super) fn of(who: Who) -> Self {
        Self { who }
    }
}

impl Fault for Partition {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        let apart = match self.who {
            Who::Leader => vec![field.leader],
            Who::Minority => {
                let mut followers = field.followers();
                followers.truncate((field.machines.len() - 1) / 2);
                followers
            }
        };
        let (there, rest): (Vec<_>, Vec<_>) =
            (0..field.machines.len()).partition(|it| apart.contains(it));
        field.switch.cut(both_ways(&there, &rest))?;
        Ok(format!("{} cut off", field.names(&apart)))
    }

    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()> {
        field.switch.mend()
    }
}

/// The leader does not hear the others, or they do not hear it.
#[derive(Debug)]
pub(super) struct OneWay;

impl Fault for OneWay {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        let (leader, followers) = (field.leader, field.followers());
        let is_deaf = field.rng.random_bool(0.5);
        field.switch.cut(followers.iter().map(|&other| match is_deaf {
            true => (other, leader),
            false => (leader, other),
        }))?;
        let what = if is_deaf { "hears nobody" } else { "is not heard" };
        Ok(format!("{} {what}", field.name(leader)))
    }

    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()> {
        field.switch.mend()
    }
}

/// Two sides that reach one another only over a follower in the middle; the leader is on one of the sides.
#[derive(Debug)]
pub(super) struct Bridge;

impl Fault for Bridge {
    fn inject(&mut self, field: &mut Field) -> anyhow::Result<String> {
        let mut others = field.followers();
        let middle = others.remove(0);
        let far = others.split_off((others.len() - 1) / 2);
        others.push(field.leader);
        field.switch.cut(both_ways(&others, &far))?;
        let (near, far) = (field.names(&others), field.names(&far));
        Ok(format!("{near} and {far} apart, {} between them", field.name(middle)))
    }

    fn heal(&mut self, field: &mut Field) -> anyhow::Result<()> {
        field.switch.mend()
    }
}

fn both_ways(some: &[usize], others: &[usize]) -> Vec<(usize, usize)> {
    let pairs = some.iter().flat_map(|&one| others.iter().map(move |&other| (one, other)));
    pairs.flat_map(|(one, other)| [(one, other), (other, one)]).collect()
}
