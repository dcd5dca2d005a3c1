//! `runtime eval`: how good trained weights are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Error, Result};
use async_channel::Sender;
use clap::Args;

use super::App;
use super::evaluations::{Kept, describe, json};
use super::interrupt::listen;
use super::output::{Failure, complain, print};
use super::trained::{Change, Trained, evaluations, find};
use crate::channel::Stop;
use crate::checkpoint;
use crate::event::{EvaluationReport, Event};
use crate::graph::Graph;
use crate::item::Item;
use crate::run_folder::{checkpoints, is_at_work};

const EXAMPLES: &str = "\
Examples:
  runtime eval runs/pipeline-001                    the latest checkpoint of a run
  runtime eval runs/pipeline-001 --best --views 10  the best one, by ten views of each image
  runtime eval runs/pipeline-001 --watch            each checkpoint as it comes, until the run ends
  runtime eval step-000001000.safetensors --raw     one file, without moving averages

What is found about a run is kept in its folder, in evaluations/N: lines of JSON, and curves for
TensorBoard.
Data is looked for where the run found it; --data counts more.";

/// Evaluates a checkpoint with the evaluation of the pipeline that trained it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// A run's folder or name, of which the latest good checkpoint is taken, or a checkpoint's file.
    #[arg(value_name = "RUN|CHECKPOINT")]
    path: PathBuf,

    /// Evaluates each new checkpoint of the run until the run has ended.
    #[arg(long, conflicts_with = "best")]
    watch: bool,

    /// Takes the best checkpoint of the run.
    #[arg(long)]
    best: bool,

    /// Averages the probabilities of this many views of each image.
    #[arg(long, value_name = "1|2|10", value_parser = ["1", "2", "10"])]
    views: Option<String>,

    /// Takes the weights as they are instead of their moving averages.
    #[arg(long)]
    raw: bool,

    /// What computes, as in `runtime devices`.
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<String>,

    /// The folder that holds the data.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Prints one line of JSON for each evaluation.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn changes(&self) -> Vec<Change> {
        let views = self.views.iter().map(|views| Change {
            flag: "--views",
            field: "views",
            value: views.clone(),
            needed: true,
        });
        let adapter = self.adapter.iter().map(|adapter| Change::adapter(adapter));
        views.chain(self.raw.then(Change::raw)).chain(adapter).collect()
    }
}

/// Time between two looks at a run's folder.
const PERIOD: Duration = Duration::from_secs(1);

pub(super) fn eval(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let path = &find(&arguments.path);
    let is_run = path.is_dir();
    if arguments.watch && !is_run {
        return Err(Failure::Usage {
            message: format!("--watch: {} is not a run's folder", path.display()),
            help: Some("give the folder of a run, such as runs/pipeline-001".to_owned()),
        });
    }
    let stop = Stop::default();
    listen(&stop).map_err(Failure::Run)?;
    if arguments.watch && !await_first(path, &stop) {
        return Err(Failure::Interrupted);
    }
    let first = Trained::read(path, arguments.best).map_err(Failure::Run)?;
    let (adapter, data) = (arguments.adapter.as_deref(), arguments.data.as_deref());
    let plan = first.plan(app, &arguments.changes(), adapter, data)?;
    let weights = first.weights(&plan).map_err(Failure::Run)?;
    let graph = Arc::clone(&weights.graph);
    let (sender, receiver) = async_channel::bounded(1);
    // There is room for one.
    let _ = sender.try_send(Item::Weights(weights));
    let plan = evaluations(plan, &first.path, receiver).map_err(Failure::Run)?;
    let mut shown = Shown {
        kept: is_run.then(|| Kept::begin(path)).transpose().map_err(Failure::Run)?,
        json: arguments.json,
        failure: None,
    };
    if !arguments.json {
        print(&format!("checkpoint: {}\n", first.path.display()))?;
    }
    let result = thread::scope(|scope| {
        if arguments.watch {
            let (run, stop, last) = (path, &stop, first.stored.progress.steps);
            scope.spawn(move || watch(run, last, &graph, &sender, stop));
        } else {
            drop(sender);
        }
        crate::run::run(&plan, stop.clone(), |event| {
            shown.show(event);
            if shown.failure.is_some() {
                stop.stop();
            }
        })
        // The thread that watches sees that there is nothing to watch for any more.
        .inspect_err(|_| stop.stop())
    });
    if let Some(failure) = shown.failure {
        return Err(failure);
    }
    match result {
        Ok(outcome) if outcome.interrupted => Err(Failure::Interrupted),
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::of_run(error)),
    }
}

/// Where evaluations go.
struct Shown {
    kept: Option<Kept>,
    json: bool,
    failure: Option<Failure>,
}

impl Shown {
    fn show(&mut self, event: Event) {
        match event {
            Event::Warning(text) => complain(&format!("warning: {text}\n")),
            Event::Evaluation(report) => {
                if let Err(failure) = self.evaluation(&report) {
                    self.failure.get_or_insert(failure);
                }
            }
            _ => {}
        }
    }

    fn evaluation(&mut self, report: &EvaluationReport) -> Result<(), Failure> {
        let text = if self.json { json(report).map_err(Failure::Run)? } else { describe(report) };
        print(&text)?;
        self.kept.as_mut().map_or(Ok(()), |kept| kept.keep(report)).map_err(Failure::Run)
    }
}

/// Waits until a run has a checkpoint; `false` if it was asked to stop before.
fn await_first(run: &Path, stop: &Stop) -> bool {
    while newest(run).is_none() && is_at_work(run) {
        if stop.is_stopped() {
            return false;
        }
        thread::sleep(PERIOD);
    }
    true
}

/// Hands on the weights of each new checkpoint until the run has ended.
fn watch(run: &Path, last: u64, graph: &Arc<Graph>, weights: &Sender<Item>, stop: &Stop) {
    if let Err(error) = follow(run, last, graph, weights, stop) {
        complain(&format!("warning: {} is not watched any more: {error:#}\n", run.display()));
    }
}

fn follow(
    run: &Path,
    mut last: u64,
    graph: &Arc<Graph>,
    weights: &Sender<Item>,
    stop: &Stop,
) -> Result<()> {
    let mut seen = Some(last);
    while !stop.is_stopped() {
        // Asked first: what it leaves behind at its end is still evaluated.
        let ended = !is_at_work(run);
        let newest = newest(run);
        if newest != seen {
            seen = newest;
            let trained = Trained::latest(run)?;
            // A damaged one is passed over in favour of one that is known.
            let step = trained.stored.progress.steps;
            if step != last {
                let found = trained.stored.inference_weights(graph).map_err(Error::new)?;
                if weights.send_blocking(Item::Weights(Arc::new(found))).is_err() {
                    return Ok(());
                }
                last = step;
                continue;
            }
        }
        if ended {
            return Ok(());
        }
        thread::sleep(PERIOD);
    }
    Ok(())
}

/// The highest step of a run's checkpoints.
fn newest(run: &Path) -> Option<u64> {
    checkpoint::list(&checkpoints(run)).pop()
}
