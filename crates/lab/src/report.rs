//! A report: one HTML page that needs no other file, for screen and paper, light and dark.
//!
//! A page is sections, a section is text, tables and plots in the order in which they are put:
//!
//! ```
//! use lab::report::{Bar, Bars, Lines, Report, Table, Tone};
//!
//! let mut report = Report::new("adit-lab blast", "1000 subscribers, IMIX, 60 s");
//! report
//!     .section("Throughput")
//!     .text("What arrived, counted by who received it.")
//!     .table(Table::new(["way", "packets"]).row(["up", "1000"]))
//!     .plot(Lines::new("Throughput over time", "s", "Mbit/s").line("up", [(0.0, 0.0), (1.0, 950.0)]))
//!     .plot(Bars::new("Failures by stage").bar(Bar::new("IKE phase 1", 3.0, "3").tone(Tone::Bad)));
//! assert!(report.html()?.contains("<svg"));
//! # anyhow::Ok(())
//! ```
//!
//! | plot | for |
//! |---|---|
//! | [`Lines`] | something over time or over size, linear or logarithmic |
//! | [`Percentiles`] | latencies, up to the rarest that a histogram has |
//! | [`Bars`] | shares, counts, what is used of what there is |
//!
//! plotters draws; colours are classes of the style sheet, so that one drawing serves both themes,
//! and a curve is a path of whole pixels, so that a page stays small.

mod bars;
mod plot;
mod svg;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use bars::{Bar, Bars};
pub use plot::{Lines, Percentiles};
pub use table::{Cell, Table, Tone};

const STYLE: &str = include_str!("report/style.css");

/// A page.
pub struct Report {
    title: String,
    lead: String,
    sections: Vec<Section>,
}

/// A part of a page with a heading of its own.
pub struct Section {
    title: String,
    blocks: Vec<Block>,
}

enum Block {
    Text(String),
    Verbatim(String),
    Table(Table),
    Plot(Box<dyn Plot>),
}

/// Something that draws itself.
pub trait Plot {
    /// What stands above the drawing.
    fn title(&self) -> &str;
    /// Names of the curves, the first in the first colour.
    fn legend(&self) -> Vec<&str>;
    /// The drawing, as an `<svg>` element for the page's style sheet.
    fn svg(&self) -> Result<String>;
}

impl Report {
    /// A page with its heading and a paragraph that says what it is about.
    #[must_use]
    pub fn new(title: &str, lead: &str) -> Self {
        Self {
            title: title.to_owned(),
            lead: lead.to_owned(),
            sections: Vec::new(),
        }
    }

    /// Begins a section behind the others.
    pub fn section(&mut self, title: &str) -> &mut Section {
        let blocks = Vec::new();
        self.sections.push(Section {
            title: title.to_owned(),
            blocks,
        });
        self.sections.last_mut().expect("it was just put there")
    }

    /// The page.
    pub fn html(&self) -> Result<String> {
        let (title, lead) = (escape(&self.title), escape(&self.lead));
        let mut html = format!(
            "<!doctype html><html lang=en><meta charset=utf-8>\
             <meta name=viewport content=\"width=device-width\"><title>{title}</title>\
             <style>{STYLE}</style><h1>{title}</h1><p>{lead}</p>\n"
        );
        if self.sections.len() > 2 {
            html += &self.contents();
        }
        for (index, section) in self.sections.iter().enumerate() {
            let title = escape(&section.title);
            html += &format!("<h2 id=s{index}>{title}</h2>\n");
            for block in &section.blocks {
                html += &block.html()?;
            }
        }
        Ok(html)
    }

