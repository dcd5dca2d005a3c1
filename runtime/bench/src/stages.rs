//! Stages at work: those before the model alone, and everything that is trained with.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Flow, StageRate};
use base::stop::Stop;
use flow::plan::Plan;
use flow::reports::{Outcome, StageReport};
use flow::run::run;

/// The flow of what `stage` puts out, into nothing, until so many images have come out.
///
/// # Errors
/// If there is no such stage, or one of those before it fails.
pub fn alone(plan: Plan, stage: &str, images: usize) -> Result<Flow> {
    let plan = plan.counting(stage, images)?;
    let outcome = run(&plan, Stop::default(), |_| {})?;
    // The last edge leads into what counts.
    let arrived = outcome.edges.last().and_then(|edge| edge.queue.as_ref());
    let images = arrived.map_or(0, |queue| queue.images);
    Ok(flow(&outcome, images, outcome.elapsed))
}

/// A pipeline that trains, to its end.
///
/// # Errors
/// If it fails.
pub fn together(plan: &Plan) -> Result<Flow> {
    let outcome = run(plan, Stop::default(), |_| {})?;
    let trained = outcome.edges.iter().filter(|edge| edge.trains);
    let images = trained.filter_map(|edge| edge.queue.as_ref()).map(|queue| queue.images).max();
    let images = images.context("the pipeline trains nothing")?;
    Ok(flow(&outcome, images, outcome.elapsed))
}

fn flow(outcome: &Outcome, images: u64, elapsed: Duration) -> Flow {
    let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    let stages = outcome.stages.iter().map(|stage| rate(outcome, stage, seconds)).collect();
    Flow {
        images_per_s: images as f64 / seconds,
        stages,
        bottleneck: outcome.bottleneck().iter().map(|stage| stage.id.clone()).collect(),
    }
}

fn rate(outcome: &Outcome, stage: &StageReport, seconds: f64) -> StageRate {
    let edges =
        || outcome.edges.iter().filter_map(|edge| Some((edge, edge.queue.as_ref()?.images)));
    let out = edges().filter(|(edge, _)| edge.from == stage.id).map(|(_, images)| images).max();
    let into = edges().filter(|(edge, _)| edge.to == stage.id).map(|(_, images)| images).max();
    // Stages that share threads have no queue between them: what came into the first went
    // through all of them.
    let images = out.max(into).or_else(|| shared(outcome, &stage.id));
    let busy_s = stage.busy.as_secs_f64();
    StageRate {
        stage: stage.id.clone(),
        workers: stage.workers,
        busy: busy_s / (seconds * stage.workers as f64),
        alone_images_per_s: images
            .filter(|images| *images > 0 && busy_s > 0.0)
            .map(|images| images as f64 * stage.workers as f64 / busy_s),
    }
}

/// The images of the nearest queue before a stage without one of its own.
fn shared(outcome: &Outcome, stage: &str) -> Option<u64> {
    let mut at = stage;
    loop {
        let before = outcome.edges.iter().find(|edge| edge.to == at)?;
        match &before.queue {
            Some(queue) => return Some(queue.images),
            None => at = &before.from,
        }
    }
}
