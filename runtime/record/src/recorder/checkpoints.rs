//! The weights of a run, as they come.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::checkpoint::{self, Store};
use crate::recorder::PROGRAM;
use crate::run_folder;
use crate::sink::{End, RunState, Sink};
use flow::event::{Checkpoint, Event, Message, Reason};
use flow::plan::Plan;

/// The sink.
pub(super) fn sink(plan: &Plan) -> Box<dyn Sink> {
    let lost = plan.settings.resume.iter().flat_map(|resume| &resume.lost);
    Box::new(Checkpoints {
        keep: plan.settings.record.checkpoints.keep,
        best_by: plan.best_by().map(str::to_owned),
        lost: lost.map(|weights| weights.progress.steps).collect(),
        store: None,
    })
}

/// The folder `checkpoints`.
struct Checkpoints {
    keep: usize,
    best_by: Option<String>,
    /// Steps of earlier weights that are still to be evaluated.
    lost: Vec<u64>,
    store: Option<Store>,
}

impl Sink for Checkpoints {
    fn begin(&mut self, run: &mut RunState) -> Result<()> {
        let Some(folder) = &run.folder else { return Ok(()) };
        let evaluators = run.evaluators.iter().map(String::as_str);
        let mut store = Store::open(&run_folder::checkpoints(folder), self.keep, evaluators)?
            .choosing_by(self.best_by.as_deref(), &run.history.evaluations)?;
        if run.evaluates_other_data {
            store.choose_anew();
        }
        run.held.iter().for_each(|held| store.stay_in(Arc::clone(held)));
        store.await_evaluation(std::mem::take(&mut self.lost));
        run.last.best = store.best().cloned();
        run.last.checkpoint = store.latest();
        self.store = Some(store);
        Ok(())
    }

    fn observe(&mut self, message: &Message, run: &mut RunState) -> Result<()> {
        let Some(store) = &mut self.store else { return Ok(()) };
        match &message.event {
            Event::Checkpoint(checkpoint) => {
                let about = about(run, checkpoint);
                match store.save(&checkpoint.weights, &about, about.awaits_evaluation) {
                    Ok(path) => {
                        run.last.checkpoint = Some(path);
                        run.last.failure = None;
                        Ok(())
                    }
                    Err(error) => {
                        run.last.failure = Some(format!("{error:#}"));
                        Err(error).context("the weights could not be kept; the run goes on")
                    }
                }
            }
            Event::Evaluation(report) => {
                store.evaluated(report)?;
                run.last.best = store.best().cloned();
                Ok(())
            }
            // It follows each evaluation, once that has been written down everywhere.
            Event::Flow(_) => {
                store.tidy();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, _: &End<'_>, run: &mut RunState) -> Result<()> {
        // Somebody may have removed it.
        if let (Some(store), Some(false)) =
            (&self.store, run.last.checkpoint.as_deref().map(Path::is_file))
        {
            run.last.checkpoint = store.latest();
        }
        Ok(())
    }
}

/// What a checkpoint says of its run.
fn about(run: &RunState, checkpoint: &Checkpoint) -> checkpoint::About {
    let (about, ran) = (&run.about, run.ran.as_ref());
    checkpoint::About {
        program: PROGRAM.to_owned(),
        time: run_folder::now(),
        seed: about.seed,
        adapter: about.adapter.clone().unwrap_or_default(),
        variants: ran.map(|ran| ran.first.variants.clone()),
        towers: ran.map(|ran| ran.towers.clone()).unwrap_or_default(),
        holder: ran.and_then(|ran| ran.holder.clone()),
        processes: ran.map(|ran| ran.processes.clone()).unwrap_or_default(),
        data: about.data.clone(),
        awaits_evaluation: checkpoint.reason == Reason::Evaluation,
        folder: about.folder.clone(),
        data_path: about.data_path.clone(),
        pipeline: run.pipeline.clone(),
    }
}
