//! Sums and scalings over an image's values, written so that the compiler uses vector registers.
//!
//! A fixed number of lanes also fixes the order of additions: the same image gives the same bits
//! on every machine.

/// Values handled side by side: whole vector registers on every common machine, and a whole
/// number of pixels of 1, 2, 3, 4, 6 or 8 channels.
pub const LANES: usize = 24;

// Lanes are added up in f32 only this long before they go into f64.
const RUN: usize = LANES * 128;

/// The sum of `f(value)` in each lane: value `i` falls in lane `i % LANES`.
fn lane_sums<T: Copy>(values: &[T], f: impl Fn(T) -> f32) -> [f64; LANES] {
    let mut totals = [0.0; LANES];
    for run in values.chunks(RUN) {
        let mut sums = [0.0_f32; LANES];
        let (whole, rest) = run.as_chunks::<LANES>();
        for group in whole {
            for (sum, value) in sums.iter_mut().zip(group) {
                *sum += f(*value);
            }
        }
        for (sum, value) in sums.iter_mut().zip(rest) {
            *sum += f(*value);
        }
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total += f64::from(sum);
        }
    }
    totals
}

/// Mean and variance over all values, in two passes: unlike the difference of two large means,
/// the variance cannot come out negative.
pub fn mean_and_variance(values: &[f32]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    // Sums of differences from one of the values are exact for a constant image.
    let near = values.first().copied().unwrap_or_default();
    let offset = lane_sums(values, |value| value - near).iter().sum::<f64>() / count;
    let mean = f64::from(near) + offset;
    let centre = mean as f32;
    let variance = lane_sums(values, |value| (value - centre) * (value - centre));
    (mean, variance.iter().sum::<f64>() / count)
}

/// The mean of each channel, the channel running fastest.
pub fn channel_means<T: Copy + Into<f32>>(values: &[T], channels: usize) -> Vec<f64> {
    let mut sums = vec![0.0; channels];
    if LANES.is_multiple_of(channels) {
        for (lane, sum) in lane_sums(values, T::into).iter().enumerate() {
            sums[lane % channels] += sum;
        }
    } else {
        for pixel in values.chunks_exact(channels) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += f64::from((*value).into());
            }
        }
    }
    let pixels = (values.len() / channels).max(1) as f64;
    sums.iter_mut().for_each(|sum| *sum /= pixels);
    sums
}

/// `value * scale[channel] + shift[channel]` for every value.
pub fn scale_and_shift(values: &mut [f32], scale: &[f32], shift: &[f32]) {
    let channels = shift.len();
    if LANES.is_multiple_of(channels) {
        let spread = |numbers: &[f32]| -> [f32; LANES] {
            std::array::from_fn(|lane| numbers[lane % channels])
        };
        let (scale, shift) = (spread(scale), spread(shift));
        let change = |group: &mut [f32]| {
            for ((value, scale), shift) in group.iter_mut().zip(&scale).zip(&shift) {
                *value = *value * scale + shift;
            }
        };
        let (whole, rest) = values.as_chunks_mut::<LANES>();
        whole.iter_mut().for_each(|group| change(group));
        change(rest);
    } else {
        for pixel in values.chunks_exact_mut(channels) {
            for ((value, scale), shift) in pixel.iter_mut().zip(scale).zip(shift) {
                *value = *value * scale + shift;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919) % 256) as f32).collect()
    }

    #[test]
    fn means_and_variance_agree_with_plain_sums() {
        for count in [1, 23, 24, 25, 1728, 20 * RUN + 5] {
            let values = values(count);
            let n = count as f64;
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
            let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
            let (m, v) = mean_and_variance(&values);
            assert!((m - mean).abs() < 1e-4, "{count}: {m} {mean}");
            assert!((v - variance).abs() < 1e-6 * variance.max(1.0) * 10.0, "{count}");
        }
    }

    #[test]
    fn a_constant_image_has_no_variance_at_all() {
        assert_eq!(mean_and_variance(&[100.3; 1728]).1, 0.0);
        assert_eq!(mean_and_variance(&[]), (0.0, 0.0));
    }

    #[test]
    fn channels_are_told_apart_for_any_number_of_them() {
        for channels in [1, 2, 3, 4, 5, 7] {
            let values: Vec<f32> = values(channels * 50);
            let means = channel_means(&values, channels);
            let shift: Vec<f32> = means.iter().map(|mean| -2.0 * *mean as f32).collect();
            for (channel, mean) in means.iter().enumerate() {
                let of_channel = values.iter().skip(channel).step_by(channels);
                let expected = of_channel.map(|v| f64::from(*v)).sum::<f64>() / 50.0;
                assert!((mean - expected).abs() < 1e-4);
            }
            let mut centred = values;
            scale_and_shift(&mut centred, &vec![2.0; channels], &shift);
            for mean in channel_means(&centred, channels) {
                assert!(mean.abs() < 1e-3, "{channels} channels: {mean}");
            }
        }
    }
}
