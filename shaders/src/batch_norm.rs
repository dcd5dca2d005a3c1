//! What the kernels of batch normalisation share: how statistics lie in memory, and sizes to test on.

use compute::kernel::{Case, Constants};

use crate::strips::lanes;

/// Channels of a workgroup of the kernels that take sums over positions.
pub(crate) const WORKGROUP_CHANNELS: usize = 32;

/// Numbers of an image.
pub(crate) fn length(c: &Constants) -> usize {
    c.size("POSITIONS") * c.size("CHANNELS")
}

/// Numbers of a part of the statistics: how many positions it has, then for each channel their mean,
/// then for each channel the sum of their squared distances from that mean.
pub(crate) fn part_length(c: &Constants) -> usize {
    1 + 2 * c.size("CHANNELS")
}

/// A part of the statistics, taken apart: positions, means, squared distances.
pub(crate) fn fields<T: Copy>(part: &[T]) -> (T, &[T], &[T]) {
    let (means, squares) = part[1..].split_at(part.len() / 2);
    (part[0], means, squares)
}

/// `1 / sqrt(variance + epsilon)` of the channels of a strip.
#[inline(always)]
pub(crate) fn inverse_deviations<const N: usize>(
    variance: &[f32],
    first: usize,
    epsilon: f32,
) -> [f32; N] {
    lanes::<N>(variance, first).map(|variance| 1.0 / (variance + epsilon).sqrt())
}

/// Images and sizes to test on.
pub(crate) fn sizes() -> Vec<(usize, Constants)> {
    let size = |positions, channels, splits| {
        Constants::default()
            .with("POSITIONS", positions)
            .with("CHANNELS", channels)
            .with("SPLITS", splits)
            .with_real("EPSILON", 1e-5)
    };
    vec![
        (1, size(1, 1, 1)),
        // The last parts are left without images.
        (3, size(7, 33, 4)),
        (5, size(9, 70, 16)),
        // The output of a dense layer: one position an image.
        (33, size(1, 17, 8)),
        (1, size(257, 3, 1)),
        // Two layers of a residual network at 32x32.
        (3, size(32 * 32, 64, 2)),
        (2, size(8 * 8, 256, 64)),
    ]
}

/// What kernels that are given statistics are tested on.
pub(crate) fn cases() -> Vec<Case> {
    let case = |(images, constants): (usize, Constants)| {
        let variances = variances(&constants);
        Case::new(images, constants).given("variance", variances)
    };
    sizes().into_iter().map(case).collect()
}

/// Variances to test with: above 0, and not all alike.
fn variances(c: &Constants) -> Vec<f64> {
    (0..c.size("CHANNELS")).map(|channel| 0.25 + (channel % 5) as f64).collect()
}

/// Statistics in parts as some images have them, the last of which have none.
pub(crate) fn partials(images: usize, c: &Constants) -> Vec<f64> {
    let (splits, channels) = (c.size("SPLITS"), c.size("CHANNELS"));
    let images_of_part = images.div_ceil(splits);
    let part = |part: usize| {
        let first = (part * images_of_part).min(images);
        let of_part = (images - first).min(images_of_part) * c.size("POSITIONS");
        let spread = move |channel: usize| ((part * 7 + channel * 5) % 11) as f64 / 11.0;
        let here = move |value: f64| if of_part == 0 { 0.0 } else { value };
        let means = (0..channels).map(move |channel| here(spread(channel) - 0.5));
        let squares =
            (0..channels).map(move |channel| of_part as f64 * (0.5 + spread(channel + 1)));
        std::iter::once(of_part as f64).chain(means).chain(squares)
    };
    (0..splits).flat_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_taken_apart_where_it_was_put_together() {
        assert_eq!(fields(&[9.0, 1.0, 2.0, 3.0, 4.0]), (9.0, &[1.0, 2.0][..], &[3.0, 4.0][..]));
    }
}
