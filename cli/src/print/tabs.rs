//! Columns from tab-separated cells, as Go's `text/tabwriter` lays them out.
//!
//! A column is a block of neighbouring lines that each have a cell ended by a tab in it; its width is
//! that of its widest cell plus padding. kubectl's tables and descriptions are made so.

/// Lays out text; remembers widths when it is used again, so that a watch's rows stay in line.
#[derive(Clone, Debug)]
pub struct Tabs {
    width_min: usize,
    padding: usize,
    /// `None`: every text stands alone.
    remembered: Option<Vec<usize>>,
}

impl Tabs {
    /// For tables of `get`.
    pub fn of_tables() -> Self {
        Self { width_min: 6, padding: 3, remembered: Some(Vec::new()) }
    }

    /// For `describe`.
    pub fn of_descriptions() -> Self {
        Self { width_min: 0, padding: 2, remembered: None }
    }

    /// Replaces tabs by spaces.
    pub fn lay_out(&mut self, text: &str) -> String {
        let lines: Vec<Vec<&str>> =
            text.split_terminator('\n').map(|line| line.split('\t').collect()).collect();
        let mut out = String::with_capacity(text.len() * 2);
        self.block(&lines, &mut Vec::new(), &mut out);
        out
    }

    fn block(&mut self, lines: &[Vec<&str>], widths: &mut Vec<usize>, out: &mut String) {
        let column = widths.len();
        let in_column = |line: &Vec<&str>| column + 1 < line.len();
        let mut rest = lines;
        while !rest.is_empty() {
            let outside = rest.iter().position(in_column).unwrap_or(rest.len());
            write_lines(&rest[..outside], widths, out);
            rest = &rest[outside..];
            let inside = rest.iter().position(|line| !in_column(line)).unwrap_or(rest.len());
            if inside == 0 {
                continue;
            }
            let widest = rest[..inside].iter().map(|line| line[column].chars().count()).max();
            let width =
                self.remember(column, (widest.unwrap_or(0) + self.padding).max(self.width_min));
            widths.push(width);
            self.block(&rest[..inside], widths, out);
            widths.pop();
            rest = &rest[inside..];
        }
    }

    fn remember(&mut self, column: usize, width: usize) -> usize {
        let Some(known) = &mut self.remembered else { return width };
        if known.len() <= column {
            known.resize(column + 1, 0);
        }
        known[column] = known[column].max(width);
        known[column]
    }
}

fn write_lines(lines: &[Vec<&str>], widths: &[usize], out: &mut String) {
    for line in lines {
        for (place, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if place + 1 < line.len()
                && let Some(width) = widths.get(place)
            {
                let gap = width.saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n(' ', gap));
            }
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_the_widths_of_kubectl() {
        let text = "NAME\tREADY\tSTATUS\tRESTARTS\tAGE\nhello\t1/1\tRunning\t0\t5s\n";
        assert_eq!(
            Tabs::of_tables().lay_out(text),
            "NAME    READY   STATUS    RESTARTS   AGE\nhello   1/1     Running   0          5s\n"
        );
    }

    #[test]
    fn rows_that_come_later_stay_in_line() {
        let mut tabs = Tabs::of_tables();
        tabs.lay_out("NAME\tAGE\na-long-name\t5s\n");
        assert_eq!(tabs.lay_out("b\t6s\n"), "b             6s\n");
    }

    #[test]
    fn line_without_a_tab_ends_a_column() {
        let text =
            "Name:\tx\nService Account:\tdefault\nContainers:\n  c:\n    Image:\ti\n    Id:\t\n";
        assert_eq!(
            Tabs::of_descriptions().lay_out(text),
            "Name:             x\nService Account:  default\nContainers:\n  c:\n    Image:  i\n    Id:     \n"
        );
    }
}
