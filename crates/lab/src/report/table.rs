//! Tables: numbers to the right, names to the left, and a colour where one says something.

use super::escape;

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As wished.
    Good,
    /// Acceptable.
    Fair,
    /// Not as it must be.
    Bad,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Fair => "fair",
            Self::Bad => "bad",
        }
    }
}

/// Letters of a number with its unit.
const NUMBER_MAX: usize = 16;

/// One field of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// With a colour.
    #[must_use]
    pub fn tone(self, tone: Tone) -> Self {
        let tone = Some(tone);
        Self { tone, ..self }
    }

    /// A number and its unit; what is longer is a sentence or a formula.
    fn is_number(&self) -> bool {
        let rest = self
            .text
            .trim_start_matches(['-', '+', '−', '≈', '<', '>', ' ']);
        rest.starts_with(|c: char| c.is_ascii_digit()) && rest.chars().count() <= NUMBER_MAX
    }

    fn html(&self) -> String {
        let alignment = if self.is_number() { "n" } else { "" };
        let tone = self.tone.map_or("", Tone::class);
        let class = format!("{alignment} {tone}");
        let text = escape(&self.text);
        match class.trim() {
            "" => format!("<td>{text}"),
            class => format!("<td class=\"{class}\">{text}"),
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        let text = text.into();
        Self { text, tone: None }
    }
}

/// Rows below a heading.
#[derive(Clone, Debug)]
pub struct Table {
    heading: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// With the names of its columns.
    pub fn new<C: Into<Cell>>(heading: impl IntoIterator<Item = C>) -> Self {
        Self {
            heading: heading.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// With one more row.
    #[must_use]
    pub fn row<C: Into<Cell>>(mut self, cells: impl IntoIterator<Item = C>) -> Self {
        self.push(cells);
        self
    }

    /// Puts a row behind the others.
    pub fn push<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// A column of numbers has its heading to the right too.
    fn is_number(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.clone().count() > 0 && cells.all(|cell| cell.is_number() || cell.text.is_empty())
    }

    pub(super) fn html(&self) -> String {
        let heading = self.heading.iter().enumerate().map(|(column, cell)| {
            let class = if self.is_number(column) {
                " class=n"
            } else {
                ""
            };
            format!("<th{class}>{}", escape(&cell.text))
        });
        let mut html = format!("<table><tr>{}", heading.collect::<String>());
        for row in &self.rows {
            html += "\n<tr>";
            html.extend(row.iter().map(Cell::html));
        }
        html + "</table>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_no_number() {
        assert!(Cell::from("31 429 598 /s").is_number());
        assert!(!Cell::from("31 429 598 /s × 1478 octets").is_number());
    }

    #[test]
    fn numbers_stand_to_the_right_and_texts_are_escaped() {
        let bad = Cell::from("-3.5 %").tone(Tone::Bad);
        let html = Table::new(["a<b", "n"]).row(["x&y".into(), bad]).html();
        assert_eq!(
            html,
            "<table><tr><th>a&lt;b<th class=n>n\n<tr><td>x&amp;y<td class=\"n bad\">-3.5 %</table>\n"
        );
    }
}
