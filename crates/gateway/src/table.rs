//! Tables for a terminal: columns as wide as their widest cell, numbers to the right.

use std::fmt;

use crate::log::escaped;

/// A table that is being filled.
pub(crate) struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heads: &[&'static str]) -> Self {
        Self {
            heads: heads.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Names are the peers' own choice: control characters in them are escaped.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.heads.len());
        let cells = cells
            .into_iter()
            .map(|cell| escaped(&cell, None).into_owned());
        self.rows.push(cells.collect());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        cells.chain([self.heads[column].len()]).max().unwrap_or(0)
    }

    /// A column of numbers stands to the right.
    fn is_numeric(&self, column: usize) -> bool {
        let numeric = |cell: &String| {
            cell.chars()
                .all(|c| c.is_ascii_digit() || "., %-kMGT".contains(c))
        };
        !self.rows.is_empty() && self.rows.iter().all(|row| numeric(&row[column]))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.heads.len();
        let widths: Vec<usize> = (0..columns).map(|c| self.width(c)).collect();
        let right: Vec<bool> = (0..columns).map(|c| self.is_numeric(c)).collect();
        let heads: Vec<String> = self.heads.iter().map(|head| (*head).to_owned()).collect();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                if right[column] {
                    line += &format!("{cell:>width$}  ");
                } else {
                    line += &format!("{cell:<width$}  ");
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `1234567` as `1.23M`: three digits that can be compared at a glance.
pub(crate) fn count(number: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
        (10_000, "k"),
    ];
    for (unit, name) in UNITS {
        if number >= unit {
            let scale = if name == "k" { 1_000 } else { unit };
            let value = number as f64 / scale as f64;
            let digits = if value >= 100.0 {
                0
            } else if value >= 10.0 {
                1
            } else {
                2
            };
            return format!("{value:.digits$}{name}");
        }
    }
    number.to_string()
}

/// Seconds as `3d 04:05:06`.
pub(crate) fn age(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days == 0 {
        clock
    } else {
        format!("{days}d {clock}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_numbers_stand_to_the_right() {
        let mut table = Table::new(&["user", "packets"]);
        table.row(vec!["alice".into(), count(12)]);
        table.row(vec!["bo".into(), count(1_234_567)]);
        assert_eq!(
            table.to_string(),
            "user   packets\nalice       12\nbo       1.23M\n"
        );
    }

    #[test]
    fn a_name_cannot_write_elsewhere_on_the_terminal() {
        let mut table = Table::new(&["user"]);
        table.row(vec!["\x1b[2Jroot\n".into()]);
        assert_eq!(table.to_string(), "user\n\\u{1b}[2Jroot\\n\n");
    }

    #[test]
    fn an_age_reads_like_a_clock() {
        assert_eq!(age(59), "00:00:59");
        assert_eq!(age(90_061), "1d 01:01:01");
    }
}
