//! The stages of a pipeline and the layers of a model.

pub mod evaluator;
pub mod model;
pub mod reducer;

use model::layer::LayerKind;
use runtime::stage::Kind;

/// Every stage that comes with Gradflow, its model knowing these layers.
pub fn kinds(layers: Vec<LayerKind>) -> Vec<Kind> {
    vec![evaluator::kind(), model::kind(layers), reducer::kind()]
}
