//! The derivative of a locally connected layer by its input.

use compute::kernel::{Args, Binding, Case, Extent::PerImage, Extent::Whole, Kernel};

use crate::conv2d::Conv2d;
use crate::form::only;
use crate::locally_connected::{lay_across, lay_along, sizes, weights, workgroups};
use crate::scratch::with_scratch;
use crate::simd::{self, MOST_LANES, Simd, Vectorized};
use crate::tile::{Numbers, Tile, accumulate_rows, cut, with_size};

/// Each output position gives its gradient, times its weights, to the inputs that it was made of:
/// `input_gradients[y][x][i] = sum of output_gradients[oy][ox][o] * weights[oy][ox][ky][kx][i][o]`
/// over all channels o and all positions and taps with `y = oy * STRIDE_Y + ky - PAD_TOP` and
/// `x = ox * STRIDE_X + kx - PAD_LEFT`.
pub static KERNEL: Kernel = Kernel {
    name: "locally_connected_backward_input",
    about: "Gives a locally connected layer's gradient back to its input.",
    bindings: &[
        Binding::read("output_gradients", PerImage),
        Binding::read("weights", Whole),
        Binding::write("input_gradients", PerImage),
    ],
    lengths: |c| {
        let conv = Conv2d::from(c);
        vec![conv.output(), weights(&conv), conv.input()]
    },
    terms: |c, _| {
        let conv = Conv2d::from(c);
        conv.taps_on_pixel() * conv.out_channels
    },
    variants: &[only(
        "locally_connected_backward_input",
        include_str!("../locally_connected_backward_input.wgsl"),
        |c, images| {
            let conv = Conv2d::from(c);
            workgroups(conv.height * conv.width, images, conv.channels)
        },
    )],
    cpu,
    reference,
    cases: || sizes().into_iter().map(|(images, constants)| Case::new(images, constants)).collect(),
};

fn cpu(args: &mut Args<'_, f32>) {
    let conv = Conv2d::from(args.constants);
    let (gradients, weights) = (args.read("output_gradients"), args.read("weights"));
    let to = args.write("input_gradients");
    let row = (gradients.len() / conv.output()).next_multiple_of(MOST_LANES);
    with_scratch(row * (conv.output() + conv.input()), |memory| {
        let (from, sums) = memory.split_at_mut(row * conv.output());
        lay_across(gradients, conv.output(), row, from);
        simd::run(args.isa, Backward { conv, row, gradients: from, weights, sums });
        lay_along(sums, row, conv.input(), to);
    });
}

/// All pixels of some images, which lie side by side in whole vectors.
struct Backward<'a> {
    conv: Conv2d,
    /// From an element's values to those of the next.
    row: usize,
    gradients: &'a [f32],
    weights: &'a [f32],
    sums: &'a mut [f32],
}

impl Vectorized for Backward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { conv, row, gradients, weights, sums } = self;
        assert_eq!(gradients.len(), row * conv.output());
        assert_eq!(weights.len(), conv.positions() * conv.weights());
        assert_eq!(sums.len(), row * conv.input());
        for (pixel, sums) in sums.chunks_exact_mut(row * conv.channels).enumerate() {
            for (channel, end) in cut(conv.channels, S::ROWS) {
                for image in (0..row).step_by(2 * S::LANES) {
                    let width = (2 * S::LANES).min(row - image);
                    let to = Numbers {
                        first: sums[channel * row + image..].as_mut_ptr(),
                        stride: row,
                        width,
                    };
                    let gradients = &gradients[image..];
                    let tile =
                        Channels { conv: &conv, row, gradients, weights, pixel, channel, to };
                    // SAFETY: the gradients, whose rows are whole vectors, and the weights have the
                    // lengths asserted above; the tile's channels and images lie in the sums.
                    unsafe { with_size(simd, end - channel, width / S::LANES, &tile) };
                }
            }
        }
    }
}

/// Neighbouring input channels of a pixel, and a block of images.
struct Channels<'a> {
    conv: &'a Conv2d,
    row: usize,
    gradients: &'a [f32],
    weights: &'a [f32],
    pixel: usize,
    channel: usize,
    to: Numbers,
}

impl Tile for Channels<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const V: usize>(&self, simd: S) {
        let conv = self.conv;
        let (y, x) = (self.pixel / conv.width, self.pixel % conv.width);
        let mut sums = [[simd.splat(0.0); V]; R];
        for ky in 0..conv.kernel_height {
            let Some(oy) = met(y + conv.top, ky, conv.stride_y, conv.out_height) else { continue };
            for kx in 0..conv.kernel_width {
                let Some(ox) = met(x + conv.left, kx, conv.stride_x, conv.out_width) else {
                    continue;
                };
                let position = oy * conv.out_width + ox;
                let tap = (position * conv.kernel_height + ky) * conv.kernel_width + kx;
                let weights = (tap * conv.channels + self.channel) * conv.out_channels;
                // SAFETY: the position is one of the output's, and the tap one of its own.
                unsafe {
                    let left = (self.weights.as_ptr().add(weights), 1, conv.out_channels);
                    let gradients = position * conv.out_channels * self.row;
                    let right = (self.gradients.as_ptr().add(gradients), self.row);
                    accumulate_rows(simd, &mut sums, left, right, conv.out_channels);
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.to.store(simd, sums) };
    }
}

/// The position at which a tap lies on a pixel of the padded image, if there is one.
#[inline(always)]
fn met(pixel: usize, tap: usize, stride: usize, positions: usize) -> Option<usize> {
    let steps = pixel.checked_sub(tap)?;
    let position = steps / stride;
    (steps.is_multiple_of(stride) && position < positions).then_some(position)
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
        for position in 0..out_height * out_width {
            let (oy, ox) = (position / out_width, position % out_width);
            for ky in 0..kernel_height {
                for kx in 0..kernel_width {
                    let (y, x) = (oy * stride_y + ky - top, ox * stride_x + kx - left);
                    if y < 0 || y >= height || x < 0 || x >= width {
                        continue;
                    }
                    let pixel = (image * height + y) * width + x;
                    let from = (image * out_height * out_width + position) * out_channels;
                    let tap = (position * kernel_height + ky) * kernel_width + kx;
                    for i in 0..channels {
                        for o in 0..out_channels {
                            sums[(pixel * channels + i) as usize] += gradients[(from + o) as usize]
                                * weights[((tap * channels + i) * out_channels + o) as usize];
                        }
                    }
                }
            }
        }
    }
}
