//! What several kernels' declarations and `cpu` forms share.

use compute::kernel::{Case, Constants, Variant};

/// Elements that a thread takes at once. Fixed, so that the number of threads changes no result.
pub(crate) const CHUNK: usize = 1 << 16;

/// Invocations in a workgroup of the kernels that take one element each.
pub(crate) const WORKGROUP: usize = 256;

/// The only WGSL form of a kernel.
pub(crate) const fn only(
    name: &'static str,
    wgsl: &'static str,
    workgroups: fn(&Constants, usize) -> [u32; 3],
) -> Variant {
    Variant { name, wgsl, tuning: &[], applies: |_| true, workgroups }
}

/// Odd numbers of elements, the borders of a workgroup, and an activation of the tutorial's
/// network.
pub(crate) fn lengths_per_image() -> Vec<Case> {
    [(1, 1), (3, 7), (5, 33), (1, 256), (7, 257), (2, 24 * 24 * 64)]
        .map(|(images, length)| Case::new(images, Constants::default().with("LENGTH", length)))
        .to_vec()
}

/// Odd numbers of weights, the borders of a workgroup, and the weights of a convolution and of a
/// dense layer of the tutorial's network.
pub(crate) const LENGTHS: [usize; 7] = [1, 7, 33, 256, 257, 5 * 5 * 64 * 64, 2304 * 384];
