//! Scoring of images that are in memory.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Scoring;
use super::kernels::flop_of;
use super::repeat::repeat;
use compute::graph::Phase;
use compute::reuse::Lent;
use compute::session::Session;
use flow::item::Batch;

/// Scores a batch of so many images, those of these batches over and over, for about so long.
///
/// # Errors
/// If there is no image, or the adapter fails.
pub fn scoring(
    session: &mut Session,
    batches: &[Batch],
    images: usize,
    time: Duration,
) -> Result<Scoring> {
    let batch = gathered(batches, images)?;
    let (_, each) = repeat(time, |_| session.score(&batch).map(|_| ()))?;
    let phases = [Phase::Forward, Phase::Loss];
    Ok(Scoring {
        batch: images,
        micro_batch: session.micro_batch(),
        each,
        images_per_s: each.per_s(images as f64),
        gflop_per_s: each.per_s(flop_of(session.graph(), &phases, images)) / 1e9,
    })
}

/// A batch of so many of these images, from the first on and again.
fn gathered(batches: &[Batch], images: usize) -> Result<Batch> {
    let there: usize = batches.iter().map(|batch| batch.ids.len()).sum();
    ensure!(there > 0, "there is no image to score");
    let mut all = Batch {
        ids: Vec::new(),
        labels: Vec::new(),
        images: Lent::default(),
        whole: images,
        ..batches[0].clone()
    };
    let each: usize = all.shape.iter().product();
    for batch in batches.iter().cycle() {
        let taken = batch.ids.len().min(images - all.ids.len());
        all.ids.extend(&batch.ids[..taken]);
        all.labels.extend(batch.labels[..taken].iter().cloned());
        all.images.extend_from_slice(&batch.images[..taken * each]);
        if all.ids.len() == images {
            break;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use compute::pass::Pass;
    use flow::item::{Label, SampleId, Source};

    fn batch(indices: &[u64]) -> Batch {
        Batch {
            source: Arc::new(Source {
                description: String::new(),
                epoch_images: 3,
                split: String::new(),
                classes: Vec::new(),
                stands_in_for: None,
                limit: None,
                in_a_row: None,
            }),
            number: 0,
            ids: indices.iter().map(|index| SampleId { epoch: 0, index: *index }).collect(),
            labels: indices.iter().map(|index| Label::Class(*index as u32)).collect(),
            shape: [1, 1, 2],
            images: indices.iter().flat_map(|index| [*index as f32, 0.5]).collect(),
            whole: indices.len(),
            ends_epoch: false,
            pass: Pass::open(3, 3),
            samples_end: 0,
        }
    }

    #[test]
    fn images_are_taken_again_until_there_are_enough() {
        let batches = [batch(&[4, 5]), batch(&[6])];
        let all = gathered(&batches, 7).expect("there are images");
        let indices: Vec<u64> = all.ids.iter().map(|id| id.index).collect();
        assert_eq!(indices, [4, 5, 6, 4, 5, 6, 4]);
        assert_eq!(all.labels.len(), 7);
        assert_eq!(all.images[2..6], [5.0, 0.5, 6.0, 0.5]);
        assert_eq!(gathered(&batches, 1).expect("there are images").images, [4.0, 0.5]);
        assert!(gathered(&[batch(&[])], 1).is_err() && gathered(&[], 1).is_err());
    }
}
