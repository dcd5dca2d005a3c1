//! `runtime roofline`: what a step asks of a GPU, told without one.

use std::path::PathBuf;

use clap::Args;

use super::App;
use super::bench::{images, trained};
use super::output::{Failure, print};
use super::pipeline;
use bench::Roofline;

const EXAMPLES: &str = "\
Examples:
  runtime roofline                             pipeline.yaml
  runtime roofline pipeline.yaml > docs/kernels.md
  runtime roofline --batch 1024

Nothing is measured, and no GPU is touched. `runtime bench` measures.";

/// Tells operations, bytes and workgroups of each kernel of a step, and how long they must take at
/// least on some known GPUs, as a page in Markdown.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The pipeline file.
    #[arg(value_name = "PIPELINE", default_value = "pipeline.yaml")]
    file: PathBuf,

    /// Replaces a value of the pipeline, such as `stages.batch.batcher.size=64`.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = pipeline::assignment)]
    set: Vec<(String, String)>,

    /// Images in a batch; those of the pipeline if not given.
    #[arg(long, value_name = "IMAGES", value_parser = images)]
    batch: Option<usize>,
}

pub(super) fn roofline(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let source = pipeline::Arguments { file: arguments.file.clone(), set: arguments.set.clone() };
    let plan = source.load(app, None, None)?;
    let (_, graph, batch) = trained(&plan).map_err(Failure::Run)?;
    let roofline = Roofline::of(&graph, arguments.batch.unwrap_or(batch)).map_err(Failure::Run)?;
    print(&roofline.markdown(&arguments.file.display().to_string()))
}
