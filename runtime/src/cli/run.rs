//! `runtime run`: trains.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;

use super::App;
use super::output::{self, Failure};
use super::pipeline;
use crate::adapter::select::NoSuchAdapter;
use crate::channel::Stop;
use crate::console::Console;
use crate::diagnostic::Diagnostic;
use crate::plan::Plan;

const EXAMPLES: &str = "\
Examples:
  runtime run pipeline.yaml
  runtime run pipeline.yaml --data /data/cifar-10 --adapter cpu
  runtime run pipeline.yaml --set steps=100 --set stages.batch.batcher.size=64

Ctrl-C ends the run after the work at hand; a second Ctrl-C ends it at once.";

/// Runs a pipeline until its epochs or steps are done.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: pipeline::Arguments,

    /// The folder that holds the data, and the only one looked into. Without it, the `path` that
    /// the pipeline gives comes first, then the environment variable GRADFLOW_DATA.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// What computes: `auto`, `cpu`, or the number or name of an adapter that `runtime devices`
    /// lists. Counts more than the pipeline's `adapter`.
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<String>,
}

pub(super) fn run(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let plan = arguments.pipeline.load(app, arguments.data.clone(), arguments.adapter.clone())?;
    needs_an_end(&plan, &arguments.pipeline.file.display().to_string())?;
    let stop = Stop::default();
    listen(&stop).map_err(Failure::Run)?;
    let mut console = Console::new(plan.settings.seed);
    let result = crate::run::run(&plan, stop.clone(), |event| {
        console.show(event);
        if console.has_failed() {
            stop.stop();
        }
    });
    console.finish();
    if let Ok(outcome) = &result {
        console.closing_line(outcome);
    }
    if let Some(error) = console.failure() {
        return Err(Failure::Output(error));
    }
    match result {
        Ok(outcome) if outcome.interrupted => Err(Failure::Interrupted),
        Ok(_) => Ok(()),
        Err(error) if error.chain().any(<dyn Error>::is::<NoSuchAdapter>) => {
            Err(Failure::Usage { message: format!("{error:#}"), help: None })
        }
        Err(error) => Err(Failure::Run(error)),
    }
}

fn needs_an_end(plan: &Plan, file: &str) -> Result<(), Failure> {
    let limit = &plan.settings.limit;
    if limit.epochs.is_some() || limit.steps.is_some() {
        return Ok(());
    }
    let message = format!("{file}: a run needs `epochs` or `steps` to know when to end");
    let help = format!("write `epochs: 10` into {file}, or give `--set epochs=10`");
    Err(Failure::Pipeline(vec![Diagnostic::error(message).help(help)]))
}

/// Lets Ctrl-C end the run in good order.
fn listen(stop: &Stop) -> anyhow::Result<()> {
    let stop = stop.clone();
    ctrlc::set_handler(move || {
        if stop.is_stopped() {
            std::process::exit(130);
        }
        output::complain("stopping after the work at hand; Ctrl-C again stops at once\n");
        stop.stop();
    })?;
    Ok(())
}
