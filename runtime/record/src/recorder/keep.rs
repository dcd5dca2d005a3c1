//! Runs a plan while a recorder keeps what happens.

use std::path::PathBuf;

use anyhow::{Error, Result};

use base::stop::Stop;
use compute::adapter::forms::Forms;
use compute::adapter::tuning_cache::TuningCache;
use compute::divergence::Diverged;
use fetch::Interrupted;
use flow::plan::Plan;
use flow::reports::Outcome;
use flow::settings::RunSettings;

use super::Recorder;
use crate::run_folder::Ended;

/// What came of a run.
#[derive(Debug)]
pub struct Kept {
    /// Why the run could not be kept, which ends it.
    pub failure: Option<Error>,
    /// What the stages did, or what went wrong.
    pub result: Result<Outcome>,
    /// Where weights went that had diverged, if there were any.
    pub discarded: Result<Option<PathBuf>>,
}

/// Has a plan that begins take the fastest forms of kernels, and show its first images.
pub fn prepare(plan: &mut Plan) {
    plan.settings.record.taps = plan.first_images();
    plan.settings.compute.forms = forms(&plan.settings);
}

/// How a run that begins chooses among the forms of kernels.
pub fn forms(settings: &RunSettings) -> Forms {
    match settings.compute.autotune {
        true => Forms::fastest(TuningCache::of_environment()),
        false => Forms::default(),
    }
}

impl Recorder {
    /// Runs a plan to its end, keeps what happens, and ends the sinks. Weights that training cannot go
    /// on from are moved aside.
    pub fn keep(&mut self, plan: &Plan, stop: &Stop) -> Kept {
        let mut failure = None;
        let result = flow::run::run(plan, stop.clone(), |message| {
            if let Err(error) = self.observe(&message) {
                failure.get_or_insert(error);
                stop.stop();
            }
        });
        let how = match (&failure, &result) {
            (Some(error), _) => format!("{error:#}"),
            (None, Ok(outcome)) if outcome.interrupted => Ended::INTERRUPTED.to_owned(),
            (None, Ok(_)) => Ended::DONE.to_owned(),
            (None, Err(error)) if error.root_cause().is::<Interrupted>() => {
                Ended::INTERRUPTED.to_owned()
            }
            (None, Err(error)) => format!("{error:#}"),
        };
        self.finish(&how, result.as_ref().ok().filter(|_| failure.is_none()));
        let error = result.as_ref().err();
        let mut causes = error.into_iter().flat_map(Error::chain);
        let discarded = match causes.find_map(|cause| cause.downcast_ref::<Diverged>()) {
            Some(diverged) if diverged.began_bad => self.discard(diverged.step),
            _ => Ok(None),
        };
        Kept { failure, result, discarded }
    }
}
