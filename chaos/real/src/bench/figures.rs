//! What a row is judged by: operations, times, and what the servers' processes used.

use std::fmt;

/// Microseconds in one tick of the kernel's process accounting (`USER_HZ` is 100 on Linux).
const TICK_US: u64 = 10_000;

/// What one row measured.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) took_us: Vec<u64>,
    pub(super) wall_us: u64,
    pub(super) cpu_us: u64,
}

/// Processes whose use of the machine counts together.
#[derive(Clone, Debug)]
pub(super) struct Servers(Vec<u32>);

impl Servers {
    pub(super) fn new(pids: &[u32]) -> Self {
        Self(pids.to_vec())
    }

    /// CPU time so far, of the kernel on their behalf included.
    pub(super) fn cpu_us(&self) -> u64 {
        self.0.iter().map(|pid| ticks(&read(*pid, "stat"))).sum::<u64>() * TICK_US
    }

    /// Memory now, in MiB.
    pub(super) fn mib(&self) -> f64 {
        let kib: u32 = self.0.iter().map(|pid| rss_kib(&read(*pid, "status"))).sum();
        f64::from(kib) / 1024.0
    }
}

fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// User and system time, the 14th and 15th field of `/proc/PID/stat` (proc(5)); the second may hold blanks.
fn ticks(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = after_name.split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn rss_kib(status: &str) -> u32 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

impl fmt::Display for Figures {
    #[expect(clippy::cast_precision_loss, reason = "figures, not counts")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.took_us.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
        };
        let ms = |percent| at(percent).copied().unwrap_or_default() as f64 / 1000.0;
        let count = sorted.len().max(1) as f64;
        let per_s = count * 1e6 / self.wall_us.max(1) as f64;
        let cpu_us = self.cpu_us as f64 / count;
        write!(f, "{per_s:.1}\t{:.2}\t{:.2}\t{cpu_us:.0}", ms(50), ms(99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_off_proc() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 31 11 0 0 20 0";
        assert_eq!(ticks(stat), 42);
        assert_eq!(rss_kib("Name:\tx\nVmRSS:\t  2048 kB\n"), 2048);
        assert_eq!(rss_kib(""), 0);
    }

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let took_us = (1..=100).rev().map(|ms| ms * 1000).collect();
        let figures = Figures { took_us, wall_us: 1_000_000, cpu_us: 5_000 };
        assert_eq!(figures.to_string(), "100.0\t51.00\t100.00\t50");
    }
}
