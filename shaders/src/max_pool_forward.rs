//! Max pooling.

use compute::kernel::linear_workgroups;
use compute::kernel::{Args, Binding, Case, Constants, Extent::PerImage, Kernel};

use crate::form::{WORKGROUP, only};
use crate::simd::{MOST_LANES, vectorized};
use crate::windows::{Window, Windows, sizes};

/// The maximum over windows of each channel, and where in its window each maximum was.
///
/// What is no number wins over all that is before it in the window, so that it does not go unnoticed.
/// Padding never competes. A window that lies wholly in the padding gives 0 and a winner that no
/// element of the input answers to.
pub static KERNEL: Kernel = Kernel {
    name: "max_pool_forward",
    about: "Takes the maximum over windows of each channel, and notes where it was.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::write("output", PerImage),
        Binding::write("winners", PerImage).of_indices(),
    ],
    lengths: |c| {
        let output = output_length(c);
        vec![c.size("IN_HEIGHT") * c.size("IN_WIDTH") * c.size("CHANNELS"), output, output]
    },
    terms: |_, _| 1,
    variants: &[only("max_pool_forward", include_str!("../max_pool_forward.wgsl"), |c, images| {
        linear_workgroups(images * output_length(c), WORKGROUP)
    })],
    cpu,
    reference,
    cases: || {
        let mut cases: Vec<Case> =
            sizes().into_iter().map(|(images, constants)| Case::new(images, constants)).collect();
        // Ties: the first of equal numbers wins, also among negative ones beside padding.
        for case in cases.clone() {
            let input = (KERNEL.lengths)(&case.constants)[0] * case.images;
            let values = (0..input).map(|i| -1.0 - ((i / 5) % 2) as f64).collect();
            cases.push(case.given("input", values));
        }
        cases
    },
};

fn output_length(c: &Constants) -> usize {
    c.size("OUT_HEIGHT") * c.size("OUT_WIDTH") * c.size("CHANNELS")
}

fn cpu(args: &mut Args<'_, f32>) {
    let pool = Windows::from(args.constants);
    let input = args.read("input").chunks_exact(pool.input());
    let output = args.write("output").chunks_exact_mut(pool.output());
    let winners = args.write_index("winners").chunks_exact_mut(pool.output());
    for ((input, output), winners) in input.zip(output).zip(winners) {
        find_maxima(args.isa, &pool, input, output, winners);
    }
}

vectorized! {
    fn find_maxima(pool: &Windows, input: &[f32], output: &mut [f32], winners: &mut [u32]) {
        let cells = output.chunks_exact_mut(pool.channels);
        let cells = cells.zip(winners.chunks_exact_mut(pool.channels));
        for ((output, winners), window) in cells.zip(pool.iter()) {
            let strips = output.chunks_mut(MOST_LANES).zip(winners.chunks_mut(MOST_LANES)).enumerate();
            for (strip, (output, winners)) in strips {
                let from = strip * MOST_LANES;
                match (output.first_chunk_mut(), winners.first_chunk_mut()) {
                    (Some(output), Some(winners)) => {
                        (*output, *winners) = maxima::<MOST_LANES>(pool, input, from, &window);
                    }
                    // What is left of the channels, one by one.
                    _ => for (i, (output, winner)) in output.iter_mut().zip(winners).enumerate() {
                        let ([best], [at]) = maxima::<1>(pool, input, from + i, &window);
                        (*output, *winner) = (best, at);
                    },
                }
            }
        }
    }
}

/// The maxima of neighbouring channels in a window, and at which of its positions they are.
#[inline(always)]
fn maxima<const N: usize>(
    pool: &Windows,
    input: &[f32],
    channel: usize,
    window: &Window,
) -> ([f32; N], [u32; N]) {
    let values = |position| -> [f32; N] {
        let channels = &input[pool.place(window, position) + channel..][..N];
        std::array::from_fn(|i| channels[i])
    };
    if window.rows.is_empty() || window.columns.is_empty() {
        return ([0.0; N], [pool.positions() as u32; N]);
    }
    let first = [window.rows.start, window.columns.start];
    let (mut best, mut winners) = (values(first), [pool.number(first); N]);
    for ky in window.rows.clone() {
        for kx in window.columns.clone() {
            let (values, position) = (values([ky, kx]), pool.number([ky, kx]));
            for i in 0..N {
                let wins = values[i] > best[i] || values[i].is_nan();
                best[i] = if wins { values[i] } else { best[i] };
                winners[i] = if wins { position } else { winners[i] };
            }
        }
    }
    (best, winners)
}

fn reference(args: &mut Args<'_, f64>) {
    let size = |name| args.constants.size(name);
    let input = args.read("input");
    let (height, width, channels) = (size("IN_HEIGHT"), size("IN_WIDTH"), size("CHANNELS"));
    let mut maxima = Vec::new();
    for image in 0..args.images() {
        for oy in 0..size("OUT_HEIGHT") {
            for ox in 0..size("OUT_WIDTH") {
                for channel in 0..channels {
                    let mut best = (size("KERNEL_HEIGHT") * size("KERNEL_WIDTH"), 0.0);
                    let mut seen = false;
                    for ky in 0..size("KERNEL_HEIGHT") {
                        for kx in 0..size("KERNEL_WIDTH") {
                            let y =
                                (oy * size("STRIDE_Y") + ky) as isize - size("PAD_TOP") as isize;
                            let x =
                                (ox * size("STRIDE_X") + kx) as isize - size("PAD_LEFT") as isize;
                            if y < 0 || x < 0 || y >= height as isize || x >= width as isize {
                                continue;
                            }
                            let pixel = (image * height + y as usize) * width + x as usize;
                            let value = input[pixel * channels + channel];
                            if !seen || value > best.1 || value.is_nan() {
                                best = (ky * size("KERNEL_WIDTH") + kx, value);
                                seen = true;
                            }
                        }
                    }
                    maxima.push(best);
                }
            }
        }
    }
    let (output, winners) = (args.write("output"), args.write_index("winners"));
    for (i, (position, value)) in maxima.into_iter().enumerate() {
        output[i] = value;
        winners[i] = position as u32;
    }
}
