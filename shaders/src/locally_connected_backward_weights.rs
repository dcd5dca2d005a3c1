//! The derivative of a locally connected layer by its weights.

use compute::kernel::{Args, Binding, Case, Extent::PerImage, Extent::Summed, Kernel};
use rayon::prelude::*;

use crate::conv2d::Conv2d;
use crate::form::only;
use crate::locally_connected::{sizes, weights, workgroups};
use crate::scratch::with_scratch;
use crate::simd::{self, MOST_LANES, Simd, Vectorized};
use crate::tile::{Numbers, Tile, accumulate, cut, with_size};

/// `weight_gradients[y][x][ky][kx][i][o] = sum over images of input[y * STRIDE_Y + ky - PAD_TOP][x *
/// STRIDE_X + kx - PAD_LEFT][i] * output_gradients[y][x][o]`, where the input is 0 outside the image,
/// added to what is there in micro-batches after the first.
pub static KERNEL: Kernel = Kernel {
    name: "locally_connected_backward_weights",
    about: "Gives a locally connected layer's gradient to its weights.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("output_gradients", PerImage),
        Binding::write("weight_gradients", Summed),
    ],
    lengths: |c| {
        let conv = Conv2d::from(c);
        vec![conv.input(), conv.output(), weights(&conv)]
    },
    terms: |_, images| images + 1,
    variants: &[only(
        "locally_connected_backward_weights",
        include_str!("../locally_connected_backward_weights.wgsl"),
        |c, _| {
            let conv = Conv2d::from(c);
            let rows = conv.positions() * conv.kernel_height;
            workgroups(rows, conv.kernel_width * conv.channels, conv.out_channels)
        },
    )],
    cpu,
    reference,
    cases: || {
        let cases = sizes().into_iter().map(|(images, sizes)| Case::new(images, sizes));
        cases.flat_map(|case| [case.clone(), Case::accumulating(case)]).collect()
    },
};

fn cpu(args: &mut Args<'_, f32>) {
    let conv = Conv2d::from(args.constants);
    let (input, gradients) = (args.read("input"), args.read("output_gradients"));
    let (isa, accumulate) = (args.isa, args.step.accumulate != 0);
    let images = input.len() / conv.input();
    let padded = conv.out_channels.next_multiple_of(MOST_LANES);
    // A row of taps at one position for each thread at a time, whatever their number.
    let rows = args.write("weight_gradients");
    let rows = rows.par_chunks_mut(conv.kernel_width * conv.channels * conv.out_channels);
    rows.enumerate().for_each(|(row, sums)| {
        if !accumulate {
            sums.fill(0.0);
        }
        let position = row / conv.kernel_height;
        with_scratch(images * padded, |near| {
            let outputs = gradients.chunks_exact(conv.output());
            for (to, image) in near.chunks_exact_mut(padded).zip(outputs) {
                let from = &image[position * conv.out_channels..][..conv.out_channels];
                to[..conv.out_channels].copy_from_slice(from);
            }
            let ky = row % conv.kernel_height;
            simd::run(isa, Row { conv, position, ky, input, near, padded, sums });
        });
    });
}

/// Adds what all images give to the gradients of a row of taps.
struct Row<'a> {
    conv: Conv2d,
    position: usize,
    ky: usize,
    input: &'a [f32],
    /// The gradients of the position side by side, those of each image in whole vectors.
    near: &'a [f32],
    padded: usize,
    sums: &'a mut [f32],
}

impl Vectorized for Row<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { conv, position, ky, input, near, padded, sums } = self;
        let images = input.len() / conv.input();
        assert_eq!(near.len(), images * padded);
        assert_eq!(sums.len(), conv.kernel_width * conv.channels * conv.out_channels);
        let (inside, at) = conv.run(position, ky);
        for from in (0..conv.out_channels).step_by(2 * S::LANES) {
            let width = (2 * S::LANES).min(conv.out_channels - from);
            for (first, end) in cut(inside.len(), S::ROWS) {
                let to = Numbers {
                    first: sums[(inside.start + first) * conv.out_channels + from..].as_mut_ptr(),
                    stride: conv.out_channels,
                    width,
                };
                let left = (input[at + first..].as_ptr(), conv.input());
                let right = (near[from..].as_ptr(), padded);
                let tile = Products { left, right, images, to };
                // SAFETY: each image has the tile's rows, and its gradients in whole vectors; the
                // tile's rows and channels lie in the sums.
                unsafe { with_size(simd, end - first, width.div_ceil(S::LANES), &tile) };
            }
        }
    }
}

/// Neighbouring inputs under a row of taps, and a block of output channels.
struct Products {
    left: (*const f32, usize),
    right: (*const f32, usize),
    images: usize,
    to: Numbers,
}

impl Tile for Products {
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const V: usize>(&self, simd: S) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums: [[S::Vector; V]; R] = self.to.load(simd);
            accumulate(simd, &mut sums, self.left, self.right, self.images);
            self.to.store(simd, sums);
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let size = |name| args.constants.size(name) as isize;
    let (height, width) = (size("IN_HEIGHT"), size("IN_WIDTH"));
    let (out_height, out_width) = (size("OUT_HEIGHT"), size("OUT_WIDTH"));
    let (channels, out_channels) = (size("IN_CHANNELS"), size("OUT_CHANNELS"));
    let (kernel_height, kernel_width) = (size("KERNEL_HEIGHT"), size("KERNEL_WIDTH"));
    let (stride_y, stride_x) = (size("STRIDE_Y"), size("STRIDE_X"));
    let (top, left) = (size("PAD_TOP"), size("PAD_LEFT"));
    let (input, gradients) = (args.read("input"), args.read("output_gradients"));
    let (images, accumulate) = (args.images() as isize, args.step.accumulate != 0);
    let sums = args.write("weight_gradients");
    if !accumulate {
        sums.fill(0.0);
    }
    for position in 0..out_height * out_width {
        for ky in 0..kernel_height {
            for kx in 0..kernel_width {
                let y = position / out_width * stride_y + ky - top;
                let x = position % out_width * stride_x + kx - left;
                if y < 0 || y >= height || x < 0 || x >= width {
                    continue;
                }
                let tap = (position * kernel_height + ky) * kernel_width + kx;
                for i in 0..channels {
                    for o in 0..out_channels {
                        for image in 0..images {
                            let pixel = (image * height + y) * width + x;
                            let from = (image * out_height * out_width + position) * out_channels;
                            sums[((tap * channels + i) * out_channels + o) as usize] += input
                                [(pixel * channels + i) as usize]
                                * gradients[(from + o) as usize];
                        }
                    }
                }
            }
        }
    }
}
