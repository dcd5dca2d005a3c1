//! The derivative of a convolution by its input.

use compute::kernel::{
    Args, Binding, Case, Constants, Extent::PerImage, Extent::Whole, Kernel, Variant,
};

use crate::conv2d::{Conv2d, row_workgroups, sizes, tile, tile_workgroups, workgroups};
use crate::conv2d_tiles::convolve_back;
use crate::product::{Matrix, product};
use crate::scratch::with_scratch;

/// Each output position gives its gradient, times the weights, to the inputs that it was made of:
/// `input_gradients[y][x][i] = sum of output_gradients[oy][ox][o] * weights[ky][kx][i][o]` over
/// all channels o and all positions and taps with `y = oy * STRIDE_Y + ky - PAD_TOP` and
/// `x = ox * STRIDE_X + kx - PAD_LEFT`.
pub static KERNEL: Kernel = Kernel {
    name: "conv2d_backward_input",
    about: "Gives a convolution's gradient back to its input.",
    bindings: &[
        Binding::read("output_gradients", PerImage),
        Binding::read("weights", Whole),
        Binding::write("input_gradients", PerImage),
    ],
    lengths: |c| {
        let conv = Conv2d::from(c);
        vec![conv.output(), conv.weights(), conv.input()]
    },
    terms: |c, _| {
        let conv = Conv2d::from(c);
        conv.taps_on_pixel() * conv.out_channels
    },
    variants: &[
        Variant {
            name: "conv2d_backward_input",
            wgsl: include_str!("../conv2d_backward_input.wgsl"),
            tuning: &[],
            applies: |c| {
                let conv = Conv2d::from(c);
                conv.by_four() && conv.slides() && conv.stride_y == 1
            },
            workgroups: |c, images| {
                let conv = Conv2d::from(c);
                row_workgroups(images * conv.height, conv.width, conv.channels)
            },
        },
        tiled::<8, 16>("conv2d_backward_input_tiled_64x64"),
        tiled::<4, 16>("conv2d_backward_input_tiled_32x64"),
        tiled::<16, 8>("conv2d_backward_input_tiled_128x32"),
        tiled_any::<8, 16>("conv2d_backward_input_tiled_any_64x64"),
        tiled_any::<16, 8>("conv2d_backward_input_tiled_any_128x32"),
        Variant {
            name: "conv2d_backward_input_any",
            wgsl: include_str!("../conv2d_backward_input_any.wgsl"),
            tuning: &[],
            applies: |_| true,
            workgroups: |c, images| workgroups(images * Conv2d::from(c).input()),
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
        wgsl: include_str!("../conv2d_backward_input_tiled.wgsl"),
        tuning: tile::<ROWS, COLUMNS>(),
        applies: |c| Conv2d::from(c).by_four(),
        workgroups: tiles::<ROWS, COLUMNS>,
    }
}

/// The same for any number of channels, and strides of 1.
const fn tiled_any<const ROWS: usize, const COLUMNS: usize>(name: &'static str) -> Variant {
    Variant {
        wgsl: include_str!("../conv2d_backward_input_tiled_any.wgsl"),
        applies: |c| {
            let conv = Conv2d::from(c);
            conv.stride_y == 1 && conv.stride_x == 1
        },
        ..tiled::<ROWS, COLUMNS>(name)
    }
}

fn tiles<const ROWS: usize, const COLUMNS: usize>(c: &Constants, images: usize) -> [u32; 3] {
    let conv = Conv2d::from(c);
    tile_workgroups::<ROWS, COLUMNS>(1, images * conv.height * conv.width, conv.channels)
}

fn cpu(args: &mut Args<'_, f32>) {
    let conv = Conv2d::from(args.constants);
    let weights = args.read("weights");
    let (from, to) = (args.read("output_gradients"), args.write("input_gradients"));
    match conv.reversed() {
        Some(reversed) => convolve_back(args, reversed, weights, from, to),
        None => {
            let weights = Matrix::new(weights, conv.out_channels).transposed();
            let images = from.chunks(conv.output()).zip(to.chunks_mut(conv.input()));
            for (from, to) in images {
                with_scratch(conv.positions() * conv.patch(), |patches| {
                    product(patches, Matrix::new(from, conv.out_channels), weights);
                    to.fill(0.0);
                    conv.scatter(patches, to);
                });
            }
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let size = |name| args.constants.size(name) as isize;
    let (height, width) = (size("IN_HEIGHT"), size("IN_WIDTH"));
    let (out_height, out_width) = (size("OUT_HEIGHT"), size("OUT_WIDTH"));
    let (channels, out_channels) = (size("IN_CHANNELS"), size("OUT_CHANNELS"));
    let (kernel_height, kernel_width) = (size("KERNEL_HEIGHT"), size("KERNEL_WIDTH"));
    let (gradients, weights) = (args.read("output_gradients"), args.read("weights"));
    let (stride_y, stride_x) = (size("STRIDE_Y"), size("STRIDE_X"));
    let (top, left) = (size("PAD_TOP"), size("PAD_LEFT"));
    let images = args.images() as isize;
    let sums = args.write("input_gradients");
    sums.fill(0.0);
    for image in 0..images {
        for oy in 0..out_height {
            for ox in 0..out_width {
                for ky in 0..kernel_height {
                    for kx in 0..kernel_width {
                        let (y, x) = (oy * stride_y + ky - top, ox * stride_x + kx - left);
                        if y < 0 || y >= height || x < 0 || x >= width {
                            continue;
                        }
                        let pixel = (image * height + y) * width + x;
                        let position = (image * out_height + oy) * out_width + ox;
                        let tap = ky * kernel_width + kx;
                        for i in 0..channels {
                            for o in 0..out_channels {
                                sums[(pixel * channels + i) as usize] += gradients
                                    [(position * out_channels + o) as usize]
                                    * weights[((tap * channels + i) * out_channels + o) as usize];
                            }
                        }
                    }
                }
            }
        }
    }
}
