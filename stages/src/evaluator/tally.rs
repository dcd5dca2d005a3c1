//! What is counted in one evaluation.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use anyhow::{Result, ensure};
use flow::item::{Image, Label, Pixels, SampleId, Scores};
use flow::reports::{Confusion, EvaluationReport, Mistake};

/// One evaluation so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    // Views that are done.
    views: usize,
    // By number, not by pass: an image of the next evaluation has no place in this one.
    images: HashMap<u64, Seen>,
    seen_in_view: u64,
    loss: f64,
    // Of each image, how many classes come before its own.
    ranks: Vec<Option<usize>>,
    confusion: Confusion,
    // The most confident first.
    mistakes: Vec<Mistake>,
}

/// One image, in all its views so far.
#[derive(Debug)]
struct Seen {
    views: usize,
    /// Of each class, the sum over the views; none where there is one view, as they would take more
    /// memory than the images.
    probabilities: Vec<f64>,
}

impl Tally {
    /// Counts the images of one batch, keeping this many mistakes.
    pub(super) fn add(&mut self, scores: &Scores, mistakes: usize) -> Result<()> {
        if self.confusion.classes() == 0 {
            self.confusion = Confusion::new(scores.classes);
        }
        let images = scores.batch.ids.iter().zip(&scores.batch.labels);
        for (at, ((id, label), probabilities)) in images.zip(scores.probabilities()).enumerate() {
            let shares = if scores.views == 1 {
                self.see(*id, Vec::new())?;
                probabilities
            } else {
                self.see(*id, probabilities)?;
                self.mean(id.index)
            };
            if self.views + 1 < scores.views {
                continue;
            }
            self.loss += match scores.views {
                1 => f64::from(scores.image_loss[at]),
                _ => cross_entropy(&shares, label),
            };
            self.count(*id, &shares, label, mistakes, || image(scores, at));
        }
        Ok(())
    }

    /// Adds a view of an image, which has to be in each earlier pass once and in this one not yet.
    fn see(&mut self, id: SampleId, probabilities: Vec<f64>) -> Result<()> {
        let SampleId { epoch, index } = id;
        self.seen_in_view += 1;
        match self.images.entry(index) {
            Entry::Vacant(new) => {
                ensure!(self.views == 0, "image {index} of epoch {epoch} is in no earlier view");
                new.insert(Seen { views: 1, probabilities });
            }
            Entry::Occupied(mut known) => {
                let seen = known.get_mut();
                ensure!(seen.views == self.views, "image {index} came twice in one evaluation");
                seen.views += 1;
                seen.probabilities.iter_mut().zip(probabilities).for_each(|(sum, p)| *sum += p);
            }
        }
        Ok(())
    }

    /// The probabilities of an image, averaged over its views.
    fn mean(&self, index: u64) -> Vec<f64> {
        self.images.get(&index).map_or_else(Vec::new, |seen| {
            seen.probabilities.iter().map(|sum| sum / seen.views as f64).collect()
        })
    }

    fn count(
        &mut self,
        id: SampleId,
        shares: &[f64],
        label: &Label,
        mistakes: usize,
        image: impl FnOnce() -> Image,
    ) {
        // A probability that is no number makes all of them so.
        if shares.iter().any(|share| share.is_nan()) {
            self.ranks.push(None);
            return;
        }
        let class = match label {
            Label::Class(class) => *class as usize,
            Label::Distribution(wanted) => first_highest(wanted),
        };
        self.ranks.push(Some(rank(shares, class)));
        let taken_for = first_highest(shares);
        self.confusion.add(class, taken_for);
        if taken_for == class {
            return;
        }
        let probability = shares[taken_for];
        // Of equally confident ones the lower number comes first, whatever the order of the flow.
        let place = self.mistakes.partition_point(|other| {
            (-other.probability, other.id.index) < (-probability, id.index)
        });
        if place < mistakes {
            let mistake = Mistake { id, class, taken_for, probability, image: image() };
            self.mistakes.insert(place, mistake);
            self.mistakes.truncate(mistakes);
        }
    }

    /// Ends a pass; whether it was that of the last view.
    pub(super) fn end_view(&mut self, scores: &Scores) -> Result<bool> {
        let (images, source) = (std::mem::take(&mut self.seen_in_view), &scores.batch.source);
        ensure!(
            images == source.epoch_images,
            "{images} images were scored, and a pass over {} has {}",
            source.description,
            source.epoch_images
        );
        self.views += 1;
        Ok(self.views == scores.views)
    }

