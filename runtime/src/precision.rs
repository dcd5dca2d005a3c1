//! The numbers that a model is computed in. Weights, their gradients, sums over images and the
//! update are f32 whatever the precision: these are the master weights that a checkpoint holds.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a model's images are computed in.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits everywhere.
    #[default]
    F32,
    /// Activations and their gradients are stored in 16 bits with 11 of significand; products are
    /// summed in f32. For GPUs with 16-bit shaders.
    F16,
    /// What convolutions and dense layers multiply is rounded to 16 bits with 8 of significand and
    /// the range of f32; sums and all that is stored are f32. For processors with AVX512-BF16.
    Bf16,
}

impl Precision {
    /// `f32`, `f16` or `bf16`, as it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names of precisions in a row.
pub fn list(precisions: &[Precision]) -> String {
    precisions.iter().map(|precision| precision.name()).collect::<Vec<_>>().join(", ")
}

/// The top 16 bits of an f32: the nearest bf16, ties to even. What is no number stays none.
///
/// Written without branches, so that loops over it become vector instructions.
#[inline(always)]
pub fn bf16_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
    // Rounding up may carry a NaN's digits into its sign.
    let quiet = bits >> 16 | 0x40;
    if bits & 0x7FFF_FFFF > 0x7F80_0000 { quiet } else { rounded }
}

/// The nearest bf16.
pub fn to_bf16(value: f32) -> f32 {
    f32::from_bits(bf16_bits(value) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_the_nearest_with_ties_to_even() {
        // Beside 1 the numbers are 1/128 apart.
        for (value, nearest) in [
            (1.0, 1.0),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 3.0 / 256.0, 1.0 + 2.0 / 128.0),
            (1.0 + 1.1 / 256.0, 1.0 + 1.0 / 128.0),
            (-1.0 - 1.1 / 256.0, -1.0 - 1.0 / 128.0),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
        ] {
            assert_eq!(to_bf16(value), nearest, "{value}");
        }
        assert_eq!(to_bf16(-0.0).to_bits(), (-0.0_f32).to_bits());
        for nan in [0x7FFF_FFFF, 0xFFFF_FFFF, 0x7F80_0001] {
            assert!(to_bf16(f32::from_bits(nan)).is_nan(), "{nan:x}");
        }
    }
}
