//! What there is to say of a run, as plain data: what stages report, and what is kept of it in
//! files. Nothing here knows who reports or who listens.

mod began;
mod confusion;
mod data;
mod evaluation;
mod flow;
mod histogram;
mod identity;
mod image_set;
mod step;
mod summary;
mod tapped;
mod trainer;

use serde::{Deserialize, Deserializer};

pub use compute::towers::report::{Change, TowerReport, TowerStep, TowersStep};

pub use self::began::Began;
pub use self::confusion::{Confusion, FEW_CLASSES};
pub use self::data::{DataReport, TRAIN};
pub use self::evaluation::{EvaluationReport, Mistake};
pub use self::flow::{EdgeReport, Outcome, QueueReport, StageReport};
pub use self::histogram::{Buckets, Histogram};
pub use self::identity::{Identity, with_label};
pub use self::image_set::ImageSet;
pub use self::step::{LossTerm, StepReport};
pub use self::summary::Summary;
pub use self::tapped::Tapped;
pub use self::trainer::TrainerReport;

/// Reads a real number. JSON has none that is infinite or NaN: `null` stands for both.
fn real<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}
