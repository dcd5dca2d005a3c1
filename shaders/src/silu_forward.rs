//! Sigmoid linear units.

use compute::kernel::{Args, Binding, Extent::PerImage, Kernel, linear_workgroups};

use crate::form::{WORKGROUP, only};
use crate::silu::{cases, value, value_exactly};
use crate::simd::vectorized;

/// `output = input / (1 + e^-input)`.
pub static KERNEL: Kernel = Kernel {
    name: "silu_forward",
    about: "Weighs each number by its sigmoid.",
    bindings: &[Binding::read("input", PerImage), Binding::write("output", PerImage)],
    lengths: |c| vec![c.size("LENGTH"); 2],
    terms: |_, _| 1,
    variants: &[only("silu_forward", include_str!("../silu_forward.wgsl"), |c, images| {
        linear_workgroups(images * c.size("LENGTH"), WORKGROUP)
    })],
    cpu,
    reference,
    cases,
};

fn cpu(args: &mut Args<'_, f32>) {
    bend(args.isa, args.read("input"), args.write("output"));
}

vectorized! {
    fn bend(input: &[f32], output: &mut [f32]) {
        for (output, input) in output.iter_mut().zip(input) {
            *output = value(*input);
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (input, output) = (args.read("input"), args.write("output"));
    for i in 0..args.images() * args.size("LENGTH") {
        output[i] = value_exactly(input[i]);
    }
}
