//! The kernels of Gradflow: one WGSL file and one Rust file of the same name each.
//!
//! The Rust file holds the kernel's declaration, its form for the `cpu` adapter and its
//! reference in f64. What the WGSL of several has in common is a [`prelude`].

mod across;
mod batch_norm;
mod conv2d;
mod conv2d_across;
mod conv2d_convolve;
mod conv2d_layout;
mod conv2d_pairs;
mod conv2d_tiles;
mod conv2d_weigh;
mod dense;
mod exp;
mod form;
mod gelu;
mod group_norm;
mod local_response_norm;
mod locally_connected;
mod pairs;
mod product;
mod scratch;
mod silu;
mod simd;
mod simd_portable;
#[cfg(target_arch = "x86_64")]
mod simd_x86;
mod strips;
mod tile;
mod tiled;
mod vector;
mod windows;
mod word;

pub mod prelude;

use compute::kernel::Kernel;
use compute::probe::{Probe, Probes};

base::registry! {
    /// Every kernel, by name.
    pub const ALL: [&Kernel] from KERNEL;

    pub mod adam_update;
    pub mod add_forward;
    pub mod add_into;
    pub mod avg_pool_backward;
    pub mod avg_pool_forward;
    pub mod batch_norm_backward_frozen;
    pub mod batch_norm_backward_input;
    pub mod batch_norm_backward_statistics;
    pub mod batch_norm_backward_weights;
    pub mod batch_norm_forward;
    pub mod batch_norm_mean;
    pub mod batch_norm_running;
    pub mod batch_norm_statistics;
    pub mod batch_norm_variance;
    pub mod bias_backward;
    pub mod clip_by_norm;
    pub mod conv2d_backward_input;
    pub mod conv2d_backward_weights;
    pub mod conv2d_forward;
    pub mod copy;
    pub mod dense_backward_input;
    pub mod dense_backward_weights;
    pub mod dense_forward;
    pub mod depthwise_conv2d_backward_input;
    pub mod depthwise_conv2d_backward_weights;
    pub mod depthwise_conv2d_forward;
    pub mod dropout;
    pub mod finite_flags;
    pub mod gelu_backward;
    pub mod gelu_forward;
    pub mod group_norm_backward_input;
    pub mod group_norm_backward_weights;
    pub mod group_norm_forward;
    pub mod l2_partials;
    pub mod lion_update;
    pub mod local_response_norm_backward;
    pub mod local_response_norm_forward;
    pub mod locally_connected_backward_input;
    pub mod locally_connected_backward_weights;
    pub mod locally_connected_forward;
    pub mod loss_average_update;
    pub mod max_pool_backward;
    pub mod max_pool_forward;
    pub mod mean_over_images;
    pub mod momentum_update;
    pub mod moving_average_update;
    pub mod peak_fma;
    pub mod peak_triad;
    pub mod relu_backward;
    pub mod relu_forward;
    pub mod sgd_update;
    pub mod silu_backward;
    pub mod silu_forward;
    pub mod softmax_backward;
    pub mod softmax_cross_entropy;
    pub mod softmax_forward;
    pub mod sum_partials;
    pub mod weight_decay_backward;
}

/// What an adapter's peaks are measured by.
pub const PROBES: Probes = Probes {
    arithmetic: Probe { kernel: &peak_fma::KERNEL, sizes: peak_fma::probe },
    memory: Probe { kernel: &peak_triad::KERNEL, sizes: peak_triad::probe },
};
