//! The report: what was measured, on what, and plots that a person can read. It is one file that
//! needs no other; the numbers lie beside it as JSON.

mod machine;

use std::fs;
use std::path::Path;

use anyhow::Result;
use lab::report::{Bar, Bars, Cell, Lines, Report, Table, Tone};
use serde::Serialize;

use crate::cipher::{BURSTS, IMIX, SIZES};
use crate::figures::{BURST_SIZES, EVERYBODY, FULL_BURST, cipher};
use crate::measure::{Found, Verdict};
use crate::probe::Spec;
use crate::run::{limit, table};
use crate::traffic::Line::{self, Down, Up};
use crate::veth;
pub(crate) use machine::Machine;

/// Everything that a run found.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) machine: Machine,
    pub(crate) figures: Vec<Verdict>,
    /// The best of all processes, by what was measured.
    pub(crate) measurements: Found,
    /// Suites of which there are tables.
    pub(crate) suites: Vec<&'static str>,
    /// What was found end to end.
    pub(crate) veth: Vec<veth::Row>,
}

const LEAD: &str = "Every figure is the least of several rounds and of several processes; a ratio or \
    a difference is taken within one process, and the median of the processes counts. Core cycles \
    come from the TSC by a chain of dependent multiplications timed around each round.";

/// The longest bar, in times of what must be; the number behind a longer one says how long it is.
const LONGEST: f64 = 2.5;

impl Run {
    /// Writes `report.html`, `run.json` and `table.txt` into a directory.
    pub(crate) fn write(&self, to: &Path) -> Result<()> {
        self.page().write(to)?;
        fs::write(to.join("table.txt"), self.text())?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        fs::write(to.join("run.json"), json)?;
        Ok(())
    }

    /// The table for a terminal.
    pub(crate) fn text(&self) -> String {
        format!("{}\n{}", self.machine, table(&self.figures))
    }

    fn page(&self) -> Report {
        let mut page = Report::new("Adit, measured", LEAD);
        page.section("Machine").verbatim(&self.machine.to_string());
        page.section("Figures")
            .plot(self.bars())
            .table(self.figure_table());
        let tables = || {
            self.suites
                .iter()
                .flat_map(|suite| [(*suite, Up), (*suite, Down)])
        };
        if !self.suites.is_empty() {
            let section = page.section("Ciphers").text(
                "Core cycles a packet. Octets are those of the ciphertext; imix is 64, 570 and \
                 1418 octets, 7 : 4 : 1; bursts of 64, one SA.",
            );
            for (suite, line) in tables() {
                section
                    .plot(self.curves(suite, line))
                    .table(self.size_table(suite, line));
            }
            let section = page.section("Ciphers in short bursts");
            section.text("Core cycles a packet.");
            for (suite, line) in tables() {
                section.table(self.burst_table(suite, line));
            }
        }
        veth::describe(&self.veth, &mut page);
        page
    }

    /// A bar for each figure that has a limit: its length is the cost over what must be, so that a
    /// bar that ends left of the line meets it. A mark shows the aim.
    fn bars(&self) -> Bars {
        let limited = self.figures.iter().filter(|v| v.must.is_finite());
        let bars = Bars::new("Share of what must be")
            .limit(1.0, "must")
            .cut(LONGEST);
        limited.fold(bars, |bars, v| {
            let digits = if v.value.abs() < 20.0 { 2 } else { 0 };
            let shown = format!("{:.digits$} {}", v.value, v.unit);
            let bar = Bar::new(v.name, v.share_of_must(v.value), &shown);
            bars.bar(bar.mark(v.share_of_must(v.aim)).tone(tone(v)))
        })
    }

    fn figure_table(&self) -> Table {
        let mut figures = Table::new([
            "figure",
            "value",
            "unit",
            "must",
            "aim",
            "ns",
            "Mpps",
            "Gbit/s",
            "core GHz",
            "all processes",
        ]);
        for v in &self.figures {
            let mut row: Vec<Cell> = vec![
                v.name.into(),
                Cell::from(format!("{:.2}", v.value)).tone(tone(v)),
                v.unit.as_str().into(),
                limit(v.must).into(),
                limit(v.aim).into(),
            ];
            row.extend(match v.best.filter(|best| best.ns > 0.0) {
                Some(best) => [best.ns, 1e3 / best.ns, best.bytes * 8.0 / best.ns, best.ghz]
                    .map(|value| format!("{value:.2}").into()),
                None => [""; 4].map(Cell::from),
            });
            let all: Vec<_> = v.processes.iter().map(|x| format!("{x:.2}")).collect();
            row.push(all.join(" ").into());
            figures.push(row);
        }
        figures
    }

    fn cost(
        &self,
        who: &'static str,
        suite: &'static str,
        at: (Line, usize, usize),
    ) -> Option<f64> {
        let (line, size, burst) = at;
        let spec = Spec::Cipher(cipher(who, suite, line, size, burst));
        self.measurements.at(&spec).map(|best| best.cost)
    }

    /// Cycles by size, for everybody who has the suite.
    fn curves(&self, suite: &'static str, line: Line) -> Lines {
        let title = format!("{suite}, {}", verb(line));
        let lines = Lines::new(&title, "octets of ciphertext", "cycles a packet");
        EVERYBODY
            .into_iter()
            .fold(lines.log_x().log_y(), |lines, who| {
                let sizes = SIZES.into_iter().filter(|size| *size != IMIX);
                let points = sizes.filter_map(|size| {
                    let cost = self.cost(who, suite, (line, size, FULL_BURST))?;
                    Some((size as f64, cost))
                });
                let points: Vec<_> = points.collect();
                match points.is_empty() {
                    true => lines,
                    false => lines.line(who, points),
                }
            })
    }

    fn size_table(&self, suite: &'static str, line: Line) -> Table {
        let name = |size| match size {
            IMIX => "imix".to_owned(),
            size => size.to_string(),
        };
        let columns = SIZES.map(|size| (name(size), (line, size, FULL_BURST)));
        self.cipher_table(suite, line, &columns)
    }

    fn burst_table(&self, suite: &'static str, line: Line) -> Table {
        let columns: Vec<_> = BURST_SIZES
            .into_iter()
            .flat_map(|size| {
                BURSTS.map(|burst| (format!("{size} B × {burst}"), (line, size, burst)))
            })
            .collect();
        self.cipher_table(suite, line, &columns)
    }

    fn cipher_table(
        &self,
        suite: &'static str,
        line: Line,
        columns: &[(String, (Line, usize, usize))],
    ) -> Table {
        let title = format!("{suite} {}", verb(line));
        let names = columns.iter().map(|(name, _)| name.clone());
        let mut ciphers = Table::new(std::iter::once(title).chain(names));
        for who in EVERYBODY {
            let costs = columns.iter().map(|(_, at)| self.cost(who, suite, *at));
            let costs: Vec<_> = costs.collect();
            if costs.iter().any(Option::is_some) {
                let shown = |cost: Option<f64>| cost.map_or(String::new(), |c| format!("{c:.0}"));
                let cells = costs.into_iter().map(shown);
                ciphers.push(std::iter::once(who.to_owned()).chain(cells));
            }
        }
        ciphers
    }
}

fn tone(verdict: &Verdict) -> Tone {
    match (verdict.meets_aim, verdict.meets_must) {
        (true, _) => Tone::Good,
        (false, true) => Tone::Fair,
        (false, false) => Tone::Bad,
    }
}

fn verb(line: Line) -> &'static str {
    match line {
        Up => "open",
        Down => "seal",
    }
}
