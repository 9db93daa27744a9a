//! No pod of one name runs on two nodes at a time, and no pod of one uid ever runs on a second one.

use std::collections::BTreeMap;

use crate::check::Verdict;
use crate::history::History;
use crate::kube::story::Run;

pub(crate) fn check(history: &History) -> Verdict {
    let mut by_pod: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
    for run in &history.kube.runs {
        let earlier = by_pod.entry(&run.pod).or_default();
        for other in earlier.iter().filter(|other| other.node != run.node) {
            let (pod, here, there) = (&run.pod, &run.node, &other.node);
            if other.uid == run.uid {
                return Err(format!("pod {pod} ran on {there} and then on {here}"));
            }
            if other.until_us.is_none_or(|until_us| until_us > run.from_us) {
                return Err(format!("pod {pod} began on {here} while it ran on {there}"));
            }
        }
        earlier.push(run);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_in_two_places_is_found() {
        let run = |node: &str, uid: &str, from_us, until_us| Run {
            node: node.into(),
            pod: "default/a".into(),
            uid: uid.into(),
            from_us,
            until_us,
        };
        let check = |runs: &[Run]| {
            let mut history = History::default();
            history.kube.runs = runs.to_vec();
            check(&history).is_ok()
        };
        assert!(check(&[run("n1", "1", 1, Some(5)), run("n2", "2", 5, None)]));
        assert!(check(&[run("n1", "1", 1, Some(5)), run("n1", "1", 6, None)]));
        assert!(!check(&[run("n1", "1", 1, Some(5)), run("n2", "1", 7, None)]));
        assert!(!check(&[run("n1", "1", 1, Some(5)), run("n2", "2", 4, None)]));
        assert!(!check(&[run("n1", "1", 1, None), run("n2", "2", 4, None)]));
    }
}
