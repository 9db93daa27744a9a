//! What `/metrics` shows, in Prometheus' text format.
//!
//! Labels come from bounded sets (verbs, known resources, codes): a client cannot make new series
//! (CVE-2020-8552).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

/// Upper bounds of the duration buckets, in milliseconds.
const BUCKETS_MS: [u64; 14] =
    [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 60_000];

/// What tells one series from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels {
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [u64; BUCKETS_MS.len()],
    count: u64,
    sum_ms: u64,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(Labels, u16), u64>>,
    durations: Mutex<BTreeMap<Labels, Histogram>>,
    pub in_flight: Arc<AtomicI64>,
    pub refused: AtomicI64,
    pub watches: Arc<AtomicI64>,
    pub connections: Arc<AtomicI64>,
}

/// One up while it lives.
#[derive(Debug)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Adds one now and takes it away when dropped.
    pub fn up(gauge: &Arc<AtomicI64>) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge.clone())
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a finished request.
    pub fn observe(&self, labels: Labels, code: u16, took_ms: u64) {
        *self.requests.lock().entry((labels.clone(), code)).or_default() += 1;
        let mut durations = self.durations.lock();
        let histogram = durations.entry(labels).or_default();
        histogram.count += 1;
        histogram.sum_ms += took_ms;
        for (bucket, bound) in histogram.buckets.iter_mut().zip(BUCKETS_MS) {
            *bucket += u64::from(took_ms <= bound);
        }
    }

    /// The text, to which the caller adds what it knows itself.
    pub fn render(&self) -> String {
        let mut out = String::new();
        head(&mut out, "apiserver_request_total", "counter", "Requests answered.");
        for ((labels, code), count) in self.requests.lock().iter() {
            let labels = shown(labels);
            line(&mut out, "apiserver_request_total", &format!("{labels},code=\"{code}\""), count);
        }
        let name = "apiserver_request_duration_seconds";
        head(&mut out, name, "histogram", "How long requests took.");
        for (labels, histogram) in self.durations.lock().iter() {
            let labels = shown(labels);
            for (count, bound) in histogram.buckets.iter().zip(BUCKETS_MS) {
                let le = format!("{labels},le=\"{}\"", seconds(bound));
                line(&mut out, &format!("{name}_bucket"), &le, count);
            }
            let infinite = format!("{labels},le=\"+Inf\"");
            line(&mut out, &format!("{name}_bucket"), &infinite, &histogram.count);
            line(&mut out, &format!("{name}_sum"), &labels, &seconds(histogram.sum_ms));
            line(&mut out, &format!("{name}_count"), &labels, &histogram.count);
        }
        for (name, help, gauge) in [
            ("apiserver_current_inflight_requests", "Requests being worked on.", &self.in_flight),
            ("apiserver_longrunning_requests", "Watches under way.", &self.watches),
            ("apiserver_connections", "Open connections.", &self.connections),
        ] {
            gauge_line(&mut out, name, help, gauge.load(Ordering::Relaxed));
        }
        head(&mut out, "apiserver_refused_total", "counter", "Requests refused for load.");
        line(&mut out, "apiserver_refused_total", "", &self.refused.load(Ordering::Relaxed));
        out
    }
}

/// Adds one gauge without labels.
pub fn gauge_line(out: &mut String, name: &str, help: &str, value: impl std::fmt::Display) {
    head(out, name, "gauge", help);
    line(out, name, "", &value);
}

/// Adds the two lines that come before a series.
pub fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("memory takes it");
}

/// Adds one sample.
pub fn line(out: &mut String, name: &str, labels: &str, value: &impl std::fmt::Display) {
    if labels.is_empty() {
        writeln!(out, "{name} {value}").expect("memory takes it");
    } else {
        writeln!(out, "{name}{{{labels}}} {value}").expect("memory takes it");
    }
}

fn shown(labels: &Labels) -> String {
    format!(
        "verb=\"{}\",group=\"{}\",resource=\"{}\",subresource=\"{}\"",
        labels.verb.to_uppercase(),
        labels.group,
        labels.resource,
        labels.subresource
    )
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_appear_as_counters_and_cumulative_buckets() {
        let metrics = Metrics::default();
        let labels = Labels { verb: "get".into(), resource: "pods".into(), ..Labels::default() };
        metrics.observe(labels.clone(), 200, 3);
        metrics.observe(labels, 404, 300);
        let text = metrics.render();
        let labels = "verb=\"GET\",group=\"\",resource=\"pods\",subresource=\"\"";
        for expected in [
            format!("apiserver_request_total{{{labels},code=\"404\"}} 1"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.005\"}} 1"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.500\"}} 2"),
            format!("apiserver_request_duration_seconds_sum{{{labels}}} 0.303"),
        ] {
            assert!(text.contains(&expected), "{expected} in {text}");
        }
    }
}
