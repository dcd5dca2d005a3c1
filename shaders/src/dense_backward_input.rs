//! The derivative of a dense layer by its input.

use compute::kernel::{Args, Binding, Extent::PerImage, Extent::Whole, Kernel, Variant};

use crate::conv2d::Conv2d;
use crate::conv2d_tiles::convolve_back;
use crate::dense::{by_four, cases, tile_workgroups, tiles, workgroups};

/// `input_gradients[i] = sum of output_gradients[o] * weights[i][o]`.
pub static KERNEL: Kernel = Kernel {
    name: "dense_backward_input",
    about: "Gives a dense layer's gradient back to its input.",
    bindings: &[
        Binding::read("output_gradients", PerImage),
        Binding::read("weights", Whole),
        Binding::write("input_gradients", PerImage),
    ],
    lengths: |c| {
        let (inputs, outputs) = (c.size("INPUTS"), c.size("OUTPUTS"));
        vec![outputs, inputs * outputs, inputs]
    },
    terms: |c, _| c.size("OUTPUTS"),
    variants: &[
        Variant {
            name: "dense_backward_input",
            wgsl: include_str!("../dense_backward_input.wgsl"),
            tuning: &[],
            applies: by_four,
            workgroups: |c, images| tiles(images, c.size("INPUTS")),
        },
        Variant {
            name: "dense_backward_input_tiled_16x32",
            wgsl: include_str!("../dense_backward_input_tiled.wgsl"),
            tuning: &[("ROWS", 4.0)],
            applies: by_four,
            workgroups: |c, images| tile_workgroups::<16, 32>(images, c.size("INPUTS")),
        },
        Variant {
            name: "dense_backward_input_tiled_32x32",
            wgsl: include_str!("../dense_backward_input_tiled.wgsl"),
            tuning: &[("ROWS", 8.0)],
            applies: by_four,
            workgroups: |c, images| tile_workgroups::<32, 32>(images, c.size("INPUTS")),
        },
        Variant {
            name: "dense_backward_input_any",
            wgsl: include_str!("../dense_backward_input_any.wgsl"),
            tuning: &[],
            applies: |_| true,
            workgroups: |c, images| workgroups(images * c.size("INPUTS")),
        },
    ],
    cpu,
    reference,
    cases,
};

fn cpu(args: &mut Args<'_, f32>) {
    // What gives the gradients back is a dense layer the other way.
    let reversed = Conv2d::dense(args.images(), args.size("OUTPUTS"), args.size("INPUTS"));
    let (from, to) = (args.read("output_gradients"), args.write("input_gradients"));
    convolve_back(args, reversed, args.read("weights"), from, to);
}

fn reference(args: &mut Args<'_, f64>) {
    let (inputs, outputs) = (args.size("INPUTS"), args.size("OUTPUTS"));
    let (gradients, weights) = (args.read("output_gradients"), args.read("weights"));
    let images = args.images();
    let input_gradients = args.write("input_gradients");
    for image in 0..images {
        for i in 0..inputs {
            let mut sum = 0.0;
            for o in 0..outputs {
                sum += gradients[image * outputs + o] * weights[i * outputs + o];
            }
            input_gradients[image * inputs + i] = sum;
        }
    }
}
