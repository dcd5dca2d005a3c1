//! The derivative of a depthwise convolution by its weights.

use compute::kernel::linear_workgroups;
use compute::kernel::{Args, Binding, Case, Constants, Extent::PerImage, Extent::PerPart, Kernel};

use crate::form::{WORKGROUP, only};
use crate::simd::vectorized;
use crate::windows::{Windows, sizes};

/// `partials[s][ky][kx][c] = sum of input[y * STRIDE_Y + ky - PAD_TOP][x * STRIDE_X + kx -
/// PAD_LEFT][c] * output_gradients[y][x][c]` over the positions of the images of split s, where the
/// input is 0 outside the image. A split is the next `images / SPLITS` images, rounded up; the last
/// splits may be left with none, and are then 0.
pub static KERNEL: Kernel = Kernel {
    name: "depthwise_conv2d_backward_weights",
    about: "Gives a depthwise convolution's gradient to its weights, in several sums over images.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("output_gradients", PerImage),
        Binding::write("partials", PerPart("SPLITS")),
    ],
    lengths: |c| {
        let windows = Windows::from(c);
        vec![windows.input(), windows.output(), partials(c)]
    },
    terms: |c, images| {
        images.div_ceil(c.size("SPLITS")) * c.size("OUT_HEIGHT") * c.size("OUT_WIDTH")
    },
    variants: &[only(
        "depthwise_conv2d_backward_weights",
        include_str!("../depthwise_conv2d_backward_weights.wgsl"),
        |c, _| linear_workgroups(partials(c), WORKGROUP),
    )],
    cpu,
    reference,
    cases: || {
        // Among them fewer images than splits, and splits of unequal size.
        let cases = sizes().into_iter().zip([1, 2, 16].into_iter().cycle());
        cases
            .map(|((images, sizes), splits)| Case::new(images, sizes.with("SPLITS", splits)))
            .collect()
    },
};

fn partials(c: &Constants) -> usize {
    let windows = Windows::from(c);
    c.size("SPLITS") * windows.positions() * windows.channels
}

fn cpu(args: &mut Args<'_, f32>) {
    let windows = Windows::from(args.constants);
    let sums = args.write("partials");
    let gradients = args.read("output_gradients").chunks_exact(windows.output());
    for (input, gradients) in args.read("input").chunks_exact(windows.input()).zip(gradients) {
        add_products(args.isa, &windows, input, gradients, sums);
    }
}

vectorized! {
    fn add_products(windows: &Windows, input: &[f32], gradients: &[f32], sums: &mut [f32]) {
        for (gradients, window) in gradients.chunks_exact(windows.channels).zip(windows.iter()) {
            for ky in window.rows.clone() {
                for kx in window.columns.clone() {
                    let tap = windows.number([ky, kx]) as usize * windows.channels;
                    let sums = &mut sums[tap..][..windows.channels];
                    let input = &input[windows.place(&window, [ky, kx])..][..windows.channels];
                    let products = input.iter().zip(gradients).map(|(x, gradient)| x * gradient);
                    sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
                }
            }
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let size = |name| args.constants.size(name) as isize;
    let (stride_y, stride_x) = (size("STRIDE_Y"), size("STRIDE_X"));
    let (top, left) = (size("PAD_TOP"), size("PAD_LEFT"));
    let (height, width, channels) = (size("IN_HEIGHT"), size("IN_WIDTH"), size("CHANNELS"));
    let (out_height, out_width) = (size("OUT_HEIGHT"), size("OUT_WIDTH"));
    let (kernel_height, kernel_width) = (size("KERNEL_HEIGHT"), size("KERNEL_WIDTH"));
    let (input, gradients) = (args.read("input"), args.read("output_gradients"));
    let images = args.images() as isize;
    let split_images = (images + size("SPLITS") - 1) / size("SPLITS");
    let mut sums = Vec::new();
    for split in 0..size("SPLITS") {
        for (ky, kx) in (0..kernel_height).flat_map(|ky| (0..kernel_width).map(move |kx| (ky, kx)))
        {
            for channel in 0..channels {
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
                            sum += input[(pixel * channels + channel) as usize]
                                * gradients[(position * channels + channel) as usize];
                        }
                    }
                }
                sums.push(sum);
            }
        }
    }
    args.write("partials").copy_from_slice(&sums);
}
