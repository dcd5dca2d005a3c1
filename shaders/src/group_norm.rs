//! What the kernels of group normalisation share: the statistics of an image's groups, and sizes to
//! test on.

use compute::kernel::{Args, Case, Constants};

use crate::strips::{Strips, in_strips, lanes};

/// Channels of all groups.
pub(crate) fn channels(c: &Constants) -> usize {
    c.size("GROUPS") * c.size("GROUP_CHANNELS")
}

/// Numbers of an image.
pub(crate) fn length(c: &Constants) -> usize {
    c.size("POSITIONS") * channels(c)
}

/// Numbers of a group of an image.
pub(crate) fn group_length(c: &Constants) -> usize {
    c.size("POSITIONS") * c.size("GROUP_CHANNELS")
}

/// How channels are cut into groups.
#[derive(Clone, Copy)]
pub(crate) struct Groups {
    pub(crate) channels: usize,
    pub(crate) group_channels: usize,
    /// Numbers of a group of an image.
    pub(crate) group_length: f32,
    epsilon: f32,
}

impl From<&Constants> for Groups {
    fn from(constants: &Constants) -> Self {
        Self {
            channels: channels(constants),
            group_channels: constants.size("GROUP_CHANNELS"),
            group_length: group_length(constants) as f32,
            epsilon: constants.real("EPSILON") as f32,
        }
    }
}

impl Groups {
    /// Puts in place of a row's numbers, of each group, what `of` makes of their sum.
    #[inline(always)]
    pub(crate) fn gather(self, row: &mut [f32], of: impl Fn(f32) -> f32) {
        for group in row.chunks_exact_mut(self.group_channels) {
            let sum = group.iter().sum();
            group.fill(of(sum));
        }
    }
}

/// Rows of [`Statistics`].
pub(crate) const ROWS: usize = 3;

/// What is known of the groups of an image, each written once for each of its channels.
#[derive(Clone, Copy)]
pub(crate) struct Statistics<'a> {
    /// The group's first number. By distances from a number of the group, nothing is lost where the
    /// mean is large beside the deviation.
    origin: &'a [f32],
    /// The mean distance from it.
    mean: &'a [f32],
    /// One over the deviation.
    inverse: &'a [f32],
}

impl<'a> Statistics<'a> {
    /// The statistics of an image, written to as many rows as there are.
    #[inline(always)]
    pub(crate) fn of(image: &[f32], groups: Groups, rows: &'a mut [f32]) -> Self {
        let (origin, rest) = rows.split_at_mut(groups.channels);
        let (mean, inverse) = rest.split_at_mut(groups.channels);
        for (at, origin) in origin.chunks_exact_mut(groups.group_channels).enumerate() {
            origin.fill(image[at * groups.group_channels]);
        }
        let sums = &mut *inverse;
        mean.fill(0.0);
        in_strips(groups.channels, &mut Sums { image, origin, mean, sums, of: |x| x });
        groups.gather(inverse, |sum| sum / groups.group_length);
        mean.copy_from_slice(inverse);
        let sums = &mut *inverse;
        in_strips(groups.channels, &mut Sums { image, origin, mean, sums, of: |x| x * x });
        groups.gather(inverse, |sum| 1.0 / (sum / groups.group_length + groups.epsilon).sqrt());
        Self { origin, mean, inverse }
    }

    /// Those of the channels of a strip.
    #[inline(always)]
    pub(crate) fn lanes<const N: usize>(&self, first: usize) -> Lanes<N> {
        Lanes {
            origin: lanes(self.origin, first),
            mean: lanes(self.mean, first),
            inverse: lanes(self.inverse, first),
        }
    }
}

/// The statistics of the channels of a strip.
pub(crate) struct Lanes<const N: usize> {
    origin: [f32; N],
    mean: [f32; N],
    pub(crate) inverse: [f32; N],
}

impl<const N: usize> Lanes<N> {
    /// The distance of a number of the strip from its mean.
    #[inline(always)]
    pub(crate) fn distance(&self, lane: usize, value: f32) -> f32 {
        value - self.origin[lane] - self.mean[lane]
    }
}

/// Positions that are summed by themselves: beside the sum of very many, a number loses its digits.
const BLOCK: usize = 256;

/// Sums over positions of what `of` makes of distances from `origin + mean`.
struct Sums<'a, F> {
    image: &'a [f32],
    origin: &'a [f32],
    mean: &'a [f32],
    sums: &'a mut [f32],
    of: F,
}

