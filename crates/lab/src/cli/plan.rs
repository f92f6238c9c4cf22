//! `adit-lab plan`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// `adit-lab plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// The traffic model, such as configs/models/isp-wholesale.toml [default: that of each key]
    pub model: Option<PathBuf>,
    /// What everything costs: run.json of perf/run, or what --save wrote
    #[arg(long, value_name = "FILE", conflicts_with = "calibrate")]
    pub costs: Option<PathBuf>,
    /// Measure what everything costs on this machine first; takes minutes
    #[arg(long)]
    pub calibrate: bool,
    /// Keep what --calibrate measured
    #[arg(long, value_name = "FILE", requires = "calibrate")]
    pub save: Option<PathBuf>,
    /// The program that measures [default: adit-perf beside this one]
    #[arg(long, value_name = "FILE", requires = "calibrate")]
    pub perf: Option<PathBuf>,
    /// Subscribers (subscribers.count)
    #[arg(long, value_name = "N")]
    pub subscribers: Option<f64>,
    /// Busy-hour kbit/s to each of them (traffic.down_kbit)
    #[arg(long, value_name = "KBIT")]
    pub down: Option<f64>,
    /// Busy-hour kbit/s from each of them (traffic.up_kbit)
    #[arg(long, value_name = "KBIT")]
    pub up: Option<f64>,
    /// How long a session lasts (sessions.length)
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub session: Option<Duration>,
    /// Everybody dials again within (storm.within)
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub storm: Option<Duration>,
    /// Until a RADIUS server answers (radius.latency)
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub radius_latency: Option<Duration>,
    /// Cores that there are (gateway.cores)
    #[arg(long, value_name = "N")]
    pub cores: Option<f64>,
    /// Everything that is left to chance follows from it (seed)
    #[arg(long, value_name = "N")]
    pub seed: Option<u32>,
    /// Say of a figure, or of all, how it came about
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    pub explain: Option<String>,
    /// Write a page with plots into this directory
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
