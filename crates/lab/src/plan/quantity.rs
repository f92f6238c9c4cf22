//! Numbers that know how they came about: a calculation with [`Quantity`]s is its own explanation.
//!
//! What is calculated is what is written down, so that a formula that is shown cannot differ from
//! the one that was used. A [`Book`] gives results their names; in later formulas a result stands
//! by its name and value, and need not be explained again.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::report::short;

/// Where a number comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "what")]
pub enum Source {
    /// A key of the model, and whether it is from the file, from the command line, or its default.
    Model(String),
    /// Somebody measured it: what, and where that is written.
    Measured(String),
    /// It is laid down: by whom.
    Constant(String),
    /// Nobody measured it: why it is taken to be so.
    Assumed(String),
    /// It comes out of a simulation: of what, with which seed.
    Simulated(String),
    /// Another figure.
    Figure(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(what) => write!(f, "model     {what}"),
            Self::Measured(what) => write!(f, "measured  {what}"),
            Self::Constant(what) => write!(f, "constant  {what}"),
            Self::Assumed(what) => write!(f, "assumed   {what}"),
            Self::Simulated(what) => write!(f, "simulated {what}"),
            Self::Figure(what) => write!(f, "figure    {what}"),
        }
    }
}

/// How tightly a formula holds together, and so where it needs brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Sum,
    Product,
    Whole,
}

/// A value, the formula it came from, and the sources of all that is in it.
#[derive(Clone, Debug)]
pub struct Quantity {
    value: f64,
    formula: String,
    binding: Binding,
    sources: BTreeSet<Source>,
}

impl Quantity {
    /// A number as it comes from its source; `label` is its unit or its name.
    #[must_use]
    pub fn of(value: f64, label: &str, source: Source) -> Self {
        Self {
            value,
            formula: format!("{} {label}", number(value)).trim_end().to_owned(),
            binding: Binding::Whole,
            sources: BTreeSet::from([source]),
        }
    }

    /// With one more source, which decided about it without being in its formula.
    #[must_use]
    pub fn because(mut self, source: Source) -> Self {
        self.sources.insert(source);
        self
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.value
    }

    /// The product.
    #[must_use]
    pub fn times(&self, other: &Self) -> Self {
        let formula = format!(
            "{} × {}",
            self.within(Binding::Product),
            other.within(Binding::Product)
        );
        let value = self.value * other.value;
        self.joined(other, value, formula, Binding::Product)
    }

    /// The quotient; nothing over nothing is nothing.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        let formula = format!(
            "{} ÷ {}",
            self.within(Binding::Product),
            other.within(Binding::Whole)
        );
        let value = match self.value == 0.0 {
            true => 0.0,
            false => self.value / other.value,
        };
        self.joined(other, value, formula, Binding::Product)
    }

    /// The sum.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let formula = format!("{} + {}", self.formula, other.formula);
        self.joined(other, self.value + other.value, formula, Binding::Sum)
    }

    /// The larger of two.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        let formula = format!("max({}, {})", self.formula, other.formula);
        self.joined(other, self.value.max(other.value), formula, Binding::Whole)
    }

    /// The next whole number.
    #[must_use]
    pub fn ceil(&self) -> Self {
        Self {
            value: self.value.ceil(),
            formula: format!("⌈{}⌉", self.formula),
            binding: Binding::Whole,
            sources: self.sources.clone(),
        }
    }

    /// The sum of all; the first must be there.
    #[must_use]
    pub fn sum(first: Self, rest: impl IntoIterator<Item = Self>) -> Self {
        rest.into_iter().fold(first, |sum, next| sum.plus(&next))
    }

    fn within(&self, binding: Binding) -> String {
        match self.binding < binding {
            true => format!("({})", self.formula),
            false => self.formula.clone(),
        }
    }

    fn joined(&self, other: &Self, value: f64, formula: String, binding: Binding) -> Self {
        Self {
            value,
            formula,
            binding,
            sources: &self.sources | &other.sources,
        }
    }
}

