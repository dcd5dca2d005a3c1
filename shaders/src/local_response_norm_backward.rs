//! The derivative of local response normalisation.

use rayon::prelude::*;
use runtime::kernel::linear_workgroups;
use runtime::kernel::{Args, Binding, Constants, Extent::PerImage, Kernel, Variant};

use crate::form::{WORKGROUP, only};
use crate::local_response_norm_forward::{Position, cases, length, window};

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
    let (length, channels) = (length(args.constants), args.size("CHANNELS"));
    let constants = args.constants;
    let factor = (2.0 * constants.real("ALPHA") * constants.real("BETA")) as f32;
    let (input, from) = (args.read("input"), args.read("output_gradients"));
    let to = args.write("input_gradients");
    let images = to.par_chunks_mut(length).zip(input.par_chunks(length));
    images.zip(from.par_chunks(length)).for_each(|((to, input), from)| {
        let mut position = Position::new(constants);
        let (mut sums, mut powers) = (vec![0.0; channels], vec![0.0; channels]);
        let mut neighbours = vec![0.0; channels];
        let positions = to.chunks_mut(channels).zip(input.chunks(channels));
        for ((to, input), from) in positions.zip(from.chunks(channels)) {
            position.window_sums(input.iter().map(|x| x * x), &mut sums);
            position.powers(&mut sums, &mut powers);
            let terms = input.iter().zip(from).zip(&powers).zip(&sums);
            let terms = terms.map(|(((x, gradient), power), scale)| gradient * x * power / scale);
            position.window_sums(terms, &mut neighbours);
            let inputs = input.iter().zip(from).zip(&powers).zip(&neighbours);
            for (to, (((x, gradient), power), neighbours)) in to.iter_mut().zip(inputs) {
                *to = gradient * power - factor * x * neighbours;
            }
        }
    });
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
