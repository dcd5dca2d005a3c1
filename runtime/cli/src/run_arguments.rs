//! What `runtime run` is told on the command line.

use std::path::PathBuf;

use clap::Args;

use super::output::Failure;
use super::pipeline::assignment;
use compute::adapter::several::Several;
use flow::plan::Plan;
use record::run_folder::RUNS;

const EXAMPLES: &str = "\
Examples:
  runtime run pipeline.yaml
  runtime run pipeline.yaml --data /data/cifar-10 --adapter cpu
  runtime run pipeline.yaml --set steps=100 --set stages.batch.batcher.size=64
  runtime run --resume
  runtime run --resume pipeline-003 --set epochs=20

Each run has a folder of its own below `runs`: checkpoints, metrics, a log, TensorBoard's files and
report.html. `--resume` goes on in it after the last checkpoint, exactly as if it had never stopped.

Ctrl-C ends the run after the work at hand and keeps its weights; a second Ctrl-C ends it at once.

Exit codes: 0 done, 1 the run failed, 2 wrong usage or configuration, 130 interrupted.";

/// Runs a pipeline until its epochs or steps are done.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The pipeline file. With `--resume`, the run's own pipeline if not given.
    #[arg(value_name = "PIPELINE", required_unless_present = "resume")]
    pub(super) file: Option<PathBuf>,

    /// Replaces a value of the pipeline, such as `stages.batch.batcher.size=64`.
    ///
    /// PATH is made of the keys that lead to the value, with dots between them; elements of lists
    /// are counted from 0. VALUE is YAML. May be given more than once. A value behind an anchor changes
    /// wherever it stands, unless another --set names that place; an alias by itself is replaced alone.
    /// With `--resume`, limits, periods, adapters, workers and the like may be changed: what does not
    /// change what the run has learned so far. A run's own pipeline.yaml has no anchors.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = assignment)]
    pub(super) set: Vec<(String, String)>,

    /// The folder that holds the data, and the only one looked into. Without it, the `path` that
    /// the pipeline gives comes first, then the environment variable GRADFLOW_DATA.
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,

    /// Downloads nothing: what is not here is stood in for, or an error. The environment variable
    /// GRADFLOW_OFFLINE=1 says the same.
    #[arg(long)]
    pub(super) offline: bool,

    /// What computes: `auto`, `cpu`, or the number or name of an adapter that `runtime devices`
    /// lists. Counts more than the pipeline's `adapter`, and more than the reducer's `adapters`,
    /// which it replaces with a warning.
    #[arg(long, value_name = "ADAPTER")]
    pub(super) adapter: Option<String>,

    /// Which adapters train together: so many, `all`, or names with commas between them. Counts
    /// more than the reducer's `adapters`.
    #[arg(long, value_name = "N|all|NAMES", conflicts_with = "adapter")]
    pub(super) adapters: Option<Several>,

    /// Fewer adapters than were asked for are an error, and so is `--adapter` beside the reducer's
    /// `adapters`.
    #[arg(long)]
    pub(super) strict: bool,

    /// Where runs have their folders.
    #[arg(long, value_name = "DIR", env = "GRADFLOW_RUNS", default_value = RUNS)]
    pub(super) runs: PathBuf,

    /// The name of the run's folder, which must not be there yet. Without it, the pipeline's name
    /// and a number.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["resume", "seeds"])]
    pub(super) run: Option<String>,

    /// Goes on with a run: its name or folder, or the last one.
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "")]
    pub(super) resume: Option<String>,

    /// Runs so many times, with this seed and those after it, and says mean and spread.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "resume")]
    pub(super) seeds: Option<u64>,

    /// The words of the command line, as far as they are text.
    #[arg(skip)]
    pub(super) line: Vec<String>,
}

impl Arguments {
    /// What trains, if it is said here.
    pub(super) fn adapters_asked(&self) -> Option<Several> {
        self.adapters.clone().or(self.adapter.as_deref().map(Several::alone))
    }
}

pub(super) fn stay_offline(plan: &mut Plan, arguments: &Arguments) {
    if let Some(fetch) = &mut plan.settings.data.fetch {
        fetch.offline |= arguments.offline;
    }
}

pub(super) fn needs_an_end(plan: &Plan, file: &str) -> Result<(), Failure> {
    plan.check_end(file).map_err(Failure::Pipeline)
}