/// What a figure counts; it decides how it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things, of which there are whole ones.
    Count,
    /// Things of which there may be a part: cores.
    Amount,
    /// A share of what there is, shown in percent.
    Share,
    /// Bits in a second.
    BitsPerSecond,
    /// Something in a second.
    PerSecond,
    /// Octets.
    Octets,
    /// Nanoseconds.
    Nanoseconds,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// As JSON names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Amount => "amount",
            Self::Share => "share",
            Self::BitsPerSecond => "bit/s",
            Self::PerSecond => "1/s",
            Self::Octets => "octets",
            Self::Nanoseconds => "ns",
            Self::Seconds => "s",
        }
    }

    /// A value for people.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Count => number(value),
            Self::Amount => format!("{value:.2}"),
            Self::Share => format!("{:.1} %", 100.0 * value),
            Self::BitsPerSecond => format!("{}bit/s", spaced(value)),
            Self::PerSecond => format!("{}/s", short(value)),
            Self::Octets => octets(value),
            Self::Nanoseconds if value < 1e4 => format!("{value:.0} ns"),
            Self::Nanoseconds => format!("{}s", small(value / 1e9)),
            Self::Seconds => format!("{}s", small(value)),
        }
    }
}

/// With a space before the unit, whether it has a prefix or not.
fn spaced(value: f64) -> String {
    let text = short(value);
    match text.contains(' ') {
        true => text,
        false => text + " ",
    }
}

fn octets(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v >= (1u64 << 30) as f64 => (v / (1u64 << 30) as f64, "GiB"),
        v if v >= (1u64 << 20) as f64 => (v / (1u64 << 20) as f64, "MiB"),
        v if v >= 10_000.0 => (v / 1024.0, "KiB"),
        v => (v, "octets"),
    };
    format!("{} {unit}", short(scaled))
}

fn small(value: f64) -> String {
    match value {
        v if v >= 1.0 || v == 0.0 => format!("{} ", short(v)),
        v if v >= 1e-3 => format!("{} m", short(v * 1e3)),
        v => format!("{} µ", short(v * 1e6)),
    }
}

/// A number of a formula: exact if it is short, else four digits; thousands apart.
#[must_use]
pub fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return grouped(&format!("{value:.0}"));
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{value:.digits$}");
    match text.split_once('.') {
        Some((whole, fraction)) => {
            let text = format!("{}.{fraction}", grouped(whole));
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        None => grouped(&text),
    }
}

fn grouped(digits: &str) -> String {
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", digits), |rest| ("-", rest));
    let mut text = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A number of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What `--explain` calls it.
    pub name: String,
    /// What it is.
    pub title: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// As people read it.
    pub shown: String,
    /// How it follows from others, with the numbers filled in.
    pub formula: String,
    /// Where those come from.
    pub sources: Vec<Source>,
}

impl Figure {
    /// Whether something in its formula is taken to be so and was not measured.
    #[must_use]
    pub fn is_assumed(&self) -> bool {
        self.sources
            .iter()
            .any(|source| matches!(source, Source::Assumed(_)))
    }

    /// The whole story.
    #[must_use]
    pub fn explanation(&self) -> String {
        let Self {
            name,
            title,
            shown,
            formula,
            ..
        } = self;
        let mut text = format!("{name} = {shown}\n  {title}\n  = {formula}\n");
        for source in &self.sources {
            text += &format!("    {source}\n");
        }
        text
    }
}

/// All figures, in the order in which they were found.
#[derive(Clone, Debug, Default)]
pub struct Book(Vec<Figure>);

