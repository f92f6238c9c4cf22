//! `adit doctor`: what is wrong with this machine, and the command that mends it.
//!
//! | looks at | in |
//! |---|---|
//! | kernel, rights, memory, ciphers | [`machine`] |
//! | the interfaces and addresses of a configuration | [`network`] |

mod machine;
mod network;

use std::io::{Write, stdout};
use std::path::Path;

use af_xdp::probe::probe;
use anyhow::Result;
use serde::Serialize;

use crate::config::Config;

/// How a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Weight {
    Good,
    /// It will run, with less than it could have.
    Worse,
    /// It will not run.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    weight: Weight,
    subject: String,
    found: String,
    /// The command that mends it, or what to do.
    remedy: Option<String>,
}

impl Finding {
    fn good(subject: &str, found: impl Into<String>) -> Self {
        Self {
            weight: Weight::Good,
            subject: subject.into(),
            found: found.into(),
            remedy: None,
        }
    }

    fn of(
        weight: Weight,
        subject: &str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            weight,
            subject: subject.into(),
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }
}

/// All of them.
#[derive(Debug, Serialize)]
struct Report {
    verdict: &'static str,
    findings: Vec<Finding>,
}

/// Looks at the machine, and at what `config` needs of it; 1 if something keeps Adit from running.
pub(crate) fn examine(config: Option<&Path>, json: bool) -> Result<u8> {
    let (config, faults) = match config.map(Config::load) {
        Some(Ok(config)) => (Some(config), Vec::new()),
        Some(Err(faults)) => (None, faults),
        None => (None, Vec::new()),
    };
    let mut findings = machine::examine(&probe()?, config.as_ref());
    if let Some(config) = &config {
        findings.extend(network::examine(config));
    }
    findings.extend(faults.iter().map(|fault| {
        let mend = "mend it; adit check CONFIG looks at nothing else";
        Finding::of(Weight::Bad, "configuration", fault.to_string(), mend)
    }));
    let worst = findings.iter().map(|finding| finding.weight).max();
    let report = Report {
        verdict: match worst {
            None | Some(Weight::Good) => "nothing stands in the way",
            Some(Weight::Worse) => "it will run; the warnings say what it lacks",
            Some(Weight::Bad) => "it will not run as it is",
        },
        findings,
    };
    if json {
        writeln!(stdout(), "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        print(&report)?;
    }
    Ok(u8::from(worst == Some(Weight::Bad)))
}

fn print(report: &Report) -> Result<()> {
    let mut out = stdout().lock();
    let subjects = report.findings.iter().map(|finding| &finding.subject);
    let width = subjects.map(String::len).max().unwrap_or(0);
    for Finding {
        weight,
        subject,
        found,
        remedy,
    } in &report.findings
    {
        let mark = match weight {
            Weight::Good => "ok  ",
            Weight::Worse => "warn",
            Weight::Bad => "BAD ",
        };
        writeln!(out, "{mark}  {subject:<width$}  {found}")?;
        if let Some(remedy) = remedy {
            writeln!(out, "      {:<width$}  -> {remedy}", "")?;
        }
    }
    writeln!(out, "\n{}", report.verdict)?;
    Ok(())
}
