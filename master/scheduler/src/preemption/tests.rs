//! Who has to leave for whom.

use serde_json::{Value, json};

use super::*;
use crate::fixture::{decider, info, node, refused, state};

/// `name:cpu:priority` pods on `n1`, `n2` …; the pod asks for `cpu` with a priority.
fn planned(nodes: &[&[&str]], cpu: &str, change: Value, budgets: &[Budget]) -> Outcome {
    let names: Vec<String> = (1..=nodes.len()).map(|index| format!("n{index}")).collect();
    let mut state = state(names.iter().map(|name| node(name, json!({}))));
    for (name, pods) in names.iter().zip(nodes) {
        for words in *pods {
            let parts: Vec<&str> = words.split(':').collect();
            let priority: i32 = parts[2].parse().unwrap();
            let change = json!({ "metadata": { "labels": { "app": parts[0] } }, "spec": { "priority": priority } });
            state.put_pod(info(parts[0], parts[1], change), name);
        }
    }
    let pod = info("new", cpu, change);
    let no_fit = refused(&state, &pod).unwrap_err();
    let before = format!("{:?}", state.nodes_from(0).collect::<Vec<_>>());
    let outcome = plan(&decider(), &mut state, &pod, &no_fit, budgets);
    assert_eq!(
        format!("{:?}", state.nodes_from(0).collect::<Vec<_>>()),
        before,
        "the state is as it was"
    );
    outcome
}

fn check(nodes: &[&[&str]], cpu: &str, node: &str, victims: &[&str]) {
    let victims = victims.iter().map(|name| format!("a/{name}")).collect();
    let expected = Outcome::Leave(Plan { node: node.to_owned(), victims });
    assert_eq!(
        planned(nodes, cpu, json!({ "spec": { "priority": 100 } }), &[]),
        expected,
        "{nodes:?}"
    );
}

#[test]
fn the_least_important_leave_and_no_more_than_needed() {
    check(&[&["a:2:1", "b:2:2"], &["c:4:50"]], "2", "n1", &["a"]);
    check(&[&["a:4:200"], &["c:4:50"]], "2", "n2", &["c"]);
    check(&[&["a:2:5", "b:2:5"], &["c:2:5", "d:1:5", "e:1:5"]], "4", "n1", &["a", "b"]);
    check(&[&["a:1:5", "b:1:5", "c:1:5", "d:1:7"]], "2", "n1", &["b", "c"]);
}

#[test]
fn nobody_leaves_in_vain() {
    let stay = |why: &str| Outcome::Stay(format!("preemption: {why}"));
    let low = json!({ "spec": { "priority": 1 } });
    assert_eq!(
        planned(&[&["a:4:1"]], "2", low, &[]),
        stay("0/1 nodes are available: 1 No preemption victims found for incoming pod.")
    );
    let high = json!({ "spec": { "priority": 100 } });
    assert_eq!(
        planned(&[&["a:4:1"]], "8", high, &[]),
        stay("0/1 nodes are available: 1 Preemption is not helpful for scheduling.")
    );
    let polite = json!({ "spec": { "priority": 100, "preemptionPolicy": "Never" } });
    assert_eq!(
        planned(&[&["a:4:1"]], "2", polite, &[]),
        stay("not eligible due to preemptionPolicy=Never.")
    );
}

#[test]
fn budgets_are_broken_last() {
    let budget = |app: &str, allowed: i32| {
        Budget::read(
            &serde_json::from_value(json!({
                "metadata": { "name": app, "namespace": "a" },
                "spec": { "selector": { "matchLabels": { "app": app } } },
                "status": { "disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1 },
            }))
            .unwrap(),
        )
    };
    let high = json!({ "spec": { "priority": 100 } });
    let nodes: [&[&str]; 2] = [&["a:4:1"], &["b:4:50"]];
    let leave = |node: &str, victim: &str| {
        Outcome::Leave(Plan { node: node.to_owned(), victims: vec![victim.to_owned()] })
    };
    assert_eq!(planned(&nodes, "2", high.clone(), &[budget("a", 0)]), leave("n2", "a/b"));
    assert_eq!(planned(&nodes, "2", high.clone(), &[budget("a", 1)]), leave("n1", "a/a"));
    assert_eq!(planned(&nodes, "2", high, &[budget("a", 0), budget("b", 0)]), leave("n1", "a/a"));
}
