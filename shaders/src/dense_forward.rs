//! A dense layer.

use compute::kernel::{Args, Binding, Extent::PerImage, Extent::Whole, Kernel, Variant};

use crate::conv2d::Conv2d;
use crate::conv2d_tiles::convolve;
use crate::dense::{by_four, cases, tile_workgroups, tiles, workgroups};

/// `output[o] = biases[o] + sum of input[i] * weights[i][o]`.
pub static KERNEL: Kernel = Kernel {
    name: "dense_forward",
    about: "Multiplies images by weights and adds biases.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("weights", Whole),
        Binding::read("biases", Whole),
        Binding::write("output", PerImage),
    ],
    lengths: |c| {
        let (inputs, outputs) = (c.size("INPUTS"), c.size("OUTPUTS"));
        vec![inputs, inputs * outputs, outputs, outputs]
    },
    terms: |c, _| c.size("INPUTS") + 1,
    variants: &[
        Variant {
            name: "dense_forward",
            wgsl: include_str!("../dense_forward.wgsl"),
            tuning: &[],
            applies: by_four,
            workgroups: |c, images| tiles(images, c.size("OUTPUTS")),
        },
        Variant {
            name: "dense_forward_tiled_16x32",
            wgsl: include_str!("../dense_forward_tiled.wgsl"),
            tuning: &[("ROWS", 4.0)],
            applies: by_four,
            workgroups: |c, images| tile_workgroups::<16, 32>(images, c.size("OUTPUTS")),
        },
        Variant {
            name: "dense_forward_tiled_32x32",
            wgsl: include_str!("../dense_forward_tiled.wgsl"),
            tuning: &[("ROWS", 8.0)],
            applies: by_four,
            workgroups: |c, images| tile_workgroups::<32, 32>(images, c.size("OUTPUTS")),
        },
        Variant {
            name: "dense_forward_any",
            wgsl: include_str!("../dense_forward_any.wgsl"),
            tuning: &[],
            applies: |_| true,
            workgroups: |c, images| workgroups(images * c.size("OUTPUTS")),
        },
    ],
    cpu,
    reference,
    cases,
};

fn cpu(args: &mut Args<'_, f32>) {
    let dense = Conv2d::dense(args.images(), args.size("INPUTS"), args.size("OUTPUTS"));
    let weights = (args.read("weights"), Some(args.read("biases")));
    let (input, output) = (args.read("input"), args.write("output"));
    convolve(args, dense, weights, input, output);
}

fn reference(args: &mut Args<'_, f64>) {
    let (inputs, outputs) = (args.size("INPUTS"), args.size("OUTPUTS"));
    let (input, weights, biases) = (args.read("input"), args.read("weights"), args.read("biases"));
    let images = args.images();
    let output = args.write("output");
    for image in 0..images {
        for o in 0..outputs {
            let mut sum = biases[o];
            for i in 0..inputs {
                sum += input[image * inputs + i] * weights[i * outputs + o];
            }
            output[image * outputs + o] = sum;
        }
    }
}
