//! The derivative of max pooling.

use rayon::prelude::*;
use runtime::kernel::linear_workgroups;
use runtime::kernel::{Args, Binding, Case, Constants, Extent::PerImage, Kernel};

use crate::form::{WORKGROUP, only};
use crate::max_pool_forward::sizes;

/// Gives each gradient to the element of the input that won its window.
pub static KERNEL: Kernel = Kernel {
    name: "max_pool_backward",
    about: "Gives each gradient to the element of the input that won its window.",
    bindings: &[
        Binding::read("output_gradients", PerImage),
        Binding::read("winners", PerImage).of_indices(),
        Binding::write("input_gradients", PerImage),
    ],
    lengths: |c| {
        let output = c.size("OUT_HEIGHT") * c.size("OUT_WIDTH") * c.size("CHANNELS");
        vec![output, output, input_length(c)]
    },
    terms: |c, _| {
        // Windows over one element.
        c.size("KERNEL_HEIGHT").div_ceil(c.size("STRIDE_Y"))
            * c.size("KERNEL_WIDTH").div_ceil(c.size("STRIDE_X"))
    },
    variants: &[only(
        "max_pool_backward",
        include_str!("../max_pool_backward.wgsl"),
        |c, images| linear_workgroups(images * input_length(c), WORKGROUP),
    )],
    cpu,
    reference,
    cases: || {
        let with_winners = |(images, constants): (usize, Constants)| {
            let window = constants.size("KERNEL_HEIGHT") * constants.size("KERNEL_WIDTH");
            let winners = (KERNEL.lengths)(&constants)[1] * images;
            // A fixed scatter over the window, some of it on padding; not what a forward pass
            // would give, but the same rule decides where each gradient goes.
            let winners = (0..winners).map(|i| (i * 7 + i / 11 + 3) % window);
            Case::new(images, constants).given("winners", winners.map(|w| w as f64).collect())
        };
        sizes().into_iter().map(with_winners).collect()
    },
};

fn input_length(c: &Constants) -> usize {
    c.size("IN_HEIGHT") * c.size("IN_WIDTH") * c.size("CHANNELS")
}

fn cpu(args: &mut Args<'_, f32>) {
    let [height, width] = ["IN_HEIGHT", "IN_WIDTH"].map(|name| args.size(name));
    let [out_height, out_width] = ["OUT_HEIGHT", "OUT_WIDTH"].map(|name| args.size(name));
    let [window_height, window_width] =
        ["KERNEL_HEIGHT", "KERNEL_WIDTH"].map(|name| args.size(name));
    let [stride_y, stride_x] = ["STRIDE_Y", "STRIDE_X"].map(|name| args.size(name));
    let [top, left] = ["PAD_TOP", "PAD_LEFT"].map(|name| args.size(name));
    let channels = args.size("CHANNELS");

    let gradients = args.read("output_gradients").par_chunks(out_height * out_width * channels);
    let winners = args.read_index("winners").par_chunks(out_height * out_width * channels);
    let to = args.write("input_gradients").par_chunks_mut(height * width * channels);
    to.zip(gradients).zip(winners).for_each(|((to, gradients), winners)| {
        to.fill(0.0);
        // An image belongs to one thread, so windows in order may scatter: the sums have the same
        // order as when each element looks for its windows.
        let cells = gradients.chunks(channels).zip(winners.chunks(channels));
        for (cell, (gradient, winner)) in cells.enumerate() {
            let (row, column) = (cell / out_width * stride_y, cell % out_width * stride_x);
            for position in 0..window_height * window_width {
                let y = (row + position / window_width).wrapping_sub(top);
                let x = (column + position % window_width).wrapping_sub(left);
                // Above or left of the image the subtraction wrapped to a large number.
                if y >= height || x >= width {
                    continue;
                }
                let to = &mut to[(y * width + x) * channels..][..channels];
                for ((to, gradient), winner) in to.iter_mut().zip(gradient).zip(winner) {
                    *to += if *winner == position as u32 { *gradient } else { 0.0 };
                }
            }
        }
    });
}

fn reference(args: &mut Args<'_, f64>) {
    let (gradients, winners) = (args.read("output_gradients"), args.read_index("winners"));
    let to = args.write("input_gradients");
    let size = |name| args.constants.size(name);
    let (height, width, channels) = (size("IN_HEIGHT"), size("IN_WIDTH"), size("CHANNELS"));
    to.fill(0.0);
    let mut at = 0;
    for image in 0..args.images() {
        for oy in 0..size("OUT_HEIGHT") {
            for ox in 0..size("OUT_WIDTH") {
                for channel in 0..channels {
                    let winner = winners[at] as usize;
                    let (ky, kx) = (winner / size("KERNEL_WIDTH"), winner % size("KERNEL_WIDTH"));
                    let y = (oy * size("STRIDE_Y") + ky) as isize - size("PAD_TOP") as isize;
                    let x = (ox * size("STRIDE_X") + kx) as isize - size("PAD_LEFT") as isize;
                    let inside = y >= 0 && x >= 0 && y < height as isize && x < width as isize;
                    if inside && ky < size("KERNEL_HEIGHT") {
                        let pixel = (image * height + y as usize) * width + x as usize;
                        to[pixel * channels + channel] += gradients[at];
                    }
                    at += 1;
                }
            }
        }
    }
}
