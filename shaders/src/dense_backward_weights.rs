//! The derivative of a dense layer by its weights.

use compute::isa::Isa;
use compute::kernel::{
    Args, Binding, Case, Extent::PerImage, Extent::Summed, Kernel, Pass, Variant,
};
use compute::precision::Precision;
use rayon::prelude::*;

use crate::dense::{by_four, cases, tile_workgroups, workgroups};
use crate::pairs::{pair_rows, words};
use crate::scratch::{with_form, with_scratch};
use crate::simd::{self, MOST_LANES, Simd, Vectorized};
use crate::tile::{Numbers, Tile, accumulate, cut, with_size};

/// Rows of the sums that a thread takes at once. Fixed, so that the number of threads changes no
/// result; whole tiles, whatever the instructions.
const ROWS: usize = 48;

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
            tuning: &[],
            applies: by_four,
            workgroups: |c, _| {
                workgroups(c.size("INPUTS").div_ceil(8) * c.size("OUTPUTS").div_ceil(8))
            },
        },
        Variant {
            name: "dense_backward_weights_tiled_64x64",
            wgsl: include_str!("../dense_backward_weights_tiled.wgsl"),
            tuning: &[("ROWS", 8.0)],
            applies: by_four,
            workgroups: |c, _| tile_workgroups::<64, 64>(c.size("INPUTS"), c.size("OUTPUTS")),
        },
        Variant {
            name: "dense_backward_weights_tiled_32x64",
            wgsl: include_str!("../dense_backward_weights_tiled.wgsl"),
            tuning: &[("ROWS", 4.0)],
            applies: by_four,
            workgroups: |c, _| tile_workgroups::<32, 64>(c.size("INPUTS"), c.size("OUTPUTS")),
        },
        Variant {
            name: "dense_backward_weights_any",
            wgsl: include_str!("../dense_backward_weights_any.wgsl"),
            tuning: &[],
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
    let (input, gradients) = (args.read("input"), args.read("output_gradients"));
    let (isa, pass, accumulate) = (args.isa, args.pass, args.step.accumulate != 0);
    let in_pairs = args.precision == Precision::Bf16;
    let sums = args.write("weight_gradients").par_chunks_mut(ROWS * outputs);
    sums.enumerate().for_each(|(chunk, sums)| {
        if !accumulate {
            sums.fill(0.0);
        }
        let first = chunk * ROWS;
        if in_pairs {
            return add_pairs((isa, pass), (inputs, outputs, first), input, gradients, sums);
        }
        let padded = outputs.next_multiple_of(MOST_LANES);
        let copied = if padded == outputs { 0 } else { gradients.len() / outputs * padded };
        with_scratch(copied, |copy| {
            let gradients = if padded == outputs {
                gradients
            } else {
                // A row may then be read in whole vectors.
                let rows = copy.chunks_exact_mut(padded).zip(gradients.chunks_exact(outputs));
                rows.for_each(|(to, from)| to[..outputs].copy_from_slice(from));
                &*copy
            };
            let sizes = Sizes { inputs, outputs, padded, first };
            simd::run(isa, Outer { sizes, input, gradients, sums });
        });
    });
}

/// Adds to some rows of the sums what inputs and gradients give in pairs of images.
fn add_pairs(
    (isa, pass): (Isa, Pass),
    (inputs, outputs, first): (usize, usize, usize),
    input: &[f32],
    gradients: &[f32],
    sums: &mut [f32],
) {
    let (rows, padded) = (sums.len() / outputs, outputs.next_multiple_of(MOST_LANES));
    let images = input.len() / inputs;
    let pair_gradients = |to: &mut [f32]| {
        to.fill(0.0);
        pair_rows(isa, gradients, outputs, padded, to);
    };
    let of_gradients = (gradients, "pairs of images", pass);
    with_form(of_gradients, words(images) * padded, pair_gradients, |gradients| {
        with_scratch((images + words(images)) * rows, |memory| {
            let (columns, pairs) = memory.split_at_mut(images * rows);
            for (to, image) in columns.chunks_exact_mut(rows).zip(input.chunks_exact(inputs)) {
                to.copy_from_slice(&image[first..][..rows]);
            }
            pair_rows(isa, columns, rows, rows, pairs);
            let sizes = Sizes { inputs: rows, outputs, padded, first: 0 };
            simd::run_pairs(isa, Outer { sizes, input: pairs, gradients, sums });
        });
    });
}

/// Sizes of some rows of the sums.
#[derive(Clone, Copy)]
struct Sizes {
    inputs: usize,
    outputs: usize,
    /// Numbers in a row of the gradients.
    padded: usize,
    /// The input that the first row belongs to.
    first: usize,
}

/// Adds the products of inputs and gradients of all images to some rows of the sums.
struct Outer<'a> {
    sizes: Sizes,
    input: &'a [f32],
    gradients: &'a [f32],
    sums: &'a mut [f32],
}

impl Vectorized for Outer<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { sizes, input, gradients, sums } = self;
        let images = input.len() / sizes.inputs;
        let rows = sums.len() / sizes.outputs;
        assert!(sizes.first + rows <= sizes.inputs && gradients.len() >= images * sizes.padded);
        let block = 2 * S::LANES;
        for from in (0..sizes.outputs).step_by(block) {
            let width = block.min(sizes.outputs - from);
            for (row, end) in cut(rows, S::ROWS) {
                let to = Numbers {
                    first: sums[row * sizes.outputs + from..].as_mut_ptr(),
                    stride: sizes.outputs,
                    width,
                };
                let left = input[sizes.first + row..].as_ptr();
                let right = gradients[from..].as_ptr();
                let tile = Products { sizes, left, right, images, to };
                // SAFETY: the tile's rows and columns lie in the sums, and each image has all of
                // them, its gradients in whole vectors.
                unsafe { with_size(simd, end - row, width.div_ceil(S::LANES), &tile) };
            }
        }
    }
}

/// Neighbouring inputs, and a block of outputs.
struct Products {
    sizes: Sizes,
    left: *const f32,
    right: *const f32,
    images: usize,
    to: Numbers,
}

impl Tile for Products {
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const V: usize>(&self, simd: S) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums: [[S::Vector; V]; R] = self.to.load(simd);
            let (left, right) = ((self.left, self.sizes.inputs), (self.right, self.sizes.padded));
            accumulate(simd, &mut sums, left, right, self.images);
            self.to.store(simd, sums);
        }
    }
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
