//! resourceVersions never go back: who has been told one by any master is told none that is older by another.
//!
//! A read that asks for the newest sees all that was acknowledged, to whomever, before it was asked.

use crate::check::Verdict;
use crate::history::History;
use crate::kube::story::Sighting;

pub(crate) fn check(history: &History) -> Verdict {
    let mut returned: Vec<&Sighting> = history.kube.sightings.iter().collect();
    returned.sort_by_key(|sighting| sighting.returned_us);
    let mut reads: Vec<&Sighting> = returned.iter().copied().filter(|it| it.is_read).collect();
    reads.sort_by_key(|sighting| sighting.called_us);
    let (mut told, mut known) = (0, 0);
    for read in reads {
        while let Some(earlier) = returned.get(told).filter(|it| it.returned_us < read.called_us) {
            known = known.max(earlier.version);
            told += 1;
        }
        if read.version < known {
            let Sighting { client, version, .. } = read;
            return Err(format!(
                "client {client} was told {version} by a read that began after {known} had been told"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_that_goes_back_is_found() {
        let sighting = |called_us, returned_us, version, is_read| Sighting {
            client: 1,
            called_us,
            returned_us,
            version,
            is_read,
        };
        let check = |sightings: &[Sighting]| {
            let mut history = History::default();
            history.kube.sightings = sightings.to_vec();
            check(&history).is_ok()
        };
        let write = sighting(0, 10, 7, false);
        assert!(check(&[write.clone(), sighting(11, 12, 7, true)]));
        assert!(check(&[write.clone(), sighting(9, 12, 6, true)]), "at the same time");
        assert!(!check(&[write, sighting(11, 12, 6, true)]));
        assert!(!check(&[sighting(0, 10, 7, true), sighting(11, 12, 6, true)]));
    }
}
