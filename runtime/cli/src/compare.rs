//! `runtime compare`: several runs beside each other.

use std::path::PathBuf;

use clap::Args;

use super::new_file::NewFile;
use super::output::{Failure, print};
use super::trained;
use record::compare::{self, Run, Shown};

const EXAMPLES: &str = "\
Examples:
  runtime compare pipeline-001 pipeline-002
  runtime compare runs/* --svg precision.svg --csv curves.csv
  runtime compare runs/* --svg loss.svg --of loss --epochs 10

Runs that are at work are told as far as they are. Nothing is written but what --svg and --csv name.";

/// Tells runs beside each other, as a table in Markdown, and the spread of what they came to.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Runs' folders, or their names.
    #[arg(value_name = "RUN", required = true)]
    named: Vec<PathBuf>,

    /// Where runs have their folders, in which one is found by its name.
    #[arg(long, value_name = "DIR", env = "GRADFLOW_RUNS", default_value = "runs")]
    runs: PathBuf,

    /// Takes each run as far as this many epochs, so that a longer one is told as it stood then.
    #[arg(long, value_name = "N", value_parser = epochs)]
    epochs: Option<f64>,

    /// Draws curves over epochs into this file, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// What the curves are of.
    #[arg(long, value_name = "WHAT", default_value = "precision", requires = "svg")]
    of: Shown,

    /// Writes losses and precisions into this file, at most 200 losses of each run. It must not be
    /// there yet.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

fn epochs(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(epochs) if epochs > 0.0 => Ok(epochs),
        _ => Err("expected a number of epochs above 0".to_owned()),
    }
}

pub(super) fn compare(arguments: &Arguments) -> Result<(), Failure> {
    let find = |named: &PathBuf| trained::find(named, &arguments.runs);
    let folders: Vec<PathBuf> = arguments.named.iter().map(find).collect::<Result<_, _>>()?;
    let mut runs = Run::read_all(&folders).map_err(Failure::Run)?;
    if let Some(epochs) = arguments.epochs {
        runs.iter_mut().for_each(|run| run.keep_epochs(epochs));
    }
    let files = [arguments.svg.as_ref(), arguments.csv.as_ref()];
    let [svg, csv] = NewFile::create_all(files)?;
    if let Some(file) = svg {
        file.write(&compare::svg(&runs, arguments.of))?;
    }
    if let Some(file) = csv {
        file.write(&compare::csv(&runs))?;
    }
    print(&compare::markdown(&runs))
}
