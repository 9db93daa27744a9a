//! From single looks to a result: only so many equal ones in a row count.
//!
//! Pure.

/// Consecutive results against their thresholds.
#[derive(Debug, Clone)]
pub(crate) struct Counter {
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<bool>,
    run: u32,
}

impl Counter {
    pub(crate) fn new(success_threshold: Option<i32>, failure_threshold: Option<i32>) -> Self {
        let at_least_one = |value: Option<i32>, otherwise: u32| {
            value.and_then(|value| u32::try_from(value).ok()).unwrap_or(otherwise).max(1)
        };
        Self {
            success_threshold: at_least_one(success_threshold, 1),
            failure_threshold: at_least_one(failure_threshold, 3),
            last: None,
            run: 0,
        }
    }

    /// Takes in one look; returns the result once enough looks agree.
    pub(crate) fn take(&mut self, is_well: bool) -> Option<bool> {
        self.run = if self.last == Some(is_well) { self.run + 1 } else { 1 };
        self.last = Some(is_well);
        let threshold = if is_well { self.success_threshold } else { self.failure_threshold };
        (self.run >= threshold).then_some(is_well)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_enough_equal_looks_in_a_row_make_a_result() {
        let check = |looks: &str, expected: &str| {
            let mut counter = Counter::new(Some(2), Some(3));
            let results = looks.chars().map(|look| match counter.take(look == '+') {
                None => '.',
                Some(true) => '+',
                Some(false) => '-',
            });
            assert_eq!(results.collect::<String>(), expected);
        };
        check("++", ".+");
        check("---", "..-");
        check("--+--+-", ".......");
        check("++---++", ".+..-.+");
    }
}