    pub(super) fn report(self, stage: &str, k: usize, scores: &Scores) -> EvaluationReport {
        let (images, source) = (self.images.len() as u64, &scores.batch.source);
        let share = |k: usize| {
            let right = self.ranks.iter().filter(|rank| rank.is_some_and(|rank| rank < k)).count();
            right as f64 / images.max(1) as f64
        };
        let k = k.min(scores.classes);
        EvaluationReport {
            stage: stage.to_owned(),
            step: scores.progress.steps,
            epoch: scores.progress.epochs(),
            split: source.split.clone(),
            images,
            precision_at_1: share(1),
            precision_at_k: (k, share(k)),
            loss: self.loss / images.max(1) as f64,
            classes: source.classes.clone(),
            confusion: self.confusion,
            mistakes: self.mistakes,
            stands_in_for: source.stands_in_for.clone(),
            averaged: scores.averaged,
            views: scores.views,
        }
    }
}

/// An image of the batch as the model saw it.
fn image(scores: &Scores, at: usize) -> Image {
    let batch = &scores.batch;
    let size: usize = batch.shape.iter().product();
    let pixels = batch.images[at * size..(at + 1) * size].to_vec();
    Image { shape: batch.shape, pixels: Pixels::F32(pixels) }
}

/// How many classes come before this one: those that are likelier, and of those that are as
/// likely the ones with a lower number.
fn rank(shares: &[f64], class: usize) -> usize {
    let before = |(other, share): (usize, &f64)| {
        *share > shares[class] || (*share == shares[class] && other < class)
    };
    shares.iter().enumerate().filter(|other| before(*other)).count()
}

fn first_highest<T: PartialOrd>(values: &[T]) -> usize {
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = at;
        }
    }
    best
}

/// The cross-entropy of these probabilities. One that is too small for a normal number counts as
/// the smallest of those, so that no single image makes the mean infinite.
fn cross_entropy(shares: &[f64], label: &Label) -> f64 {
    let surprise = |class: usize| match shares[class] {
        share if share.is_nan() => share,
        share => -share.max(f64::MIN_POSITIVE).ln(),
    };
    match label {
        Label::Class(class) => surprise(*class as usize),
        Label::Distribution(wanted) => wanted
            .iter()
            .enumerate()
            .map(|(class, share)| f64::from(*share) * surprise(class))
            .sum(),
    }
}

#[cfg(test)]
mod tests {
    use compute::pass::Pass;
    use flow::item::{Batch, Progress};

    use super::*;
    use crate::testing::source;

    /// Scores of two classes of images with these numbers, of a pass over three: right with
    /// probability 3/4, all of class 1.
    fn scores(epoch: u64, indices: &[u64], views: usize) -> Scores {
        let batch = Batch {
            source: source(3),
            number: 0,
            ids: indices.iter().map(|index| SampleId { epoch, index: *index }).collect(),
            labels: vec![Label::Class(1); indices.len()],
            shape: [1, 1, 1],
            images: indices.iter().map(|index| *index as f32).collect(),
            whole: indices.len(),
            ends_epoch: true,
            pass: Pass::closed(3, 3),
            samples_end: 0,
        };
        Scores {
            progress: Progress::default(),
            averaged: true,
            batch,
            views,
            logits: [0.0, f32::ln(3.0)].repeat(indices.len()),
            image_loss: vec![0.5; indices.len()],
            classes: 2,
        }
    }

    /// The report on these passes.
    fn report(passes: &[Scores], k: usize, mistakes: usize) -> Result<EvaluationReport> {
        let mut tally = Tally::default();
        for scores in passes {
            tally.add(scores, mistakes)?;
            tally.end_view(scores)?;
        }
        Ok(tally.report("evaluate", k, &passes[0]))
    }

    fn message(passes: &[Scores]) -> String {
        report(passes, 1, 0).expect_err("not what an evaluation needs").to_string()
    }

    #[test]
    fn every_image_of_the_pass_counts_once() {
        let found = report(&[scores(0, &[2, 0, 1], 1)], 5, 12).expect("a whole pass");
        assert_eq!((found.images, found.precision_at_1, found.loss), (3, 1.0, 0.5));
        assert_eq!(found.precision_at_k, (2, 1.0), "there are only two classes");
        assert_eq!(found.confusion, vec![vec![0, 0], vec![0, 3]].into());
        assert!(found.mistakes.is_empty() && found.stage == "evaluate");
        assert!(message(&[scores(0, &[0, 1], 1)]).starts_with("2 images were scored"));
        assert_eq!(message(&[scores(0, &[0, 1, 1], 1)]), "image 1 came twice in one evaluation");
    }

