//! A length of a run.

use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A length of a run: `{ images: 100000 }` or `{ epochs: 2 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// So many images.
    Images(u64),
    /// So many passes over the training data, which need not be whole.
    Epochs(f64),
}

impl Length {
    /// In images.
    pub fn images(self, epoch_images: u64) -> f64 {
        match self {
            Self::Images(images) => images as f64,
            Self::Epochs(epochs) => epochs * epoch_images as f64,
        }
    }

    /// Refuses a length of nothing.
    pub fn check(self, field: &str) -> Option<Mismatch> {
        let (is_some, found) = match self {
            Self::Images(images) => (images > 0, format!("{images} images")),
            Self::Epochs(epochs) => {
                (epochs > 0.0 && epochs.is_finite(), format!("{epochs} epochs"))
            }
        };
        let wrong = Mismatch::field(field, format!("expected a length above 0, found {found}"));
        (!is_some).then(|| wrong.help("leave it out, or write such as `{ epochs: 1 }`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_counted_in_images() {
        assert_eq!(Length::Epochs(350.0).images(50_000), 17_500_000.0);
        assert_eq!(Length::Images(17_499_904).images(50_000), 17_499_904.0);
    }
}
