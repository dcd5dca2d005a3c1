//! Sigmoid linear units, one number at a time.

use compute::kernel::Case;

use crate::exp::exp;
use crate::form::lengths_per_image;

/// Cases of both kernels.
pub(crate) fn cases() -> Vec<Case> {
    let why = "WGSL's exp may miss by 3 units and 2 more for each 1 of its argument";
    lengths_per_image().into_iter().map(|case| case.loosened(2.0, why)).collect()
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// What comes out.
#[inline(always)]
pub(crate) fn value(x: f32) -> f32 {
    x * sigmoid(x)
}

/// Its derivative.
#[inline(always)]
pub(crate) fn slope(x: f32) -> f32 {
    let share = sigmoid(x);
    share * (1.0 + x * (1.0 - share))
}

/// [`value`], for the reference.
pub(crate) fn value_exactly(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// [`slope`], for the reference.
pub(crate) fn slope_exactly(x: f64) -> f64 {
    let share = 1.0 / (1.0 + (-x).exp());
    share + x * share * (1.0 - share)
}