impl Book {
    /// Gives a result a name, by which it stands in later formulas.
    pub fn note(&mut self, name: &str, title: &str, unit: Unit, found: Quantity) -> Quantity {
        let label = match unit {
            Unit::BitsPerSecond | Unit::PerSecond | Unit::Octets => {
                format!("{} [{name}]", unit.name().replace("1/s", "/s"))
            }
            Unit::Nanoseconds | Unit::Seconds => format!("{} [{name}]", unit.name()),
            Unit::Count | Unit::Amount | Unit::Share => format!("[{name}]"),
        };
        let value = found.value;
        self.0.push(Figure {
            name: name.to_owned(),
            title: title.to_owned(),
            value,
            unit: unit.name(),
            shown: unit.show(value),
            formula: found.formula,
            sources: found.sources.into_iter().collect(),
        });
        Quantity::of(value, &label, Source::Figure(name.to_owned()))
    }

    /// All of them.
    #[must_use]
    pub fn figures(&self) -> &[Figure] {
        &self.0
    }

    /// The one with this name.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.0.iter().find(|figure| figure.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: f64, label: &str) -> Quantity {
        Quantity::of(value, label, Source::Model(label.to_owned()))
    }

    #[test]
    fn a_formula_is_what_was_calculated() {
        let sum = key(2.0, "a").plus(&key(3.0, "b"));
        let product = sum.times(&key(4.0, "c"));
        assert_eq!(product.formula, "(2 a + 3 b) × 4 c");
        assert_eq!(product.value(), 20.0);
        let quotient = key(12.0, "d").over(&product);
        assert_eq!(quotient.formula, "12 d ÷ ((2 a + 3 b) × 4 c)");
        assert_eq!(quotient.value(), 0.6);
        assert_eq!(quotient.ceil().value(), 1.0);
        assert_eq!(
            product.times(&key(0.5, "e")).formula,
            "(2 a + 3 b) × 4 c × 0.5 e"
        );
        assert_eq!(quotient.sources.len(), 4);
    }

    #[test]
    fn nothing_of_nothing_is_nothing_and_what_decided_is_a_source_too() {
        let nothing = key(0.0, "packets").over(&key(0.0, "cores"));
        assert_eq!(nothing.value(), 0.0);
        let decided = nothing.because(Source::Assumed("why".to_owned()));
        let mut book = Book::default();
        book.note("x", "something", Unit::Count, decided);
        book.note("y", "something else", Unit::Count, key(1.0, "a"));
        assert!(book.figure("x").unwrap().is_assumed());
        assert!(!book.figure("y").unwrap().is_assumed());
        assert!(
            book.figure("x")
                .unwrap()
                .explanation()
                .contains("assumed   why")
        );
    }

    #[test]
    fn a_figure_stands_by_its_name_in_later_formulas() {
        let mut book = Book::default();
        let rate = key(1e6, "subscribers").times(&key(2500.0, "bit/s"));
        let rate = book.note("rate", "what flows", Unit::BitsPerSecond, rate);
        let doubled = rate.times(&key(2.0, "ways"));
        assert_eq!(doubled.formula, "2 500 000 000 bit/s [rate] × 2 ways");
        let figure = book.figure("rate").unwrap();
        assert_eq!(figure.shown, "2.5 Gbit/s");
        assert_eq!(figure.formula, "1 000 000 subscribers × 2 500 bit/s");
        assert!(figure.explanation().contains("model     subscribers"));
    }

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        let shown = [0.0, 12.0, 1234567.0, 0.123_456, 344.666_7, -1500.0].map(number);
        assert_eq!(shown, ["0", "12", "1 234 567", "0.1235", "344.7", "-1 500"]);
        assert_eq!(Unit::Octets.show(8192.0), "8192 octets");
        assert_eq!(Unit::Octets.show(3.5 * 1024.0 * 1024.0), "3.5 MiB");
        assert_eq!(Unit::Seconds.show(0.0203), "20.3 ms");
        assert_eq!(Unit::Nanoseconds.show(988_091.0), "988 µs");
        assert_eq!(Unit::BitsPerSecond.show(500.0), "500 bit/s");
        assert_eq!(Unit::Share.show(0.876), "87.6 %");
    }
}
