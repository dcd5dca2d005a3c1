//! How far a training run has come.

use serde::{Deserialize, Serialize};

/// Where in its flow a stage begins to put out: at the start of a run at 0, when it is resumed
/// where the training stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Images before it, counted over all epochs.
    pub samples: u64,
    /// Batches before it.
    pub batches: u64,
    /// Images in one epoch, as they were when the run stopped; 0 at the start of a run.
    pub epoch_images: u64,
}

/// How far a training run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub steps: u64,
    /// Images trained on, repetitions counted.
    pub images: u64,
    /// Where the training flow goes on.
    pub position: Position,
    /// Images of an epoch that are trained on; 0 in checkpoints of versions that counted all.
    #[serde(default)]
    pub epoch_images: u64,
    /// The first loss that was looked at, at least 1: what later ones are measured by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_loss: Option<f64>,
}

impl Progress {
    /// Epochs: passes over what is trained on.
    pub fn epochs(&self) -> f64 {
        self.images as f64 / self.images_per_epoch() as f64
    }

    /// Images of an epoch, at least 1.
    pub fn images_per_epoch(&self) -> u64 {
        match self.epoch_images {
            0 => self.position.epoch_images.max(1),
            images => images,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_what_is_trained_on() {
        let position = Position { epoch_images: 31, ..Position::default() };
        let old = Progress { images: 62, position, ..Progress::default() };
        assert_eq!(old.epochs(), 2.0);
        assert_eq!(Progress { epoch_images: 16, images: 64, ..old }.epochs(), 4.0);
        assert_eq!(Progress::default().epochs(), 0.0);
    }
}
