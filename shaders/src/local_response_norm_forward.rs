//! Local response normalisation.

use rayon::prelude::*;
use runtime::kernel::linear_workgroups;
use runtime::kernel::{Args, Binding, Case, Constants, Extent::PerImage, Kernel};

use crate::form::{WORKGROUP, only};

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

/// What one position needs while its channels are worked on, for the `cpu` forms.
pub(crate) struct Position {
    radius: usize,
    bias: f32,
    alpha: f32,
    beta: f32,
    /// The channels with `radius` zeros on both sides, so that every window has its full width.
    padded: Vec<f32>,
}

impl Position {
    pub(crate) fn new(constants: &Constants) -> Self {
        // A wider window reaches no further channel.
        let radius = constants.size("RADIUS").min(constants.size("CHANNELS"));
        Self {
            radius,
            bias: constants.real("BIAS") as f32,
            alpha: constants.real("ALPHA") as f32,
            beta: constants.real("BETA") as f32,
            padded: vec![0.0; constants.size("CHANNELS") + 2 * radius],
        }
    }

    /// Writes the sums of the neighbours' `values` within the radius.
    pub(crate) fn window_sums(&mut self, values: impl Iterator<Item = f32>, sums: &mut [f32]) {
        let inner = &mut self.padded[self.radius..][..sums.len()];
        inner.iter_mut().zip(values).for_each(|(to, value)| *to = value);
        sums.fill(0.0);
        for shift in 0..=2 * self.radius {
            sums.iter_mut().zip(&self.padded[shift..]).for_each(|(sum, value)| *sum += value);
        }
    }

    /// Turns sums of squares into `N`, and writes `N^-BETA`.
    pub(crate) fn powers(&self, sums: &mut [f32], powers: &mut [f32]) {
        for sum in sums.iter_mut() {
            *sum = self.bias + self.alpha * *sum;
        }
        for (power, scale) in powers.iter_mut().zip(sums) {
            *power = if self.beta == 0.75 {
                // Two square roots are much faster than a power.
                let root = scale.sqrt();
                1.0 / (root * root.sqrt())
            } else {
                scale.powf(-self.beta)
            };
        }
    }
}

fn cpu(args: &mut Args<'_, f32>) {
    let (length, channels) = (length(args.constants), args.size("CHANNELS"));
    let constants = args.constants;
    let input = args.read("input");
    let output = args.write("output");
    output.par_chunks_mut(length).zip(input.par_chunks(length)).for_each(|(output, input)| {
        let mut position = Position::new(constants);
        let (mut sums, mut powers) = (vec![0.0; channels], vec![0.0; channels]);
        for (output, input) in output.chunks_mut(channels).zip(input.chunks(channels)) {
            position.window_sums(input.iter().map(|x| x * x), &mut sums);
            position.powers(&mut sums, &mut powers);
            for ((output, input), power) in output.iter_mut().zip(input).zip(&powers) {
                *output = input * power;
            }
        }
    });
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
