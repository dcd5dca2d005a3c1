//! A run whose last adapter is lost goes on after its last checkpoint.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::App;
use super::execute::execute;
use super::interrupt::{asked, listen};
use super::output::Failure;
use super::resume::{self, Continuation};
use super::run_arguments::{Arguments, stay_offline};
use base::stop::Stop;
use compute::towers::NoneLeft;
use flow::plan::Plan;
use record::recorder::{Last, Recorder};

/// What a driver gets to come back after a reset.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a plan to its end. When no adapter is left, devices are created anew and the steps since
/// the last checkpoint are done again, bit for bit; not if no step was done since the last time
/// that this happened.
pub(super) fn execute_again(
    app: &App,
    arguments: &Arguments,
    plan: Plan,
    recorder: Option<Recorder>,
    before: &[String],
    stop: &Stop,
) -> Result<Last, Failure> {
    let mut result = execute(app, plan, recorder, before, stop);
    let mut reached: Option<u64> = None;
    loop {
        let Err(Failure::Lost { lost, run: Some(run) }) = &result else { return result };
        if reached.is_some_and(|reached| lost.0.step <= reached) {
            return result;
        }
        reached = Some(lost.0.step);
        let (lost, run) = (lost.clone(), run.clone());
        thread::sleep(PAUSE);
        // The other has been stopped by the failure.
        let stop = Stop::default();
        listen(&stop).map_err(Failure::Run)?;
        if asked() {
            return Err(Failure::Interrupted);
        }
        let Continuation { mut plan, recorder, mut lines, .. } =
            resume::prepare(app, &going_on(arguments, &run))?;
        stay_offline(&mut plan, arguments);
        lines.insert(0, told(&lost));
        result = execute(app, plan, Some(recorder), &lines, &stop);
    }
}

fn going_on(arguments: &Arguments, run: &Path) -> Arguments {
    Arguments {
        file: None,
        set: Vec::new(),
        resume: Some(run.to_string_lossy().into_owned()),
        ..arguments.clone()
    }
}

fn told(lost: &NoneLeft) -> String {
    format!(
        "warning: {lost}. Devices are created anew, and the run goes on after its last checkpoint"
    )
}
