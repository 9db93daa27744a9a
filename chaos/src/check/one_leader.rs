//! In one term, at most one member says that it leads.

use std::collections::BTreeMap;

use super::Verdict;
use crate::history::History;

pub(crate) fn check(history: &History) -> Verdict {
    let mut leaders = BTreeMap::new();
    for lead in &history.leads {
        let first = *leaders.entry(lead.term).or_insert(lead.member);
        if first != lead.member {
            return Err(format!("{first} and {} lead term {}", lead.member, lead.term));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Lead;

    #[test]
    fn second_leader_of_a_term_is_found() {
        let leads = |list: &[(u64, u64)]| History {
            leads: list.iter().map(|&(term, member)| Lead { term, member }).collect(),
            ..History::default()
        };
        assert_eq!(check(&leads(&[(1, 1), (2, 2), (1, 1), (3, 1)])), Ok(()));
        assert_eq!(check(&leads(&[(1, 1), (1, 3)])), Err("1 and 3 lead term 1".into()));
    }
}
