//! `runtime eval`: how good trained weights are.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_channel::Sender;
use clap::Args;
use futures::future::{Either, select};
use pollster::block_on;

use super::App;
use super::evaluations::{Kept, describe, json};
use super::interrupt::listen;
use super::output::{Failure, complain, print};
use super::trained::{find, images, latest, plan, read};
use base::stop::Stop;
use compute::graph::Graph;
use flow::event::Event;
use flow::item::Item;
use flow::reports::{DataReport, EvaluationReport, ImageSet};
use inference::{Change, evaluations};
use record::checkpoint;
use record::provenance;
use record::run_folder::{RUNS, checkpoints, is_at_work};

const EXAMPLES: &str = "\
Examples:
  runtime eval runs/pipeline-001                    the latest checkpoint of a run
  runtime eval runs/pipeline-001 --best --views 10  the best one, by ten views of each image
  runtime eval runs/pipeline-001 --watch            new checkpoints as they come, until the run ends
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

    /// Evaluates new checkpoints of the run until it has ended. Those that come while others are
    /// evaluated may be passed over for newer ones; the last never is.
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

    /// Where runs have their folders, in which one is found by its name.
    #[arg(long, value_name = "DIR", env = "GRADFLOW_RUNS", default_value = RUNS)]
    runs: PathBuf,

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
    let path = &find(&arguments.path, &arguments.runs)?;
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
    let first = read(path, arguments.best)?;
    let (adapter, data) = (arguments.adapter.as_deref(), arguments.data.as_deref());
    let plan = plan(app, &first, &arguments.changes(), adapter, data)?;
    let weights = first.weights(&plan).map_err(Failure::Run)?;
    let graph = Arc::clone(&weights.graph);
    let (sender, receiver) = async_channel::bounded(1);
    // There is room for one.
    let _ = sender.try_send(Item::Weights(weights));
    let plan = evaluations(plan, &first.path, receiver).map_err(Failure::Run)?;
    let mut shown = Shown {
        before: first.stored.about.data.clone(),
        trained: images(&first),
        run: is_run.then(|| path.clone()),
        kept: None,
        stages: plan.evaluators().map(str::to_owned).collect(),
        json: arguments.json,
        chosen_on: first.chosen_on.clone(),
        failure: None,
    };
    if !arguments.json {
        print(&format!("checkpoint: {}\n", first.path.display()))?;
        first.chosen_on.as_deref().map_or(Ok(()), |split| print(&chosen(split)))?;
    }
    let (result, watched) = thread::scope(|scope| -> Result<_> {
        let watching = if arguments.watch {
            let (run, stop, last) = (path, &stop, first.stored.progress.steps);
            let follow = move || follow(run, last, &graph, &sender, stop);
            let thread = thread::Builder::new().spawn_scoped(scope, follow);
            Some(thread.context("could not start a thread")?)
        } else {
            drop(sender);
            None
        };
        let result = flow::run::run(&plan, stop.clone(), |message| {
            shown.show(message.event);
            if shown.failure.is_some() {
                stop.stop();
            }
        })
        // The thread that watches sees that there is nothing to watch for any more.
        .inspect_err(|_| stop.stop());
        let watched = watching.map(|thread| thread.join().unwrap_or_else(|p| resume_unwind(p)));
        Ok((result, watched.unwrap_or(Ok(()))))
    })
    .map_err(Failure::Run)?;
    if let Some(failure) = shown.failure {
        return Err(failure);
    }
    let outcome = result.map_err(Failure::of_run)?;
    let watched = watched.with_context(|| format!("{} is not watched any more", path.display()));
    watched.map_err(Failure::Run)?;
    if outcome.interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

/// What a best checkpoint was chosen by, for people.
fn chosen(split: &str) -> String {
    match split {
        "test" => "chosen on test data: no estimate for images never seen\n".to_owned(),
        _ => format!("chosen on {split} data\n"),
    }
}

/// Where evaluations go.
struct Shown {
    /// The data that the run read.
    before: Vec<DataReport>,
    /// The images that it was trained on, if that is known.
    trained: Option<ImageSet>,
    /// The run that they are kept with.
    run: Option<PathBuf>,
    /// From the first on.
    kept: Option<Kept>,
    /// The stages that evaluate.
    stages: Vec<String>,
    json: bool,
    /// What the best checkpoint was chosen by, if it is the best.
    chosen_on: Option<String>,
    failure: Option<Failure>,
}

impl Shown {
    fn show(&mut self, event: Event) {
        match event {
            Event::Warning(text) => complain(&format!("warning: {text}\n")),
            Event::Data(report) => {
                let before = self.before.iter().find(|before| before.stage == report.stage);
                let told = provenance::afterwards(&report, before, self.trained.as_ref());
                told.iter().for_each(|told| complain(&format!("warning: {told}\n")));
            }
            Event::Evaluation(report) => {
                if let Err(failure) = self.evaluation(&report) {
                    self.failure.get_or_insert(failure);
                }
            }
            _ => {}
        }
    }

    fn evaluation(&mut self, report: &EvaluationReport) -> Result<(), Failure> {
        let line = json(report, self.chosen_on.as_deref()).map_err(Failure::Run)?;
        if self.json {
            print(&line)?;
        } else {
            print(&describe(report))?;
        }
        self.keep(&line, report).map_err(Failure::Run)
    }

    fn keep(&mut self, line: &str, report: &EvaluationReport) -> Result<()> {
        let Some(run) = &self.run else { return Ok(()) };
        let kept = match &mut self.kept {
            Some(kept) => kept,
            none => none.insert(Kept::begin(run, self.stages.iter().map(String::as_str))?),
        };
        kept.keep(line, report)
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

/// Hands on the weights of new checkpoints until the run has ended.
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
            let trained = latest(run)?;
            // A damaged one is passed over in favour of one that is known.
            let step = trained.stored.progress.steps;
            if step != last {
                let found = trained.stored.inference_weights(graph)?;
                let sent = pin!(weights.send(Item::Weights(Arc::new(found))));
                // After a stop nothing is taken any more.
                let Either::Left((Ok(()), _)) = block_on(select(sent, pin!(stop.stopped()))) else {
                    return Ok(());
                };
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
