//! The derivative of local response normalisation.

use compute::kernel::linear_workgroups;
use compute::kernel::{Args, Binding, Constants, Extent::PerImage, Kernel, Variant};

use crate::form::{WORKGROUP, only};
use crate::local_response_norm::{Norm, load, store};
use crate::local_response_norm_forward::{cases, length, window};
use crate::scratch::with_scratch;
use crate::simd::{self, MOST_LANES, Simd, Strip, Vectorized};

/// The largest radius for which 256 elements and their neighbours fit the workgroup memory that
/// WebGPU promises.
const MOST_RADIUS: usize = 512;

/// `dx_i = g_i * N_i^-BETA - 2 * ALPHA * BETA * x_i * sum of g_j * y_j / N_j`, over the channels
/// `j` within `RADIUS` of `i`; `N` and `y` as in the forward kernel.
pub static KERNEL: Kernel = Kernel {
    name: "local_response_norm_backward",
    about: "Takes gradients back through the local response normalisation.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("output_gradients", PerImage),
        Binding::write("input_gradients", PerImage),
    ],
    lengths: |c| vec![length(c); 3],
    // Each of the window's gradients holds a sum over a window of its own.
    terms: |c, _| 2 * window(c),
    variants: &[
        Variant {
            name: "local_response_norm_backward",
            wgsl: include_str!("../local_response_norm_backward.wgsl"),
            tuning: &[],
            applies: |c| c.size("RADIUS") <= MOST_RADIUS,
            workgroups,
        },
        only(
            "local_response_norm_backward_any",
            include_str!("../local_response_norm_backward_any.wgsl"),
            workgroups,
        ),
    ],
    cpu,
    reference,
    cases,
};

fn workgroups(c: &Constants, images: usize) -> [u32; 3] {
    linear_workgroups(images * length(c), WORKGROUP)
}

fn cpu(args: &mut Args<'_, f32>) {
    let norm = Norm::from(args.constants);
    let factor = (2.0 * args.constants.real("ALPHA") * args.constants.real("BETA")) as f32;
    let (input, from) = (args.read("input"), args.read("output_gradients"));
    let to = args.write("input_gradients");
    with_scratch(2 * norm.rows(), |rows| {
        simd::run(args.isa, GoBack { norm, factor, input, from, to, rows });
    });
}

struct GoBack<'a> {
    norm: Norm,
    factor: f32,
    input: &'a [f32],
    from: &'a [f32],
    to: &'a mut [f32],
    rows: &'a mut [f32],
}

impl Vectorized for GoBack<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { norm, factor, input, from, to, rows } = self;
        rows.fill(0.0);
        let (squares, terms) = rows.split_at_mut(norm.rows());
        let blocks = input.chunks(norm.block()).zip(from.chunks(norm.block()));
        for ((input, from), to) in blocks.zip(to.chunks_mut(norm.block())) {
            norm.square(input, squares);
            let inputs = || input.chunks_exact(norm.channels);
            let rows = squares.chunks_exact(norm.row()).zip(terms.chunks_exact_mut(norm.row()));
            let outer = from.chunks_exact(norm.channels).zip(to.chunks_exact_mut(norm.channels));
            for ((input, (squares, terms)), (from, to)) in inputs().zip(rows).zip(outer) {
                let strips = input.chunks(MOST_LANES).zip(from.chunks(MOST_LANES)).enumerate();
                for ((strip, (input, from)), to) in strips.zip(to.chunks_mut(MOST_LANES)) {
                    let [powers, inverses] = norm.powers(simd, norm.window_sums(squares, strip));
                    let (input, from) = (load(input), load(from));
                    let scaled: Strip = std::array::from_fn(|i| from[i] * powers[i]);
                    let term = std::array::from_fn(|i| scaled[i] * input[i] * inverses[i]);
                    store(term, norm.strip_mut(terms, strip));
                    store(scaled, to);
                }
            }
            let rows = terms.chunks_exact(norm.row()).zip(to.chunks_exact_mut(norm.channels));
            for (input, (terms, to)) in inputs().zip(rows) {
                let strips = input.chunks(MOST_LANES).zip(to.chunks_mut(MOST_LANES));
                for (strip, (input, to)) in strips.enumerate() {
                    let sums = norm.window_sums(terms, strip);
                    let (input, scaled) = (load(input), load(to));
                    store(std::array::from_fn(|i| scaled[i] - factor * input[i] * sums[i]), to);
                }
            }
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (input, from) = (args.read("input"), args.read("output_gradients"));
    let to = args.write("input_gradients");
    let (channels, radius) = (args.size("CHANNELS"), args.size("RADIUS"));
    let [bias, alpha, beta] = ["BIAS", "ALPHA", "BETA"].map(|name| args.constants.real(name));
    for position in 0..args.images() * args.size("POSITIONS") {
        let x = &input[position * channels..][..channels];
        let g = &from[position * channels..][..channels];
        let near = |i: usize| (0..channels).filter(move |j| j.abs_diff(i) <= radius);
        let scales: Vec<f64> = (0..channels)
            .map(|i| bias + alpha * near(i).map(|j| x[j] * x[j]).sum::<f64>())
            .collect();
        for i in 0..channels {
            let mut derivative = 0.0;
            for j in near(i) {
                // The derivative of y_j with respect to x_i.
                let mut through = -2.0 * alpha * beta * x[i] * x[j] * scales[j].powf(-beta - 1.0);
                if i == j {
                    through += scales[j].powf(-beta);
                }
                derivative += g[j] * through;
            }
            to[position * channels + i] = derivative;
        }
    }
}
