//! Convolution.

use compute::kernel::{
    Args, Binding, Case, Constants, Extent::PerImage, Extent::Whole, Kernel, Variant,
};

use crate::conv2d::{Conv2d, row_workgroups, sizes, tile, tile_workgroups, workgroups};
use crate::conv2d_tiles::convolve;

/// `output[y][x][o] = biases[o] + sum over taps and channels of input[y * STRIDE_Y + ky -
/// PAD_TOP][x * STRIDE_X + kx - PAD_LEFT][i] * weights[ky][kx][i][o]`, where the input is 0
/// outside the image.
pub static KERNEL: Kernel = Kernel {
    name: "conv2d_forward",
    about: "Convolves images with weights and adds biases.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("weights", Whole),
        Binding::read("biases", Whole),
        Binding::write("output", PerImage),
    ],
    lengths: |c| {
        let conv = Conv2d::from(c);
        vec![conv.input(), conv.weights(), conv.out_channels, conv.output()]
    },
    terms: |c, _| {
        let conv = Conv2d::from(c);
        conv.taps_inside() * conv.channels + 1
    },
    variants: &[
        Variant {
            name: "conv2d_forward",
            wgsl: include_str!("../conv2d_forward.wgsl"),
            tuning: &[],
            applies: |c| {
                let conv = Conv2d::from(c);
                conv.slides() && conv.by_four()
            },
            workgroups: |c, images| {
                let conv = Conv2d::from(c);
                row_workgroups(images * conv.out_height, conv.out_width, conv.out_channels)
            },
        },
        Variant {
            name: "conv2d_forward_thin",
            wgsl: include_str!("../conv2d_forward_thin.wgsl"),
            tuning: &[],
            applies: |c| {
                let conv = Conv2d::from(c);
                conv.slides() && conv.out_channels % 4 == 0
            },
            workgroups: |c, images| {
                let conv = Conv2d::from(c);
                row_workgroups(images * conv.out_height, conv.out_width, conv.out_channels)
            },
        },
        tiled::<8, 16>("conv2d_forward_tiled_64x64"),
        tiled::<4, 16>("conv2d_forward_tiled_32x64"),
        tiled::<16, 8>("conv2d_forward_tiled_128x32"),
        tiled_any::<8, 16>("conv2d_forward_tiled_any_64x64"),
        tiled_any::<16, 8>("conv2d_forward_tiled_any_128x32"),
        Variant {
            name: "conv2d_forward_any",
            wgsl: include_str!("../conv2d_forward_any.wgsl"),
            tuning: &[],
            applies: |_| true,
            workgroups: |c, images| workgroups(images * Conv2d::from(c).output()),
        },
    ],
    cpu,
    reference,
    cases: || sizes().into_iter().map(|(images, constants)| Case::new(images, constants)).collect(),
};

/// A form for GPUs that takes channels four at once.
const fn tiled<const ROWS: usize, const COLUMNS: usize>(name: &'static str) -> Variant {
    Variant {
        name,
        wgsl: include_str!("../conv2d_forward_tiled.wgsl"),
        tuning: tile::<ROWS, COLUMNS>(),
        applies: |c| Conv2d::from(c).by_four(),
        workgroups: tiles::<ROWS, COLUMNS>,
    }
}

/// The same for any number of channels.
const fn tiled_any<const ROWS: usize, const COLUMNS: usize>(name: &'static str) -> Variant {
    Variant {
        wgsl: include_str!("../conv2d_forward_tiled_any.wgsl"),
        applies: |_| true,
        ..tiled::<ROWS, COLUMNS>(name)
    }
}

fn tiles<const ROWS: usize, const COLUMNS: usize>(c: &Constants, images: usize) -> [u32; 3] {
    let conv = Conv2d::from(c);
    tile_workgroups::<ROWS, COLUMNS>(1, images * conv.positions(), conv.out_channels)
}

fn cpu(args: &mut Args<'_, f32>) {
    let conv = Conv2d::from(args.constants);
    let weights = (args.read("weights"), Some(args.read("biases")));
    let (input, output) = (args.read("input"), args.write("output"));
    convolve(args, conv, weights, input, output);
}

fn reference(args: &mut Args<'_, f64>) {
    let size = |name| args.constants.size(name) as isize;
    let (stride_y, stride_x) = (size("STRIDE_Y"), size("STRIDE_X"));
    let (top, left) = (size("PAD_TOP"), size("PAD_LEFT"));
    let (height, width) = (size("IN_HEIGHT"), size("IN_WIDTH"));
    let (channels, out_channels) = (size("IN_CHANNELS"), size("OUT_CHANNELS"));
    let (kernel_height, kernel_width) = (size("KERNEL_HEIGHT"), size("KERNEL_WIDTH"));
    let (input, weights, biases) = (args.read("input"), args.read("weights"), args.read("biases"));
    let mut sums = Vec::new();
    for image in 0..args.images() as isize {
        for oy in 0..size("OUT_HEIGHT") {
            for ox in 0..size("OUT_WIDTH") {
                for o in 0..out_channels {
                    let mut sum = biases[o as usize];
                    for ky in 0..kernel_height {
                        for kx in 0..kernel_width {
                            let y = oy * stride_y + ky - top;
                            let x = ox * stride_x + kx - left;
                            if y < 0 || y >= height || x < 0 || x >= width {
                                continue;
                            }
                            for i in 0..channels {
                                let pixel = (image * height + y) * width + x;
                                let tap = ky * kernel_width + kx;
                                sum += input[(pixel * channels + i) as usize]
                                    * weights[((tap * channels + i) * out_channels + o) as usize];
                            }
                        }
                    }
                    sums.push(sum);
                }
            }
        }
    }
    args.write("output").copy_from_slice(&sums);
}
