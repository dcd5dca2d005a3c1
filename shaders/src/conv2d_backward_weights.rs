//! The derivative of a convolution by its weights.

use compute::kernel::{
    Args, Binding, Case, Constants, Extent::PerImage, Extent::PerPart, Kernel, Variant,
};

use crate::conv2d::{Conv2d, size, sizes, tile, tile_workgroups, workgroups};
use crate::conv2d_tiles::weigh;

/// `partials[s][ky][kx][i][o] = sum of input[y * STRIDE_Y + ky - PAD_TOP][x * STRIDE_X + kx -
/// PAD_LEFT][i] * output_gradients[y][x][o]` over the positions of the images of split s, where
/// the input is 0 outside the image. A split is the next `images / SPLITS` images, rounded up;
/// the last splits may be left with none, and are then 0.
pub static KERNEL: Kernel = Kernel {
    name: "conv2d_backward_weights",
    about: "Gives a convolution's gradient to its weights, in several sums over images.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("output_gradients", PerImage),
        Binding::write("partials", PerPart("SPLITS")),
    ],
    lengths: |c| {
        let conv = Conv2d::from(c);
        vec![conv.input(), conv.output(), c.size("SPLITS") * conv.weights()]
    },
    terms: |c, images| images.div_ceil(c.size("SPLITS")) * Conv2d::from(c).positions_inside(),
    variants: &[
        Variant {
            name: "conv2d_backward_weights",
            wgsl: include_str!("../conv2d_backward_weights.wgsl"),
            tuning: &[],
            applies: |c| {
                let conv = Conv2d::from(c);
                conv.slides() && conv.by_four()
            },
            workgroups: |c, _| {
                let conv = Conv2d::from(c);
                let channels = (conv.channels / 4) * (conv.out_channels / 4);
                workgroups(c.size("SPLITS") * conv.kernel_height * channels)
            },
        },
        Variant {
            name: "conv2d_backward_weights_thin",
            wgsl: include_str!("../conv2d_backward_weights_thin.wgsl"),
            tuning: &[],
            applies: |c| {
                let conv = Conv2d::from(c);
                conv.slides() && conv.out_channels % 4 == 0
            },
            workgroups: |c, _| {
                let conv = Conv2d::from(c);
                let channels = conv.channels * (conv.out_channels / 4);
                workgroups(c.size("SPLITS") * conv.kernel_height * channels)
            },
        },
        tiled::<8, 16>("conv2d_backward_weights_tiled_64x64"),
        tiled::<4, 16>("conv2d_backward_weights_tiled_32x64"),
        tiled::<16, 8>("conv2d_backward_weights_tiled_128x32"),
        tiled_any::<8, 16>("conv2d_backward_weights_tiled_any_64x64"),
        tiled_any::<16, 8>("conv2d_backward_weights_tiled_any_128x32"),
        Variant {
            name: "conv2d_backward_weights_any",
            wgsl: include_str!("../conv2d_backward_weights_any.wgsl"),
            tuning: &[],
            applies: |_| true,
            workgroups: |c, _| workgroups(c.size("SPLITS") * Conv2d::from(c).weights()),
        },
    ],
    cpu,
    reference,
    cases: || {
        // Among them fewer images than splits, and splits of unequal size.
        let cases = sizes().into_iter().zip([1, 2, 16].into_iter().cycle());
        let mut cases: Vec<Case> = cases
            .map(|((images, sizes), splits)| Case::new(images, sizes.with("SPLITS", splits)))
            .collect();
        // Splits of more positions than the iterations that some drivers allow an invocation.
        for [channels, out_channels] in [[1, 1], [1, 4], [4, 4]] {
            let (input, output) = ([256, 256, channels], [256, 256, out_channels]);
            let sizes = size(input, output, [1, 2], [1, 1], [0, 0]).with("SPLITS", 1);
            cases.push(Case::new(2, sizes));
        }
        cases
    },
};

/// A form for GPUs that takes channels four at once.
const fn tiled<const ROWS: usize, const COLUMNS: usize>(name: &'static str) -> Variant {
    Variant {
        name,
        wgsl: include_str!("../conv2d_backward_weights_tiled.wgsl"),
        tuning: tile::<ROWS, COLUMNS>(),
        applies: |c| Conv2d::from(c).by_four(),
        workgroups: tiles::<ROWS, COLUMNS>,
    }
}

/// The same for any number of channels.
const fn tiled_any<const ROWS: usize, const COLUMNS: usize>(name: &'static str) -> Variant {
    Variant {
        wgsl: include_str!("../conv2d_backward_weights_tiled_any.wgsl"),
        applies: |_| true,
        ..tiled::<ROWS, COLUMNS>(name)
    }
}

fn tiles<const ROWS: usize, const COLUMNS: usize>(c: &Constants, _: usize) -> [u32; 3] {
    let conv = Conv2d::from(c);
    tile_workgroups::<ROWS, COLUMNS>(c.size("SPLITS"), conv.patch(), conv.out_channels)
}

fn cpu(args: &mut Args<'_, f32>) {
    let conv = Conv2d::from(args.constants);
    let (input, gradients) = (args.read("input"), args.read("output_gradients"));
    let sums = args.write("partials");
    weigh(args, conv, input, gradients, sums);
}

fn reference(args: &mut Args<'_, f64>) {
    let size = |name| args.constants.size(name) as isize;
    let (stride_y, stride_x) = (size("STRIDE_Y"), size("STRIDE_X"));
    let (top, left) = (size("PAD_TOP"), size("PAD_LEFT"));
    let (height, width) = (size("IN_HEIGHT"), size("IN_WIDTH"));
    let (out_height, out_width) = (size("OUT_HEIGHT"), size("OUT_WIDTH"));
    let (channels, out_channels) = (size("IN_CHANNELS"), size("OUT_CHANNELS"));
    let (kernel_height, kernel_width) = (size("KERNEL_HEIGHT"), size("KERNEL_WIDTH"));
    let (input, gradients) = (args.read("input"), args.read("output_gradients"));
    let images = args.images() as isize;
    let split_images = (images + size("SPLITS") - 1) / size("SPLITS");
    let mut sums = Vec::new();
    for split in 0..size("SPLITS") {
        for (ky, kx) in (0..kernel_height).flat_map(|ky| (0..kernel_width).map(move |kx| (ky, kx)))
        {
            for i in 0..channels {
                for o in 0..out_channels {
                    let mut sum = 0.0;
                    for image in split * split_images..((split + 1) * split_images).min(images) {
                        for oy in 0..out_height {
                            for ox in 0..out_width {
                                let y = oy * stride_y + ky - top;
                                let x = ox * stride_x + kx - left;
                                if y < 0 || y >= height || x < 0 || x >= width {
                                    continue;
                                }
                                let pixel = (image * height + y) * width + x;
                                let position = (image * out_height + oy) * out_width + ox;
                                sum += input[(pixel * channels + i) as usize]
                                    * gradients[(position * out_channels + o) as usize];
                            }
                        }
                    }
                    sums.push(sum);
                }
            }
        }
    }
    args.write("partials").copy_from_slice(&sums);
}
