//! How fast an adapter reads and writes memory.

use compute::kernel::{
    Args, Binding, Case, Constants, Extent::PerImage, Kernel, linear_workgroups,
};

use crate::form::{WORKGROUP, only};
use crate::simd::vectorized;

/// What the right side is multiplied by.
const FACTOR: f64 = 3.0;

/// `output = left + 3 * right`, the triad of J. McCalpin's STREAM benchmark: as few operations for
/// each byte as a kernel that is of any use has.
pub static KERNEL: Kernel = Kernel {
    name: "peak_triad",
    about: "Streams through memory, to find out how fast that can be.",
    bindings: &[
        Binding::read("left", PerImage),
        Binding::read("right", PerImage),
        Binding::write("output", PerImage),
    ],
    lengths: |c| vec![4 * c.size("VECTORS"); 3],
    terms: |_, _| 2,
    variants: &[only("peak_triad", include_str!("../peak_triad.wgsl"), |c, images| {
        linear_workgroups(images * c.size("VECTORS"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: || vec![sizes(1, 1), sizes(3, 7), sizes(5, 257)],
};

/// 64 MiB in each of three buffers: more than caches hold.
pub(crate) fn probe() -> Case {
    sizes(1 << 10, 1 << 12)
}

fn sizes(images: usize, vectors: usize) -> Case {
    Case::new(images, Constants::default().with("VECTORS", vectors))
}

fn cpu(args: &mut Args<'_, f32>) {
    triad(args.isa, args.read("left"), args.read("right"), args.write("output"));
}

vectorized! {
    fn triad(left: &[f32], right: &[f32], output: &mut [f32]) {
        for ((output, left), right) in output.iter_mut().zip(left).zip(right) {
            *output = left + FACTOR as f32 * right;
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (left, right) = (args.read("left"), args.read("right"));
    let output = args.write("output");
    for i in 0..4 * args.images() * args.size("VECTORS") {
        output[i] = left[i] + FACTOR * right[i];
    }
}
