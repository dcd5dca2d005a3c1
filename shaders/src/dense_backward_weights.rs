//! The derivative of a dense layer by its weights.

use rayon::prelude::*;
use runtime::kernel::{Args, Binding, Case, Extent::PerImage, Extent::Summed, Kernel, Variant};

use crate::dense::{ROWS, by_four, cases, workgroups};
use crate::product::{Matrix, add_product, product};

/// `weight_gradients[i][o] = sum over images of input[i] * output_gradients[o]`, added to what is
/// there in micro-batches after the first.
pub static KERNEL: Kernel = Kernel {
    name: "dense_backward_weights",
    about: "Gives a dense layer's gradient to its weights.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("output_gradients", PerImage),
        Binding::write("weight_gradients", Summed),
    ],
    lengths: |c| {
        let (inputs, outputs) = (c.size("INPUTS"), c.size("OUTPUTS"));
        vec![inputs, outputs, inputs * outputs]
    },
    terms: |_, images| images + 1,
    variants: &[
        Variant {
            name: "dense_backward_weights",
            wgsl: include_str!("../dense_backward_weights.wgsl"),
            applies: by_four,
            workgroups: |c, _| {
                workgroups(c.size("INPUTS").div_ceil(8) * c.size("OUTPUTS").div_ceil(8))
            },
        },
        Variant {
            name: "dense_backward_weights_any",
            wgsl: include_str!("../dense_backward_weights_any.wgsl"),
            applies: |_| true,
            workgroups: |c, _| workgroups(c.size("INPUTS") * c.size("OUTPUTS")),
        },
    ],
    cpu,
    reference,
    cases: || {
        cases().into_iter().flat_map(|case| [case.clone(), Case::accumulating(case)]).collect()
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let (inputs, outputs) = (args.size("INPUTS"), args.size("OUTPUTS"));
    let input = Matrix::new(args.read("input"), inputs).transposed();
    let output_gradients = Matrix::new(args.read("output_gradients"), outputs);
    let accumulate = args.step.accumulate != 0;
    let weight_gradients = args.write("weight_gradients").par_chunks_mut(ROWS * outputs);
    weight_gradients.enumerate().for_each(|(chunk, sums)| {
        let input = input.rows(chunk * ROWS, sums.len() / outputs);
        if accumulate {
            add_product(sums, input, output_gradients);
        } else {
            product(sums, input, output_gradients);
        }
    });
}

fn reference(args: &mut Args<'_, f64>) {
    let (inputs, outputs) = (args.size("INPUTS"), args.size("OUTPUTS"));
    let (input, gradients) = (args.read("input"), args.read("output_gradients"));
    let (images, accumulate) = (args.images(), args.step.accumulate);
    let sums = args.write("weight_gradients");
    for i in 0..inputs {
        for o in 0..outputs {
            let mut sum = if accumulate != 0 { sums[i * outputs + o] } else { 0.0 };
            for image in 0..images {
                sum += input[image * inputs + i] * gradients[image * outputs + o];
            }
            sums[i * outputs + o] = sum;
        }
    }
}
