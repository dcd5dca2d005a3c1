//! The layers: one file each, and one line in the list.

use compute::graph::{GraphBuilder, TensorId};
use compute::kernel::Constants;

use super::layer::LayerKind;

base::registry! {
    /// Every layer that comes with Gradflow.
    pub fn all() -> Vec<LayerKind> from kind();

    pub mod add;
    pub mod avg_pool;
    pub mod batch_norm;
    pub mod conv2d;
    pub mod dense;
    pub mod depthwise_conv2d;
    pub mod dropout;
    pub mod gelu;
    pub mod global_avg_pool;
    pub mod group_norm;
    pub mod local_response_norm;
    pub mod locally_connected;
    pub mod max_pool;
    pub mod relu;
    pub mod silu;
    pub mod softmax;
    pub mod softmax_cross_entropy;
}

/// Sums the parts of a gradient in order.
fn sum(graph: &mut GraphBuilder, partials: TensorId, to: TensorId, parts: usize, length: usize) {
    let constants = Constants::default()
        .with("PARTS", parts)
        .with("LENGTH", length)
        .with("OFFSET", 0)
        .with("TOTAL", length)
        .with_real("SCALE", 1.0);
    graph.backward(&shaders::sum_partials::KERNEL, &[partials, to], constants);
}

/// Parts in which the gradient of biases is summed over images. With one position an image has
/// one term, and each part needs several images for the lanes of a workgroup to have work.
fn bias_splits(positions: usize, channels: usize) -> usize {
    let most = if positions == 1 { 8 } else { usize::MAX };
    super::splits(channels).min(most)
}

/// The gradient of biases that were added at each of `positions` pixels, if they are trained.
fn bias_gradient(
    graph: &mut GraphBuilder,
    dy: TensorId,
    to: Option<TensorId>,
    positions: usize,
    channels: usize,
) {
    let Some(to) = to else { return };
    let parts = bias_splits(positions, channels);
    let partials = graph.partial("biases/partials", &[parts, channels]);
    let constants = Constants::default()
        .with("POSITIONS", positions)
        .with("CHANNELS", channels)
        .with("SPLITS", parts);
    graph.backward(&shaders::bias_backward::KERNEL, &[dy, partials], constants);
    sum(graph, partials, to, parts, channels);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bias_gradients_of_single_positions_are_summed_in_few_parts() {
        assert_eq!(bias_splits(24 * 24, 64), 64);
        assert_eq!(bias_splits(1, 384), 8);
        assert_eq!(bias_splits(1, 1 << 21), 8);
    }
}
