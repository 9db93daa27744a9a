//! ImageLocality: a node that has a pod's images starts it sooner.

use crate::node::NodeInfo;
use crate::plugin::{Judge, Plugin, SCORE_MAX};
use crate::pod::PodInfo;
use crate::state::State;

/// Smaller images are fetched fast enough; larger ones count no more.
const BYTES_MIN: i64 = 23 * 1024 * 1024;
const BYTES_MAX: i64 = 1000 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct ImageLocality;

struct Images {
    names: Vec<String>,
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn prepare<'a>(&'a self, _state: &'a State, pod: &'a PodInfo) -> Option<Box<dyn Judge + 'a>> {
        let names: Vec<String> = pod.images().map(with_tag).collect();
        (!names.is_empty()).then(|| Box::new(Images { names }) as Box<dyn Judge>)
    }
}

impl Judge for Images {
    fn score(&self, node: &NodeInfo) -> i64 {
        if node.images.is_empty() {
            return 0;
        }
        let count = i64::try_from(self.names.len()).unwrap_or(i64::MAX);
        let bytes: i64 = self.names.iter().filter_map(|name| node.images.get(name)).sum();
        let bytes_max = BYTES_MAX.saturating_mul(count);
        SCORE_MAX * (bytes.clamp(BYTES_MIN, bytes_max) - BYTES_MIN) / (bytes_max - BYTES_MIN)
    }
}

fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || name.contains('@') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}