    /// Writes the page as `report.html` into a directory, which is made if need be.
    pub fn write(&self, directory: &Path) -> Result<PathBuf> {
        let file = directory.join("report.html");
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        fs::write(&file, self.html()?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    fn contents(&self) -> String {
        let links = self.sections.iter().enumerate().map(|(index, section)| {
            let title = escape(&section.title);
            format!("<a href=\"#s{index}\">{title}</a>")
        });
        format!("<nav>{}</nav>\n", links.collect::<Vec<_>>().join(" "))
    }
}

impl Section {
    /// A paragraph.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.put(Block::Text(text.to_owned()))
    }

    /// Lines as they are: a command, a configuration.
    pub fn verbatim(&mut self, text: &str) -> &mut Self {
        self.put(Block::Verbatim(text.to_owned()))
    }

    /// A table.
    pub fn table(&mut self, table: Table) -> &mut Self {
        self.put(Block::Table(table))
    }

    /// A plot.
    pub fn plot(&mut self, plot: impl Plot + 'static) -> &mut Self {
        self.put(Block::Plot(Box::new(plot)))
    }

    fn put(&mut self, block: Block) -> &mut Self {
        self.blocks.push(block);
        self
    }
}

impl Block {
    fn html(&self) -> Result<String> {
        Ok(match self {
            Self::Text(text) => format!("<p>{}</p>\n", escape(text)),
            Self::Verbatim(text) => format!("<pre>{}</pre>\n", escape(text)),
            Self::Table(table) => table.html(),
            Self::Plot(plot) => figure(plot.as_ref())?,
        })
    }
}

fn figure(plot: &dyn Plot) -> Result<String> {
    let title = escape(plot.title());
    let names = plot.legend().into_iter().enumerate();
    let legend = names.map(|(index, name)| {
        let class = svg::Colour::curve(index).class();
        format!("<span><i class={class}></i>{}</span>", escape(name))
    });
    let legend: String = legend.collect();
    let svg = plot.svg()?;
    Ok(format!(
        "<figure><figcaption>{title} {legend}</figcaption>{svg}</figure>\n"
    ))
}

/// A text for HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            c => escaped.push(c),
        }
    }
    escaped
}

/// A number in three digits or so, as an axis shows it: 1.5 k, 20 M.
#[must_use]
pub fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        v if v >= 1e12 => (value / 1e12, " T"),
        v if v >= 1e9 => (value / 1e9, " G"),
        v if v >= 1e6 => (value / 1e6, " M"),
        v if v >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 => 2,
        v => (1 - v.log10().floor() as i32).clamp(0, 9) as usize,
    };
    let text = format!("{scaled:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;

    #[test]
    fn a_page_needs_nothing_from_outside_and_holds_what_was_put_in() {
        let html = page().html().unwrap();
        for outside in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
        for (what, count) in [("<svg", 3), ("</svg>", 3), ("<table", 1), ("<h2", 3)] {
            assert_eq!(html.matches(what).count(), count, "{what}");
        }
        assert!(html.contains("a &lt;b&gt; &amp; c"), "text is escaped");
    }

    #[test]
    fn a_hundred_thousand_points_make_a_small_page() {
        let noise = |n: u32| f64::from(n.wrapping_mul(2_654_435_761) >> 20);
        let points = (0..100_000).map(|n| (f64::from(n), noise(n)));
        let mut report = Report::new("long", "");
        report
            .section("")
            .plot(Lines::new("noise", "s", "packets").line("up", points));
        let html = report.html().unwrap();
        assert!(html.len() < 40_000, "{} octets", html.len());
    }

    #[test]
    fn plots_of_nothing_are_drawn_too() {
        let mut report = Report::new("empty", "");
        let empty = Histogram::<u64>::new(2).unwrap();
        report
            .section("")
            .plot(Lines::new("nothing", "s", "Mbit/s").line("up", []))
            .plot(Lines::new("flat", "s", "").line("up", [(1.0, 0.0), (1.0, 0.0)]))
            .plot(
                Lines::new("log of nothing", "s", "")
                    .log_y()
                    .line("up", [(1.0, 0.0)]),
            )
            .plot(Percentiles::new("nobody", "µs").histogram("up", &empty, 1.0))
            .plot(Bars::new("none"));
        assert_eq!(report.html().unwrap().matches("<svg").count(), 5);
    }

    #[test]
    fn numbers_of_an_axis_are_short() {
        let shown = [0.0, 0.05, 7.0, 12.5, 999.0, 1500.0, 20_000.0, 1.5e6, 2e9].map(short);
        let wanted = [
            "0", "0.05", "7", "12.5", "999", "1500", "20 k", "1.5 M", "2 G",
        ];
        assert_eq!(shown, wanted);
        assert_eq!(short(10.0), "10");
    }

    fn page() -> Report {
        let mut report = Report::new("a <b> & c", "lead");
        let mut times = Histogram::<u64>::new(2).unwrap();
        (1..10_000).for_each(|n| times.record(n).unwrap());
        report
            .section("Throughput")
            .text("text")
            .table(Table::new(["way", "packets"]).row(["up", "1000"]))
            .plot(Lines::new("over time", "s", "Mbit/s").line("up", [(0.0, 1.0), (5.0, 3.0)]));
        report
            .section("Latency")
            .plot(Percentiles::new("one way", "µs").histogram("up", &times, 1e-3));
        report
            .section("Failures")
            .verbatim("adit-lab <blast>")
            .plot(Bars::new("by stage").bar(Bar::new("IKE phase 1", 3.0, "3").tone(Tone::Bad)));
        report
    }
}
