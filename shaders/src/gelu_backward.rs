//! The derivative of gaussian error linear units.

use compute::kernel::{Args, Binding, Extent::PerImage, Kernel, linear_workgroups};

use crate::form::{WORKGROUP, only};
use crate::gelu::{cases, slope, slope_exactly};
use crate::simd::vectorized;

/// Passes the gradient on times the slope of [`crate::gelu_forward`].
pub static KERNEL: Kernel = Kernel {
    name: "gelu_backward",
    about: "Passes the gradient on times the slope of gelu.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("output_gradients", PerImage),
        Binding::write("input_gradients", PerImage),
    ],
    lengths: |c| vec![c.size("LENGTH"); 3],
    terms: |_, _| 1,
    variants: &[only("gelu_backward", include_str!("../gelu_backward.wgsl"), |c, images| {
        linear_workgroups(images * c.size("LENGTH"), WORKGROUP)
    })],
    cpu,
    reference,
    cases,
};

fn cpu(args: &mut Args<'_, f32>) {
    let (input, from) = (args.read("input"), args.read("output_gradients"));
    pass_on(args.isa, input, from, args.write("input_gradients"));
}

vectorized! {
    fn pass_on(input: &[f32], from: &[f32], to: &mut [f32]) {
        for ((to, input), from) in to.iter_mut().zip(input).zip(from) {
            *to = slope(*input) * from;
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (input, from) = (args.read("input"), args.read("output_gradients"));
    let to = args.write("input_gradients");
    for i in 0..args.images() * args.size("LENGTH") {
        to[i] = slope_exactly(input[i]) * from[i];
    }
}
