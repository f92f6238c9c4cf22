//! The report: what was measured, on what, and plots that a person can read. It is one file that
//! needs no other; the numbers lie beside it as JSON.

mod machine;
mod plot;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cipher::{BURSTS, IMIX, SIZES};
use crate::figures::{BURST_SIZES, EVERYBODY, FULL_BURST, cipher};
use crate::measure::{Found, Verdict};
use crate::probe::Spec;
use crate::run::{limit, table};
use crate::traffic::Line::{self, Down, Up};
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
}

const STYLE: &str = "body{font:15px sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}\
    pre{font-size:12px;overflow-x:auto;background:#f6f6f6;padding:1em}\
    table{border-collapse:collapse;margin:1em 0;font-size:13px}\
    td,th{border:1px solid #ccc;padding:2px 8px;text-align:right}th:first-child,td:first-child{text-align:left}\
    td.bad{background:#f7c6c0}td.met{background:#fdf2c0}td.aim{background:#cfeccf}\
    svg{max-width:100%;height:auto}";

impl Run {
    /// Writes `report.html`, its plots, `run.json` and `table.txt` into a directory.
    pub(crate) fn write(&self, to: &Path) -> Result<()> {
        fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
        let mut plots = vec![("figures", plot::figures(&self.figures)?)];
        for suite in &self.suites {
            for line in [Up, Down] {
                let name = format!("{suite}-{}", verb(line));
                let svg = plot::curves(&name, &self.curves(suite, line))?;
                plots.push((Box::leak(name.into_boxed_str()), svg));
            }
        }
        for (name, svg) in &plots {
            fs::write(to.join(format!("{name}.svg")), svg)?;
        }
        fs::write(to.join("table.txt"), self.text())?;
        fs::write(
            to.join("run.json"),
            serde_json::to_string_pretty(self)? + "\n",
        )?;
        fs::write(to.join("report.html"), self.html(&plots))?;
        Ok(())
    }

    /// The table for a terminal.
    pub(crate) fn text(&self) -> String {
        format!("{}\n{}", self.machine, table(&self.figures))
    }

    fn html(&self, plots: &[(&str, String)]) -> String {
        let mut html = format!(
            "<!doctype html><meta charset=utf-8><title>Adit, measured</title><style>{STYLE}</style>\
             <h1>Adit, measured</h1><pre>{}</pre>\
             <p>Every figure is the least of several rounds and of several processes; a ratio or a \
             difference is taken within one process, and the median of the processes counts. Core \
             cycles come from the TSC by a chain of dependent multiplications timed around each \
             round.</p><h2>Figures</h2>{}",
            self.machine,
            self.figure_rows(),
        );
        for (name, svg) in plots {
            html += &format!("<h3>{name}</h3>{svg}");
        }
        html += "<h2>Ciphers, core cycles a packet</h2><p>Octets are those of the ciphertext; imix \
                 is 64, 570 and 1418 octets, 7 : 4 : 1; bursts of 64, one SA.</p>";
        for suite in &self.suites {
            for line in [Up, Down] {
                html += &self.size_table(suite, line);
            }
        }
        html += "<h2>Ciphers in short bursts, core cycles a packet</h2>";
        for suite in &self.suites {
            for line in [Up, Down] {
                html += &self.burst_table(suite, line);
            }
        }
        html
    }

    fn figure_rows(&self) -> String {
        let mut html =
            "<table><tr><th>figure<th>value<th>unit<th>must<th>aim<th>ns<th>Mpps<th>Gbit/s\
                        <th>core GHz<th>all processes"
                .to_owned();
        for v in &self.figures {
            let class = match (v.meets_aim, v.meets_must) {
                (true, _) => "aim",
                (false, true) => "met",
                (false, false) => "bad",
            };
            html += &format!(
                "<tr><td>{}<td class={class}>{:.2}<td>{}<td>{}<td>{}",
                v.name,
                v.value,
                v.unit,
                limit(v.must),
                limit(v.aim)
            );
            html += &match v.best.filter(|best| best.ns > 0.0) {
                Some(best) => format!(
                    "<td>{:.1}<td>{:.2}<td>{:.2}<td>{:.2}",
                    best.ns,
                    1e3 / best.ns,
                    best.bytes * 8.0 / best.ns,
                    best.ghz
                ),
                None => "<td><td><td><td>".to_owned(),
            };
            let all: Vec<_> = v.processes.iter().map(|x| format!("{x:.2}")).collect();
            html += &format!("<td>{}", all.join(" "));
        }
        html + "</table>"
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
    fn curves(&self, suite: &'static str, line: Line) -> Vec<plot::Curve> {
        let sizes = SIZES.into_iter().filter(|size| *size != IMIX);
        let points = |who| {
            sizes.clone().filter_map(move |size| {
                let cost = self.cost(who, suite, (line, size, FULL_BURST))?;
                Some((size as f64, cost))
            })
        };
        EVERYBODY
            .into_iter()
            .map(|name| plot::Curve {
                name,
                points: points(name).collect(),
            })
            .filter(|curve| !curve.points.is_empty())
            .collect()
    }

    fn size_table(&self, suite: &'static str, line: Line) -> String {
        let name = |size| match size {
            IMIX => "imix".to_owned(),
            size => size.to_string(),
        };
        let columns: Vec<_> = SIZES
            .map(|size| (name(size), (line, size, FULL_BURST)))
            .into();
        self.cipher_table(&format!("{suite} {}", verb(line)), suite, &columns)
    }

    fn burst_table(&self, suite: &'static str, line: Line) -> String {
        let columns: Vec<_> = BURST_SIZES
            .into_iter()
            .flat_map(|size| {
                BURSTS.map(|burst| (format!("{size} B × {burst}"), (line, size, burst)))
            })
            .collect();
        self.cipher_table(&format!("{suite} {}", verb(line)), suite, &columns)
    }

    fn cipher_table(
        &self,
        title: &str,
        suite: &'static str,
        columns: &[(String, (Line, usize, usize))],
    ) -> String {
        let mut html = format!("<table><tr><th>{title}");
        columns
            .iter()
            .for_each(|(name, _)| html += &format!("<th>{name}"));
        for who in EVERYBODY {
            let costs: Vec<_> = columns
                .iter()
                .map(|(_, at)| self.cost(who, suite, *at))
                .collect();
            if costs.iter().all(Option::is_none) {
                continue;
            }
            html += &format!("<tr><td>{who}");
            for cost in costs {
                html += &cost.map_or_else(|| "<td>".to_owned(), |cost| format!("<td>{cost:.0}"));
            }
        }
        html + "</table>"
    }
}

fn verb(line: Line) -> &'static str {
    match line {
        Up => "open",
        Down => "seal",
    }
}
