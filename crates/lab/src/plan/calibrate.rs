//! Measuring this machine: `adit-perf calibrate` does it, in processes of its own.
//!
//! The bench is that of `perf/`, with its traps avoided and its noise stood; it depends on this
//! crate, so it is run as a program and not called.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::costs::Costs;

const PROGRAM: &str = "adit-perf";

/// Measures, keeps what was found if asked to, and reads it.
pub fn calibrate(program: Option<&Path>, save: Option<&Path>) -> Result<Costs> {
    let program = match program {
        Some(program) => program.to_owned(),
        None => beside()?,
    };
    let output = Command::new(&program)
        .arg("calibrate")
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        bail!("{} calibrate: {}", program.display(), output.status);
    }
    let text = String::from_utf8(output.stdout).context("what it printed is no text")?;
    let file = save.unwrap_or_else(|| Path::new("this machine's calibration"));
    let costs = Costs::parse(file, &text)
        .with_context(|| format!("{} printed something else than costs", program.display()))?;
    if let Some(save) = save {
        fs::write(save, text).with_context(|| format!("cannot write {}", save.display()))?;
    }
    Ok(costs)
}

/// The program in the directory of this one.
fn beside() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where is this program?")?;
    let program = own.with_file_name(PROGRAM);
    if !program.exists() {
        bail!(
            "there is no {}: build it (cargo build --release -p perf), or name it with --perf FILE",
            program.display()
        );
    }
    Ok(program)
}
