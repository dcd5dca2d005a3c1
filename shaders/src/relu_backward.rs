//! The derivative of rectified linear units.

use compute::kernel::{Args, Binding, Extent::PerImage, Kernel, linear_workgroups};

use crate::form::{WORKGROUP, lengths_per_image, only};
use crate::simd::vectorized;

/// Passes the gradient on where the output was positive.
pub static KERNEL: Kernel = Kernel {
    name: "relu_backward",
    about: "Passes the gradient on where the output was positive.",
    bindings: &[
        Binding::read("output", PerImage),
        Binding::read("output_gradients", PerImage),
        Binding::write("input_gradients", PerImage),
    ],
    lengths: |c| vec![c.size("LENGTH"); 3],
    terms: |_, _| 1,
    variants: &[only("relu_backward", include_str!("../relu_backward.wgsl"), |c, images| {
        linear_workgroups(images * c.size("LENGTH"), WORKGROUP)
    })],
    cpu,
    reference,
    cases: || {
        let mut cases = lengths_per_image();
        // Exact zeros, as the forward pass makes them, let nothing through.
        if let Some(case) = cases.get(1).cloned() {
            let outputs = (0..3 * 7).map(|i| f64::from(i % 3)).collect();
            cases.push(case.given("output", outputs));
        }
        cases
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let (output, from) = (args.read("output"), args.read("output_gradients"));
    pass_on(args.isa, output, from, args.write("input_gradients"));
}

vectorized! {
    fn pass_on(output: &[f32], from: &[f32], to: &mut [f32]) {
        for ((to, output), from) in to.iter_mut().zip(output).zip(from) {
            *to = if *output > 0.0 { *from } else { 0.0 };
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (output, from) = (args.read("output"), args.read("output_gradients"));
    let to = args.write("input_gradients");
    for i in 0..args.images() * args.size("LENGTH") {
        to[i] = 0.0;
        if output[i] > 0.0 {
            to[i] = from[i];
        }
    }
}
