//! Counts how often the highest score is the right class.

use std::collections::HashSet;

use anyhow::{Result, bail, ensure};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use runtime::channel::Ports;
use runtime::event::{EvaluationReport, Event, Events};
use runtime::item::{Item, Label, Scores};
use runtime::port::Port;
use runtime::stage::{Config, Context, Kind, Mismatch, Runner, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Takes scores of one epoch of images after the other and says `precision @ 1`, which is
/// accuracy, for each. Every image counts exactly once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluator {}

/// The kind.
pub fn kind() -> Kind {
    Kind::of::<Evaluator>(
        "evaluator",
        "Says the precision @ 1 (accuracy) of a model's scores, each image counted once.",
        "{}",
    )
}

impl Config for Evaluator {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        match inputs {
            [Port::Scores(_)] => Ok(None),
            _ => Err(Mismatch::new("an evaluator takes the scores of one model")
                .help("`from:` a model that reads batches and weights")),
        }
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        Ok(Runner::Stage(Box::new(Evaluate { events: context.events.clone() })))
    }
}

#[derive(Debug)]
struct Evaluate {
    events: Events,
}

impl Stage for Evaluate {
    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        async move {
            let mut tally = Tally::default();
            while let Some(item) = ports.receive(0).await {
                let Item::Scores(scores) = item else { bail!("it takes scores only") };
                tally.add(&scores)?;
                if scores.batch.ends_epoch {
                    let tally = std::mem::take(&mut tally);
                    self.events.emit(Event::Evaluation(tally.report(&scores)?));
                }
            }
            Ok(())
        }
        .boxed()
    }
}

#[derive(Debug, Default)]
struct Tally {
    // By number, not by pass: an image of the next pass has no place in this one.
    seen: HashSet<u64>,
    right: u64,
    loss: f64,
}

impl Tally {
    fn add(&mut self, scores: &Scores) -> Result<()> {
        let rows = scores.logits.chunks_exact(scores.classes.max(1));
        let images = scores.batch.ids.iter().zip(&scores.batch.labels).zip(rows);
        for (((id, label), row), loss) in images.zip(&scores.image_loss) {
            if !self.seen.insert(id.index) {
                bail!("image {} came twice in one evaluation", id.index);
            }
            self.right += u64::from(is_right(row, label));
            self.loss += f64::from(*loss);
        }
        Ok(())
    }

    fn report(&self, scores: &Scores) -> Result<EvaluationReport> {
        let (images, source) = (self.seen.len() as u64, &scores.batch.source);
        ensure!(
            images == source.epoch_images,
            "{images} images were scored, and a pass over {} has {}",
            source.description,
            source.epoch_images
        );
        let precision_at_1 = self.right as f64 / images.max(1) as f64;
        Ok(EvaluationReport {
            stage: String::new(),
            step: scores.progress.steps,
            epoch: scores.progress.epochs(),
            split: source.split.clone(),
            images,
            precision_at_1,
            precision_at_k: (1, precision_at_1),
            classes: source.classes.clone(),
            confusion: Vec::new(),
            mistakes: Vec::new(),
            views: 1,
            loss: self.loss / images.max(1) as f64,
            stands_in_for: source.stands_in_for.clone(),
            averaged: scores.averaged,
        })
    }
}

/// Whether the first of the highest scores is the (likeliest) class; never if a score is no
/// number.
fn is_right(scores: &[f32], label: &Label) -> bool {
    if scores.iter().any(|score| !score.is_finite()) {
        return false;
    }
    let class = match label {
        Label::Class(class) => *class as usize,
        Label::Distribution(shares) => first_highest(shares),
    };
    first_highest(scores) == class
}

fn first_highest(values: &[f32]) -> usize {
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = at;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use runtime::item::{Batch, Progress, SampleId};

    use super::*;
    use crate::testing::source;

    /// Scores that are right for images with these numbers, of a pass over three.
    fn scores(indices: &[u64]) -> Scores {
        let id = |index: &u64| SampleId { epoch: *index, index: *index };
        let batch = Batch {
            source: source(3),
            number: 0,
            ids: indices.iter().map(id).collect(),
            labels: vec![Label::Class(1); indices.len()],
            shape: [1, 1, 1],
            images: Vec::new(),
            ends_epoch: false,
            samples_end: 0,
        };
        Scores {
            progress: Progress::default(),
            averaged: true,
            batch,
            logits: [0.0, 1.0].repeat(indices.len()),
            image_loss: vec![0.5; indices.len()],
            classes: 2,
        }
    }

    #[test]
    fn every_image_of_the_pass_counts_once() {
        let tally = |indices: &[u64]| {
            let (mut tally, scores) = (Tally::default(), scores(indices));
            tally.add(&scores).and_then(|()| tally.report(&scores))
        };
        let report = tally(&[2, 0, 1]).expect("a whole pass");
        assert_eq!((report.images, report.precision_at_1, report.loss), (3, 1.0, 0.5));
        let message = |indices| tally(indices).expect_err("not a pass").to_string();
        assert!(message(&[0, 1]).starts_with("2 images were scored"));
        assert_eq!(message(&[0, 1, 1]), "image 1 came twice in one evaluation");
    }

    #[test]
    fn ties_count_once_by_lowest_index() {
        let tied = [1.0, 3.0, 3.0];
        let right: Vec<u32> = (0..3).filter(|c| is_right(&tied, &Label::Class(*c))).collect();
        assert_eq!(right, [1]);
    }

    #[test]
    fn scores_that_are_no_numbers_are_wrong() {
        assert!(!is_right(&[f32::NAN, 0.0], &Label::Class(0)));
        assert!(!is_right(&[f32::INFINITY, 0.0], &Label::Class(0)));
    }
}
