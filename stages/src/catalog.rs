//! What the fields of stages choose from by name.

use crate::data::{self, format::FormatKind};
use crate::model::layer::LayerKind;
use crate::model::layers;
use crate::optimizer::{self, OptimizerKind};
use crate::schedule::{self, ScheduleKind};

/// What the fields of stages choose from by name.
#[derive(Clone)]
pub struct Catalog {
    /// The layers of a `model`.
    pub layers: Vec<LayerKind>,
    /// The optimisers of a `reducer`.
    pub optimizers: Vec<OptimizerKind>,
    /// The schedules of its learning rate.
    pub schedules: Vec<ScheduleKind>,
    /// The formats of a `reader`.
    pub formats: Vec<FormatKind>,
}

impl Default for Catalog {
    /// All that comes with Gradflow.
    fn default() -> Self {
        Self {
            layers: layers::all(),
            optimizers: optimizer::all(),
            schedules: schedule::all(),
            formats: data::formats(),
        }
    }
}
