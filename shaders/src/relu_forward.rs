//! Rectified linear units.

use compute::kernel::{Args, Binding, Extent::PerImage, Kernel, linear_workgroups};

use crate::form::{WORKGROUP, lengths_per_image, only};
use crate::simd::vectorized;

/// Makes negative numbers zero: `output = max(input, 0)`.
pub static KERNEL: Kernel = Kernel {
    name: "relu_forward",
    about: "Makes negative numbers zero.",
    bindings: &[Binding::read("input", PerImage), Binding::write("output", PerImage)],
    lengths: |c| vec![c.size("LENGTH"); 2],
    terms: |_, _| 1,
    variants: &[only("relu_forward", include_str!("../relu_forward.wgsl"), |c, images| {
        linear_workgroups(images * c.size("LENGTH"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: lengths_per_image,
};

fn cpu(args: &mut Args<'_, f32>) {
    rectify(args.isa, args.read("input"), args.write("output"));
}

vectorized! {
    fn rectify(input: &[f32], output: &mut [f32]) {
        for (output, input) in output.iter_mut().zip(input) {
            // Not `max`: that would hide a NaN.
            *output = if *input < 0.0 { 0.0 } else { *input };
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let input = args.read("input");
    let output = args.write("output");
    for i in 0..args.images() * args.size("LENGTH") {
        output[i] = input[i].max(0.0);
    }
}
