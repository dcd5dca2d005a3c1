//! Convolution of each channel by itself.

use compute::kernel::linear_workgroups;
use compute::kernel::{Args, Binding, Case, Constants, Extent::PerImage, Extent::Whole, Kernel};

use crate::form::{WORKGROUP, only};
use crate::simd::vectorized;
use crate::strips::{Strips, in_strips, lanes};
use crate::windows::{Window, Windows, sizes};

/// `output[y][x][c] = biases[c] + sum over taps of input[y * STRIDE_Y + ky - PAD_TOP][x * STRIDE_X +
/// kx - PAD_LEFT][c] * weights[ky][kx][c]`, where the input is 0 outside the image.
pub static KERNEL: Kernel = Kernel {
    name: "depthwise_conv2d_forward",
    about: "Convolves each channel by itself and adds biases.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("weights", Whole),
        Binding::read("biases", Whole),
        Binding::write("output", PerImage),
    ],
    lengths: |c| {
        let windows = Windows::from(c);
        vec![
            windows.input(),
            windows.positions() * windows.channels,
            windows.channels,
            windows.output(),
        ]
    },
    terms: |c, _| Windows::from(c).positions() + 1,
    variants: &[only(
        "depthwise_conv2d_forward",
        include_str!("../depthwise_conv2d_forward.wgsl"),
        |c: &Constants, images| linear_workgroups(images * Windows::from(c).output(), WORKGROUP),
    )],
    cpu,
    reference,
    cases: || sizes().into_iter().map(|(images, constants)| Case::new(images, constants)).collect(),
};

fn cpu(args: &mut Args<'_, f32>) {
    let windows = Windows::from(args.constants);
    let (weights, biases) = (args.read("weights"), args.read("biases"));
    let input = args.read("input").chunks_exact(windows.input());
    for (input, output) in input.zip(args.write("output").chunks_exact_mut(windows.output())) {
        convolve(args.isa, &windows, input, weights, biases, output);
    }
}

vectorized! {
    fn convolve(
        windows: &Windows,
        input: &[f32],
        weights: &[f32],
        biases: &[f32],
        output: &mut [f32],
    ) {
        for (output, window) in output.chunks_exact_mut(windows.channels).zip(windows.iter()) {
            let mut sums = Sums { windows, input, weights, biases, window, output };
            in_strips(windows.channels, &mut sums);
        }
    }
}

/// The sums at a position.
struct Sums<'a> {
    windows: &'a Windows,
    input: &'a [f32],
    weights: &'a [f32],
    biases: &'a [f32],
    window: Window,
    output: &'a mut [f32],
}

impl Strips for Sums<'_> {
    #[inline(always)]
    fn strip<const N: usize>(&mut self, first: usize) {
        let mut sums = lanes::<N>(self.biases, first);
        for ky in self.window.rows.clone() {
            for kx in self.window.columns.clone() {
                let tap = self.windows.number([ky, kx]) as usize * self.windows.channels;
                let weights = lanes::<N>(&self.weights[tap..], first);
                let at = self.windows.place(&self.window, [ky, kx]);
                let values = lanes::<N>(&self.input[at..], first);
                for i in 0..N {
                    sums[i] += values[i] * weights[i];
                }
            }
        }
        self.output[first..][..N].copy_from_slice(&sums);
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let size = |name| args.constants.size(name) as isize;
    let (kernel_height, kernel_width) = (size("KERNEL_HEIGHT"), size("KERNEL_WIDTH"));
    let (stride_y, stride_x) = (size("STRIDE_Y"), size("STRIDE_X"));
    let (top, left) = (size("PAD_TOP"), size("PAD_LEFT"));
    let (height, width, channels) = (size("IN_HEIGHT"), size("IN_WIDTH"), size("CHANNELS"));
    let (input, weights, biases) = (args.read("input"), args.read("weights"), args.read("biases"));
    let mut sums = Vec::new();
    for image in 0..args.images() as isize {
        for oy in 0..size("OUT_HEIGHT") {
            for ox in 0..size("OUT_WIDTH") {
                for channel in 0..channels {
                    let mut sum = biases[channel as usize];
                    for ky in 0..kernel_height {
                        for kx in 0..kernel_width {
                            let y = oy * stride_y + ky - top;
                            let x = ox * stride_x + kx - left;
                            if y < 0 || y >= height || x < 0 || x >= width {
                                continue;
                            }
                            let pixel = (image * height + y) * width + x;
                            let tap = ky * kernel_width + kx;
                            sum += input[(pixel * channels + channel) as usize]
                                * weights[(tap * channels + channel) as usize];
                        }
                    }
                    sums.push(sum);
                }
            }
        }
    }
    args.write("output").copy_from_slice(&sums);
}
