//! The derivative of a depthwise convolution by its input.

use compute::kernel::linear_workgroups;
use compute::kernel::{Args, Binding, Case, Constants, Extent::PerImage, Extent::Whole, Kernel};

use crate::form::{WORKGROUP, only};
use crate::simd::vectorized;
use crate::windows::{Windows, sizes};

/// Each output position gives its gradient, times the weights, to the inputs that it was made of:
/// `input_gradients[y][x][c] = sum of output_gradients[oy][ox][c] * weights[ky][kx][c]` over all
/// positions and taps with `y = oy * STRIDE_Y + ky - PAD_TOP` and `x = ox * STRIDE_X + kx - PAD_LEFT`.
pub static KERNEL: Kernel = Kernel {
    name: "depthwise_conv2d_backward_input",
    about: "Gives a depthwise convolution's gradient back to its input.",
    bindings: &[
        Binding::read("output_gradients", PerImage),
        Binding::read("weights", Whole),
        Binding::write("input_gradients", PerImage),
    ],
    lengths: |c| {
        let windows = Windows::from(c);
        vec![windows.output(), windows.positions() * windows.channels, windows.input()]
    },
    terms: |c, _| {
        // Windows over one element.
        c.size("KERNEL_HEIGHT").div_ceil(c.size("STRIDE_Y"))
            * c.size("KERNEL_WIDTH").div_ceil(c.size("STRIDE_X"))
    },
    variants: &[only(
        "depthwise_conv2d_backward_input",
        include_str!("../depthwise_conv2d_backward_input.wgsl"),
        |c: &Constants, images| linear_workgroups(images * Windows::from(c).input(), WORKGROUP),
    )],
    cpu,
    reference,
    cases: || sizes().into_iter().map(|(images, constants)| Case::new(images, constants)).collect(),
};

fn cpu(args: &mut Args<'_, f32>) {
    let windows = Windows::from(args.constants);
    let weights = args.read("weights");
    let from = args.read("output_gradients").chunks_exact(windows.output());
    let to = args.write("input_gradients").chunks_exact_mut(windows.input());
    for (from, to) in from.zip(to) {
        give_back(args.isa, &windows, from, weights, to);
    }
}

vectorized! {
    fn give_back(windows: &Windows, from: &[f32], weights: &[f32], to: &mut [f32]) {
        to.fill(0.0);
        for (from, window) in from.chunks_exact(windows.channels).zip(windows.iter()) {
            for ky in window.rows.clone() {
                for kx in window.columns.clone() {
                    let tap = windows.number([ky, kx]) as usize * windows.channels;
                    let weights = &weights[tap..][..windows.channels];
                    let to = &mut to[windows.place(&window, [ky, kx])..][..windows.channels];
                    let products = from.iter().zip(weights).map(|(from, weight)| from * weight);
                    to.iter_mut().zip(products).for_each(|(to, product)| *to += product);
                }
            }
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let size = |name| args.constants.size(name) as isize;
    let (height, width, channels) = (size("IN_HEIGHT"), size("IN_WIDTH"), size("CHANNELS"));
    let (out_height, out_width) = (size("OUT_HEIGHT"), size("OUT_WIDTH"));
    let (kernel_height, kernel_width) = (size("KERNEL_HEIGHT"), size("KERNEL_WIDTH"));
    let (stride_y, stride_x) = (size("STRIDE_Y"), size("STRIDE_X"));
    let (top, left) = (size("PAD_TOP"), size("PAD_LEFT"));
    let (gradients, weights) = (args.read("output_gradients"), args.read("weights"));
    let images = args.images() as isize;
    let sums = args.write("input_gradients");
    sums.fill(0.0);
    for position in 0..images * out_height * out_width {
        let (image, oy) = (position / out_width / out_height, position / out_width % out_height);
        for ky in 0..kernel_height {
            for kx in 0..kernel_width {
                let y = oy * stride_y + ky - top;
                let x = position % out_width * stride_x + kx - left;
                if y < 0 || y >= height || x < 0 || x >= width {
                    continue;
                }
                for channel in 0..channels {
                    let pixel = (image * height + y) * width + x;
                    let tap = ky * kernel_width + kx;
                    sums[(pixel * channels + channel) as usize] += gradients
                        [(position * channels + channel) as usize]
                        * weights[(tap * channels + channel) as usize];
                }
            }
        }
    }
}
