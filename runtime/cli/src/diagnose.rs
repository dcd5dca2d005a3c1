//! Where the numbers of a run went bad, and what to do about it.

use std::path::Path;
use std::sync::Arc;

use super::interrupt::listen;
use super::output::{Failure, complain};
use base::stop::Stop;
use compute::divergence::Diverged;
use compute::job::Job;
use compute::precision::Precision;
use flow::event::Event;
use flow::item::Weights;
use flow::plan::Plan;
use flow::port::Port;
use flow::stage::{Evaluation, Resume};
use record::checkpoint::latest_good;
use record::recorder::Last;
use record::run_folder;

/// Does the steps since the last good checkpoint again, to find what went bad first.
pub(super) fn diagnose(
    mut plan: Plan,
    diverged: &Diverged,
    discarded: Option<&Path>,
    last: &Last,
) -> Failure {
    let good = last.folder.as_ref().and_then(|run| latest_good(&run_folder::checkpoints(run)).ok());
    let trainer = plan.trainer().map(|at| &plan.stages[at]);
    let graph = trainer.and_then(|stage| match &stage.output {
        Some(Port::Weights(graph)) => Some(Arc::clone(graph)),
        _ => None,
    });
    let rate = trainer.map_or_else(String::new, |stage| {
        format!("stages.{}.{}.learning_rate=RATE", stage.id, stage.kind)
    });
    let weights: Option<Weights> =
        good.as_ref().zip(graph).and_then(|((_, stored, _), graph)| stored.weights(&graph).ok());
    let from = weights.as_ref().map_or(0, |weights| weights.progress.steps);
    complain(&format!(
        "training has diverged. Looking for the place: the steps from {from} on are done again; \
         Ctrl-C leaves that out.\n"
    ));
    // That run shows what went wrong, and nothing else of it counts.
    plan.settings.resume = weights.map(|weights| Resume {
        weights: Arc::new(weights),
        evaluation: Evaluation::Told,
        lost: Vec::new(),
        shares: Vec::new(),
        limit: plan.settings.limit,
    });
    plan.settings.diagnose = Some(diverged.step);
    plan.settings.record.taps.clear();
    // By itself: all images are computed where all numbers are looked at.
    plan.settings.compute.job = Job::default();
    // Its own: the other has been stopped by the failure.
    let stop = Stop::default();
    if let Err(error) = listen(&stop) {
        return Failure::Run(error);
    }
    let mut found = None;
    let again = flow::run::run(&plan, stop, |message| {
        if let Event::Diagnosis(text) = message.event {
            found = Some(text);
        }
    });
    let mut text = diverged.to_string();
    match (found, again) {
        (Some(found), _) => text += &format!("\n{found}"),
        (None, Err(error)) => text += &format!("\nThe place could not be found: {error:#}"),
        (None, Ok(_)) => text += "\nThe place was not looked for to the end",
    }
    if let Some(aside) = discarded {
        text += &format!(
            ".\nThe weights that were kept right before that step are no good at any rate, and were \
             moved to {}",
            aside.display()
        );
    }
    let mut next = "Try a lower learning rate, or `runtime selftest` to see whether the adapter \
                    computes correctly"
        .to_owned();
    if plan.settings.compute.precision == Precision::F16 {
        next += ". In f16, what is beyond 65,504 is infinite: `precision: f32` has room";
    }
    match (&good, &last.folder) {
        (Some((path, ..)), Some(run)) => {
            next += &format!(
                ".\nThe last good weights are those after {from} steps, {}.\nTo go on from \
                 there with another rate: `runtime run --resume {} --set {rate}`",
                path.display(),
                run.display()
            );
        }
        _ => {
            next += &format!(
                ".\nNo good weights were kept before: start again, with `--set {rate}`, a warm-up \
                 or `clip_norm`"
            );
        }
    }
    Failure::Run(anyhow::anyhow!("{text}.\n{next}"))
}
