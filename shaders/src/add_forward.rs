//! The sum of two activations.

use compute::kernel::{Args, Binding, Extent::PerImage, Kernel, linear_workgroups};

use crate::form::{WORKGROUP, lengths_per_image, only};
use crate::simd::vectorized;

/// Adds two activations: `output = left + right`.
pub static KERNEL: Kernel = Kernel {
    name: "add_forward",
    about: "Adds two activations.",
    bindings: &[
        Binding::read("left", PerImage),
        Binding::read("right", PerImage),
        Binding::write("output", PerImage),
    ],
    lengths: |c| vec![c.size("LENGTH"); 3],
    terms: |_, _| 2,
    variants: &[only("add_forward", include_str!("../add_forward.wgsl"), |c, images| {
        linear_workgroups(images * c.size("LENGTH"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: lengths_per_image,
};

fn cpu(args: &mut Args<'_, f32>) {
    add(args.isa, args.read("left"), args.read("right"), args.write("output"));
}

vectorized! {
    fn add(left: &[f32], right: &[f32], output: &mut [f32]) {
        for ((output, left), right) in output.iter_mut().zip(left).zip(right) {
            *output = left + right;
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (left, right) = (args.read("left"), args.read("right"));
    let output = args.write("output");
    for i in 0..args.images() * args.size("LENGTH") {
        output[i] = left[i] + right[i];
    }
}
