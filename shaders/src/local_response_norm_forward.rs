//! Local response normalisation.

use compute::kernel::linear_workgroups;
use compute::kernel::{Args, Binding, Case, Constants, Extent::PerImage, Kernel};

use crate::form::{WORKGROUP, only};
use crate::local_response_norm::{Norm, load, store};
use crate::scratch::with_scratch;
use crate::simd::{self, MOST_LANES, Simd, Vectorized};

/// Divides each channel by a power of `N`, which grows with the channels around it:
/// `N_i = BIAS + ALPHA * sum of x_j^2 over |j - i| <= RADIUS`, `y_i = x_i * N_i^-BETA`.
///
/// `ALPHA` is not divided by the number of channels in the sum.
pub static KERNEL: Kernel = Kernel {
    name: "local_response_norm_forward",
    about: "Normalises each channel by its neighbours at the same position.",
    bindings: &[Binding::read("input", PerImage), Binding::write("output", PerImage)],
    lengths: |c| vec![length(c); 2],
    terms: |c, _| window(c),
    variants: &[only(
        "local_response_norm_forward",
        include_str!("../local_response_norm_forward.wgsl"),
        |c, images| linear_workgroups(images * length(c), WORKGROUP),
    )],
    cpu,
    reference,
    cases,
};

pub(crate) fn length(c: &Constants) -> usize {
    c.size("POSITIONS") * c.size("CHANNELS")
}

/// The most channels that a window reaches.
pub(crate) fn window(c: &Constants) -> usize {
    (2 * c.size("RADIUS") + 1).min(c.size("CHANNELS"))
}

/// Sizes for the forward and the backward kernel.
pub(crate) fn cases() -> Vec<Case> {
    let case = |images, positions, channels, radius, [bias, alpha, beta]: [f64; 3]| {
        let constants = Constants::default()
            .with("POSITIONS", positions)
            .with("CHANNELS", channels)
            .with("RADIUS", radius)
            .with_real("BIAS", bias)
            .with_real("ALPHA", alpha)
            .with_real("BETA", beta);
        let case = Case::new(images, constants);
        // Between 0.5 and 2 WGSL lets log2 miss by 2^-21, beyond by 3 units in the last place, and
        // exp2 by 3 and more: 1e-6 in all for a single power. A beta of 0.75 takes square roots.
        if beta == 0.75 { case } else { case.loosened(4.0, "WGSL's pow may miss by 1e-6") }
    };
    vec![
        case(1, 1, 1, 0, [1.0, 1.0, 0.5]),
        // Fewer channels than the window is wide.
        case(3, 7, 3, 4, [2.0, 0.5, 0.75]),
        case(2, 5, 7, 6, [1.0, 0.1, 1.3]),
        case(1, 33, 33, 2, [0.5, 0.3, 0.75]),
        // A window over all channels of many workgroups.
        case(1, 2, 700, 300, [1.0, 0.01, 0.75]),
        // A radius far beyond the channels.
        case(1, 3, 11, 1000, [1.0, 0.2, 0.75]),
        // The tutorial's network, and coefficients under which the normalisation is strong.
        case(2, 144, 64, 4, [1.0, 0.001 / 9.0, 0.75]),
        case(1, 144, 64, 4, [1.0, 1.0, 0.75]),
    ]
}

fn cpu(args: &mut Args<'_, f32>) {
    let norm = Norm::from(args.constants);
    let (input, output) = (args.read("input"), args.write("output"));
    with_scratch(norm.rows(), |squares| {
        simd::run(args.isa, Normalize { norm, input, output, squares });
    });
}

struct Normalize<'a> {
    norm: Norm,
    input: &'a [f32],
    output: &'a mut [f32],
    squares: &'a mut [f32],
}

impl Vectorized for Normalize<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { norm, input, output, squares } = self;
        squares.fill(0.0);
        let output = output.chunks_mut(norm.block());
        for (input, output) in input.chunks(norm.block()).zip(output) {
            norm.square(input, squares);
            let positions = input.chunks_exact(norm.channels).zip(squares.chunks_exact(norm.row()));
            for ((input, squares), output) in positions.zip(output.chunks_exact_mut(norm.channels))
            {
                let strips = input.chunks(MOST_LANES).zip(output.chunks_mut(MOST_LANES));
                for (strip, (input, output)) in strips.enumerate() {
                    let [power, _] = norm.powers(simd, norm.window_sums(squares, strip));
                    let input = load(input);
                    store(std::array::from_fn(|i| input[i] * power[i]), output);
                }
            }
        }
    }
}

fn reference(args: &mut Args<'_, f64>) {
    let (input, output) = (args.read("input"), args.write("output"));
    let (channels, radius) = (args.size("CHANNELS"), args.size("RADIUS"));
    for position in 0..args.images() * args.size("POSITIONS") {
        let x = &input[position * channels..][..channels];
        for i in 0..channels {
            let mut sum = 0.0;
            for (j, neighbour) in x.iter().enumerate() {
                if j.abs_diff(i) <= radius {
                    sum += neighbour * neighbour;
                }
            }
            let scale = args.constants.real("BIAS") + args.constants.real("ALPHA") * sum;
            output[position * channels + i] = x[i] / scale.powf(args.constants.real("BETA"));
        }
    }
}
