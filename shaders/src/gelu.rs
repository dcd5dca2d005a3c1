//! Gaussian error linear units, one number at a time.

use compute::kernel::Case;

use crate::exp::exp;
use crate::form::lengths_per_image;

/// Cases of both kernels.
pub(crate) fn cases() -> Vec<Case> {
    let why = "WGSL's exp may miss by 3 units and 2 more for each 1 of its argument";
    lengths_per_image().into_iter().map(|case| case.loosened(4.0, why)).collect()
}

/// `erfc(z)` for `z` from 0 on is `t * e^(series of t - z^2)` with `t = 1 / (1 + z / 2)`: to a share of
/// 1.2e-7 (Press et al., "Numerical Recipes", `erfcc`). The highest power first; WGSL has the same.
const SERIES: [f32; 10] = [
    0.170_872_77,
    -0.822_152_23,
    1.488_515_9,
    -1.135_204,
    0.278_868_07,
    -0.186_288_06,
    0.096_784_18,
    0.374_091_96,
    1.000_023_7,
    -1.265_512_2,
];

/// The share of normal numbers below this one.
#[inline(always)]
fn share_below(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * z);
    let series = SERIES.into_iter().fold(0.0, |sum, c| sum * t + c);
    let beyond = 0.5 * t * exp(series - z * z);
    if x < 0.0 { beyond } else { 1.0 - beyond }
}

/// What comes out.
#[inline(always)]
pub(crate) fn value(x: f32) -> f32 {
    x * share_below(x)
}

/// Its derivative.
#[inline(always)]
pub(crate) fn slope(x: f32) -> f32 {
    /// `1 / sqrt(2 pi)`.
    const HEIGHT: f32 = 0.398_942_3;
    share_below(x) + x * HEIGHT * exp(-0.5 * x * x)
}

/// The share of normal numbers below this one, by a series of which all terms have the same sign:
/// `x + x^3 / 3 + x^5 / (3 * 5) + ..` (Abramowitz and Stegun, 26.2.11).
fn share_below_exactly(x: f64) -> f64 {
    // Beyond, what is missing is less than f64 can add to 1.
    if x.abs() > 9.0 {
        return if x < 0.0 { 0.0 } else { 1.0 };
    }
    let (mut term, mut sum) = (x, 0.0);
    for odd in (3..400).step_by(2) {
        sum += term;
        term *= x * x / f64::from(odd);
    }
    0.5 + sum * density(x)
}

fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

/// [`value`], for the reference.
pub(crate) fn value_exactly(x: f64) -> f64 {
    x * share_below_exactly(x)
}

/// [`slope`], for the reference.
pub(crate) fn slope_exactly(x: f64) -> f64 {
    share_below_exactly(x) + x * density(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_tables() {
        for (x, share) in
            [(0.0, 0.5), (1.0, 0.841_344_746), (-2.0, 0.022_750_132), (3.5, 0.999_767_371)]
        {
            assert!((share_below_exactly(x) - share).abs() < 1e-9, "{x}");
            assert!((f64::from(share_below(x as f32)) / share - 1.0).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn far_from_0_it_is_flat_or_the_number_itself() {
        for (x, expected) in [(50.0, 50.0), (-50.0, 0.0)] {
            assert!((f64::from(value(x)) - expected).abs() < 1e-30);
            assert!((value_exactly(f64::from(x)) - expected).abs() < 1e-9);
        }
        assert!(value(f32::NAN).is_nan() && value(f32::INFINITY) == f32::INFINITY);
    }
}
