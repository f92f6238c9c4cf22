//! What `perf/veth` found end to end, beside the figures in memory and never among them.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use lab::report::{Cell, Report, Table};
use serde::{Deserialize, Serialize};

/// The best rate of one back end, and where the time of the gateway's core went at it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    io: String,
    octets: u32,
    way: String,
    packets_per_second: f64,
    gbit_per_second: f64,
    loss_percent: f64,
    /// The gateway may do better.
    load_is_limit: bool,
    work_us: f64,
    kernel_io_percent: f64,
    user_percent: f64,
    system_percent: f64,
    interrupt_percent: f64,
}

const TITLE: &str = "End to end on veth";
const TEXT: &str = "A gateway with one worker on a core of its own, loaded by adit-lab blast, with \
    AES-128-CBC and SHA1 in UDP. Nearly all of it is the kernel: on veth, what a server sends is carried \
    to the end of the far end's stack on the server's core. ≥: the load was at its own limit. µs a \
    packet: turns of the worker that had work, and the gateway's other threads. Kernel I/O: the time \
    that the core was in the kernel, interrupts included, over that work, at most all of it. User, \
    system and interrupts are shares of the time that the core was not idle; looking for packets \
    where there are none is user time too.";

/// As `perf/veth --json` has written them.
pub(crate) fn read(from: &Path) -> Result<Vec<Row>> {
    let file = File::open(from).with_context(|| format!("{}", from.display()))?;
    serde_json::from_reader(file).with_context(|| format!("{}: not of perf/veth", from.display()))
}

/// A section of the report, if there is anything to tell.
pub(crate) fn describe(rows: &[Row], page: &mut Report) {
    if rows.is_empty() {
        return;
    }
    let mut table = Table::new([
        "back end",
        "octets",
        "way",
        "packets/s",
        "Gbit/s",
        "lost",
        "µs a packet",
        "kernel I/O",
        "user",
        "system",
        "interrupts",
    ]);
    rows.iter().for_each(|row| table.push(row.cells()));
    page.section(TITLE).text(TEXT).table(table);
}

impl Row {
    fn cells(&self) -> Vec<Cell> {
        let percent = |share: f64| format!("{share:.0} %");
        let bound = if self.load_is_limit { "≥ " } else { "" };
        let cells = [
            self.io.clone(),
            self.octets.to_string(),
            self.way.clone(),
            format!("{bound}{:.0}", self.packets_per_second),
            format!("{:.3}", self.gbit_per_second),
            format!("{:.2} %", self.loss_percent),
            format!("{:.2}", self.work_us),
            percent(self.kernel_io_percent),
            percent(self.user_percent),
            percent(self.system_percent),
            percent(self.interrupt_percent),
        ];
        cells.map(Cell::from).into()
    }
}