impl<F: Fn(f32) -> f32> Strips for Sums<'_, F> {
    #[inline(always)]
    fn strip<const N: usize>(&mut self, first: usize) {
        let (origin, mean) = (lanes::<N>(self.origin, first), lanes::<N>(self.mean, first));
        let channels = self.mean.len();
        let mut sums = [0.0; N];
        for block in self.image.chunks(BLOCK * channels) {
            let mut of_block = [0.0; N];
            for row in block.chunks_exact(channels) {
                let row = lanes::<N>(row, first);
                for i in 0..N {
                    of_block[i] += (self.of)(row[i] - origin[i] - mean[i]);
                }
            }
            for i in 0..N {
                sums[i] += of_block[i];
            }
        }
        self.sums[first..][..N].copy_from_slice(&sums);
    }
}

/// Adds up an image's gradients over its positions: alone, and times the normalised input.
pub(crate) struct GradientSums<'a> {
    pub(crate) image: &'a [f32],
    pub(crate) gradients: &'a [f32],
    pub(crate) statistics: Statistics<'a>,
    /// What the sums of each channel are added to.
    pub(crate) alone: &'a mut [f32],
    pub(crate) along: &'a mut [f32],
}

impl Strips for GradientSums<'_> {
    #[inline(always)]
    fn strip<const N: usize>(&mut self, first: usize) {
        let channels = self.alone.len();
        let statistics = self.statistics.lanes::<N>(first);
        let rows = self.image.chunks_exact(channels).zip(self.gradients.chunks_exact(channels));
        let (mut sums, mut products) = ([0.0; N], [0.0; N]);
        for (row, gradients) in rows {
            let (row, gradients) = (lanes::<N>(row, first), lanes::<N>(gradients, first));
            for i in 0..N {
                sums[i] += gradients[i];
                products[i] += gradients[i] * statistics.distance(i, row[i]);
            }
        }
        let (alone, along) = (&mut self.alone[first..][..N], &mut self.along[first..][..N]);
        for i in 0..N {
            alone[i] += sums[i];
            along[i] += products[i] * statistics.inverse[i];
        }
    }
}

/// Where the numbers of a group of an image lie, for the references.
pub(crate) fn places(c: &Constants, image: usize, group: usize) -> Vec<usize> {
    let (positions, channels) = (c.size("POSITIONS"), channels(c));
    let group_channels = c.size("GROUP_CHANNELS");
    let places = (image * positions..(image + 1) * positions).flat_map(|position| {
        let first = position * channels + group * group_channels;
        first..first + group_channels
    });
    places.collect()
}

/// The mean of the numbers at these places, and the deviation with `EPSILON`, for the references.
pub(crate) fn moments(args: &Args<'_, f64>, places: &[usize]) -> (f64, f64) {
    let (input, count) = (args.read("input"), places.len() as f64);
    let mean = places.iter().map(|at| input[*at]).sum::<f64>() / count;
    let squares: f64 = places.iter().map(|at| (input[*at] - mean).powi(2)).sum();
    (mean, (squares / count + args.constants.real("EPSILON")).sqrt())
}

/// What the kernels are tested on.
pub(crate) fn cases() -> Vec<Case> {
    let case = |images, [positions, channels, groups]: [usize; 3], splits| {
        let constants = Constants::default()
            .with("POSITIONS", positions)
            .with("GROUPS", groups)
            .with("GROUP_CHANNELS", channels / groups)
            .with("SPLITS", splits)
            .with_real("EPSILON", 1e-5);
        Case::new(images, constants)
    };
    let mut cases = vec![
        case(1, [1, 7, 1], 1),
        // The last parts are left without images.
        case(3, [7, 33, 3], 4),
        // A group for each channel.
        case(5, [9, 70, 70], 16),
        // The output of a dense layer: one position an image.
        case(33, [1, 60, 12], 8),
        case(1, [257, 3, 1], 1),
        // More channels in a group than invocations in a workgroup.
        case(3, [6, 520, 2], 2),
        // Two layers of a residual network at 32x32.
        case(3, [32 * 32, 64, 32], 2),
        case(2, [8 * 8, 256, 32], 64),
        // Many turns of a loop.
        case(3, [256 * 256, 4, 2], 1),
    ];
    // Means that are large beside the deviation: sums of squares would be all rounding.
    for case in cases.clone() {
        let input = length(&case.constants) * case.images;
        let values = (0..input).map(|i| 500.0 + ((i * 37) % 101) as f64 / 64.0).collect();
        cases.push(case.given("input", values));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_neighbouring_channels() {
        let sizes =
            Constants::default().with("POSITIONS", 2).with("GROUPS", 3).with("GROUP_CHANNELS", 2);
        assert_eq!(places(&sizes, 0, 0), [0, 1, 6, 7]);
        assert_eq!(places(&sizes, 1, 2), [16, 17, 22, 23]);
    }
}
