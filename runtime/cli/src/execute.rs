//! Runs a plan, with everything that is said before it and on the way printed and kept.

use std::io;

use super::App;
use super::diagnose::diagnose;
use super::output::{Failure, complain};
use crate::console::Console;
use base::stop::Stop;
use compute::divergence::Diverged;
use compute::towers::NoneLeft;
use flow::event::{Event, Message};
use flow::plan::Plan;
use record::recorder::{Kept, Last, Recorder};
use record::sink::{RunState, Sink};

/// Tells warnings of a process that keeps nothing and is not the first of its job.
struct Complaints(String);

impl Sink for Complaints {
    fn is_live(&self) -> bool {
        true
    }

    fn observe(&mut self, message: &Message, _: &mut RunState) -> anyhow::Result<()> {
        if let Event::Warning(text) = &message.event {
            complain(&format!("{}: warning: {text}\n", self.0));
        }
        Ok(())
    }
}

/// Adds those who listen to what a recorder keeps.
fn listening(app: &App, plan: &Plan, recorder: &mut Recorder, before: &[String], stop: &Stop) {
    let job = &plan.settings.compute.job;
    if !job.is_first() {
        return recorder.add(Box::new(Complaints(job.who())));
    }
    app.sinks.iter().for_each(|sink| recorder.add(sink()));
    let mut console = Console::new(plan, stop);
    before.iter().for_each(|line| console.line(line));
    recorder.add(Box::new(console));
}

/// Runs a plan, with everything that is said before it and on the way printed and kept.
pub(super) fn execute(
    app: &App,
    plan: Plan,
    recorder: Option<Recorder>,
    before: &[String],
    stop: &Stop,
) -> Result<Last, Failure> {
    let job = plan.settings.compute.job.clone();
    let mut recorder = recorder.unwrap_or_else(|| Recorder::without_folder(&plan));
    listening(app, &plan, &mut recorder, before, stop);
    let Kept { failure, result, discarded } = recorder.keep(&plan, stop);
    let last = recorder.last().clone();
    if let Some(error) = failure {
        return Err(Failure::of_run(error));
    }
    match result {
        Ok(_) if last.failure.is_some() => {
            let error = anyhow::anyhow!(last.failure.unwrap_or_default());
            let mut text = "the last weights could not be kept".to_owned();
            if let Some((kept, run)) = last.checkpoint.as_ref().zip(last.folder.as_ref()) {
                text += &format!(
                    "; those of {} are.\nOnce files can be written again, go on from there: `runtime run \
                     --resume {}`",
                    kept.display(),
                    run.display()
                );
            }
            Err(Failure::Run(error.context(text)))
        }
        Ok(outcome) if outcome.interrupted => Err(Failure::Interrupted),
        // Whoever closed the pipe has seen enough, and everything is in the log.
        Ok(_) => match &last.output {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::Output(io::Error::new(error.kind(), error.to_string())))
            }
            _ => Ok(last),
        },
        Err(error) => {
            if let Some(lost) = error.chain().find_map(|cause| cause.downcast_ref::<NoneLeft>()) {
                return Err(Failure::Lost { lost: lost.clone(), run: last.folder });
            }
            let diverged = error.chain().find_map(|cause| cause.downcast_ref::<Diverged>());
            Err(match diverged.cloned().filter(|_| job.is_first()) {
                Some(diverged) => {
                    drop(recorder);
                    let discarded = discarded.map_err(Failure::Run)?;
                    diagnose(plan, &diverged, discarded.as_deref(), &last)
                }
                None => Failure::of_run(error),
            })
        }
    }
}
