//! The derivative of max pooling.

use compute::kernel::linear_workgroups;
use compute::kernel::{Args, Binding, Case, Constants, Extent::PerImage, Kernel};

use crate::form::{WORKGROUP, only};
use crate::simd::vectorized;
use crate::windows::{Windows, sizes};

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
    let pool = Windows::from(args.constants);
    let gradients = args.read("output_gradients").chunks_exact(pool.output());
    let winners = args.read_index("winners").chunks_exact(pool.output());
    let to = args.write("input_gradients").chunks_exact_mut(pool.input());
    for ((to, gradients), winners) in to.zip(gradients).zip(winners) {
        give_back(args.isa, &pool, gradients, winners, to);
    }
}

vectorized! {
    fn give_back(pool: &Windows, gradients: &[f32], winners: &[u32], to: &mut [f32]) {
        to.fill(0.0);
        // Windows in order may scatter: the sums have the same order as when each element looks for
        // its windows.
        let cells = gradients.chunks_exact(pool.channels).zip(winners.chunks_exact(pool.channels));
        for ((gradients, winners), window) in cells.zip(pool.iter()) {
            for ky in window.rows.clone() {
                for kx in window.columns.clone() {
                    let to = &mut to[pool.place(&window, [ky, kx])..][..pool.channels];
                    let position = pool.number([ky, kx]);
                    for ((to, gradient), winner) in to.iter_mut().zip(gradients).zip(winners) {
                        *to += if *winner == position { *gradient } else { 0.0 };
                    }
                }
            }
        }
    }
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