    #[test]
    fn every_view_has_every_image() {
        let whole = || scores(0, &[0, 1, 2], 2);
        let wrong = message(&[whole(), scores(1, &[0, 2], 2)]);
        assert!(wrong.starts_with("2 images were scored"), "{wrong}");
        let wrong = message(&[whole(), scores(1, &[0, 2, 2], 2)]);
        assert_eq!(wrong, "image 2 came twice in one evaluation");
        let wrong = message(&[whole(), scores(1, &[0, 1, 3], 2)]);
        assert_eq!(wrong, "image 3 of epoch 1 is in no earlier view");
    }

    #[test]
    fn probabilities_are_averaged_over_the_views() {
        let first = scores(0, &[0, 1, 2], 2);
        // Class 1 has 3/4 first, then 1/2, 1/4 and 0: 5/8, 1/2 and 3/8 on average.
        let second = Scores {
            logits: vec![0.0, 0.0, f32::ln(3.0), 0.0, 1e4, 0.0],
            ..scores(1, &[0, 1, 2], 2)
        };
        let found = report(&[first, second], 1, 12).expect("whole passes");
        // Of the tie, class 0 is the first.
        assert!((found.precision_at_1 - 1.0 / 3.0).abs() < 1e-12, "{found:?}");
        assert_eq!((found.images, found.views), (3, 2));
        let loss = -[0.625_f64, 0.5, 0.375].map(f64::ln).iter().sum::<f64>() / 3.0;
        assert!((found.loss - loss).abs() < 1e-6, "{} is not {loss}", found.loss);
        let mistakes: Vec<_> = found.mistakes.iter().map(|m| (m.id.index, m.id.epoch)).collect();
        assert_eq!(mistakes, [(2, 1), (1, 1)]);
        assert!((found.mistakes[0].probability - 0.625).abs() < 1e-6);
    }

    #[test]
    fn the_most_confident_mistakes_are_kept_with_their_images() {
        let wrong =
            Scores { logits: vec![2.0, 0.0, 3.0, 0.0, 2.0, 0.0], ..scores(0, &[2, 1, 0], 1) };
        let found = report(&[wrong], 1, 2).expect("a whole pass");
        assert_eq!(found.confusion, vec![vec![0, 0], vec![3, 0]].into());
        let mistakes: Vec<_> =
            found.mistakes.iter().map(|m| (m.id.index, m.class, m.taken_for)).collect();
        // Of equally confident ones the lower number.
        assert_eq!(mistakes, [(1, 1, 0), (0, 1, 0)]);
        assert_eq!(found.mistakes[1].image.pixels, Pixels::F32(vec![0.0]));
    }

    #[test]
    fn ties_count_once_by_lowest_index() {
        let tied = [0.2, 0.4, 0.4];
        assert_eq!([0, 1, 2].map(|class| rank(&tied, class)), [2, 0, 1]);
        assert_eq!(first_highest(&tied), 1);
    }

    #[test]
    fn scores_that_are_no_numbers_are_wrong_for_every_k() {
        let wrong = Scores {
            logits: vec![0.0, 1.0, f32::NAN, 1.0, 0.0, f32::INFINITY],
            ..scores(0, &[0, 1, 2], 1)
        };
        let found = report(&[wrong], 2, 12).expect("a whole pass");
        assert!((found.precision_at_1 - 1.0 / 3.0).abs() < 1e-12, "{found:?}");
        assert_eq!(found.precision_at_k, (2, found.precision_at_1));
        assert_eq!(found.confusion, vec![vec![0, 0], vec![0, 1]].into());
        assert!(found.mistakes.is_empty());
    }

    #[test]
    fn soft_labels_count_by_their_likeliest_class() {
        let mut soft = scores(0, &[0, 1, 2], 2);
        soft.batch.labels = vec![Label::Distribution([0.25, 0.75].into()); 3];
        let found = report(&[soft.clone(), soft], 1, 0).expect("whole passes");
        assert_eq!(found.precision_at_1, 1.0);
        let loss = -(0.25 * 0.25_f64.ln() + 0.75 * 0.75_f64.ln());
        assert!((found.loss - loss).abs() < 1e-6, "{} is not {loss}", found.loss);
    }
}
