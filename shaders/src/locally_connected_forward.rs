//! A locally connected layer: a convolution whose weights are others at each position.

use compute::kernel::{Args, Binding, Case, Extent::PerImage, Extent::Whole, Kernel};

use crate::conv2d::Conv2d;
use crate::form::only;
use crate::locally_connected::{lay_across, sizes, weights, workgroups};
use crate::scratch::with_scratch;
use crate::simd::{self, MOST_LANES, Simd, Vectorized};
use crate::tile::{Numbers, Tile, accumulate, cut, with_size};

/// `output[y][x][o] = biases[y][x][o] + sum over taps and channels of input[y * STRIDE_Y + ky -
/// PAD_TOP][x * STRIDE_X + kx - PAD_LEFT][i] * weights[y][x][ky][kx][i][o]`, where the input is 0
/// outside the image.
pub static KERNEL: Kernel = Kernel {
    name: "locally_connected_forward",
    about: "Takes weighted sums of windows, with other weights and biases at each position.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("weights", Whole),
        Binding::read("biases", Whole),
        Binding::write("output", PerImage),
    ],
    lengths: |c| {
        let conv = Conv2d::from(c);
        vec![conv.input(), weights(&conv), conv.output(), conv.output()]
    },
    terms: |c, _| {
        let conv = Conv2d::from(c);
        conv.taps_inside() * conv.channels + 1
    },
    variants: &[only(
        "locally_connected_forward",
        include_str!("../locally_connected_forward.wgsl"),
        |c, images| {
            let conv = Conv2d::from(c);
            workgroups(conv.positions(), images, conv.out_channels)
        },
    )],
    cpu,
    reference,
    cases: || sizes().into_iter().map(|(images, constants)| Case::new(images, constants)).collect(),
};

fn cpu(args: &mut Args<'_, f32>) {
    let conv = Conv2d::from(args.constants);
    let (input, weights, biases) = (args.read("input"), args.read("weights"), args.read("biases"));
    let output = args.write("output");
    let images = input.len() / conv.input();
    let padded = conv.out_channels.next_multiple_of(MOST_LANES);
    let panel = if padded == conv.out_channels { 0 } else { conv.patch() * padded };
    with_scratch(panel + input.len(), |memory| {
        let (panel, across) = memory.split_at_mut(panel);
        lay_across(input, conv.input(), images, across);
        let work = Forward { conv, images, across, weights, panel, padded, biases, output };
        simd::run(args.isa, work);
    });
}

/// All positions of some images.
struct Forward<'a> {
    conv: Conv2d,
    images: usize,
    /// The images side by side.
    across: &'a [f32],
    weights: &'a [f32],
    /// Memory for the weights of a position in whole vectors, if they are not.
    panel: &'a mut [f32],
    /// Output channels in whole vectors.
    padded: usize,
    biases: &'a [f32],
    output: &'a mut [f32],
}

impl Vectorized for Forward<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { conv, images, across, weights, panel, padded, biases, output } = self;
        let out_channels = conv.out_channels;
        assert_eq!(across.len(), images * conv.input());
        assert_eq!(weights.len(), conv.positions() * conv.weights());
        assert_eq!(biases.len(), conv.output());
        assert_eq!(output.len(), images * conv.output());
        for (position, weights) in weights.chunks_exact(conv.weights()).enumerate() {
            let weights = if panel.is_empty() {
                weights
            } else {
                let rows = panel.chunks_exact_mut(padded).zip(weights.chunks_exact(out_channels));
                rows.for_each(|(to, from)| to[..out_channels].copy_from_slice(from));
                &*panel
            };
            assert_eq!(weights.len(), conv.patch() * padded);
            for from in (0..out_channels).step_by(2 * S::LANES) {
                let width = (2 * S::LANES).min(out_channels - from);
                let at = position * out_channels + from;
                for (first, end) in cut(images, S::ROWS) {
                    let to = Numbers {
                        first: output[first * conv.output() + at..].as_mut_ptr(),
                        stride: conv.output(),
                        width,
                    };
                    let tile = Images {
                        conv: &conv,
                        images,
                        across: &across[first..],
                        weights: &weights[from..],
                        padded,
                        biases: &biases[at..],
                        position,
                        to,
                    };
                    // SAFETY: the images and the weights, whose rows are whole vectors, have the
                    // lengths asserted above; the tile's images and channels lie in the output.
                    unsafe { with_size(simd, end - first, width.div_ceil(S::LANES), &tile) };
                }
            }
        }
    }
}

/// Some images at one position, and a block of output channels.
struct Images<'a> {
    conv: &'a Conv2d,
    images: usize,
    across: &'a [f32],
    weights: &'a [f32],
    padded: usize,
    biases: &'a [f32],
    position: usize,
    to: Numbers,
}

impl Tile for Images<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const V: usize>(&self, simd: S) {
        let conv = self.conv;
        let biases =
            Numbers { first: self.biases.as_ptr().cast_mut(), stride: 0, width: self.to.width };
        // SAFETY: there are as many biases as the tile is wide.
        let mut sums: [[S::Vector; V]; R] = unsafe { biases.load(simd) };
        for ky in 0..conv.kernel_height {
            // The taps of a row that lie inside are neighbours in the image and in the weights.
            let (inside, at) = conv.run(self.position, ky);
            let row = ky * conv.kernel_width * conv.channels + inside.start;
            // SAFETY: the part of the row lies in the image and in the weights.
            unsafe {
                let left = (self.across.as_ptr().add(at * self.images), self.images);
                let right = (self.weights.as_ptr().add(row * self.padded), self.padded);
                accumulate(simd, &mut sums, left, right, inside.len());
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.to.store(simd, sums) };
    }
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
                let position = oy * size("OUT_WIDTH") + ox;
                for o in 0..out_channels {
                    let mut sum = biases[(position * out_channels + o) as usize];
                    for ky in 0..kernel_height {
                        for kx in 0..kernel_width {
                            let y = oy * stride_y + ky - top;
                            let x = ox * stride_x + kx - left;
                            if y < 0 || y >= height || x < 0 || x >= width {
                                continue;
                            }
                            let pixel = (image * height + y) * width + x;
                            let tap = (position * kernel_height + ky) * kernel_width + kx;
                            for i in 0..channels {
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
