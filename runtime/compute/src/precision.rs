//! The numbers that a model is computed in. Weights, their gradients, sums over images and the
//! update are f32 whatever the precision: these are the master weights that a checkpoint holds.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The relative error allowed for a single rounding, a little above that of f32.
pub(crate) const ROUNDING: f64 = 1e-6;

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

    /// The largest relative error of rounding to it.
    pub fn roundoff(self) -> f64 {
        match self {
            Self::F32 => 1.0 / f64::from(1 << 24),
            Self::F16 => 1.0 / 2048.0,
            Self::Bf16 => 1.0 / 256.0,
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

/// The nearest f16, ties to even, in its 16 bits: infinite from 65,520 on. What is no number stays
/// none.
pub fn f16_bits(value: f32) -> u16 {
    let sign = (value.to_bits() >> 16) as u16 & 0x8000;
    if value.is_nan() {
        return sign | 0x7E00;
    }
    let magnitude = value.abs();
    // The last digit of 2^13 times a power of two is that of an f16 as large as the power, so that
    // adding it rounds as f16 does. All that is not normal has the digits of the smallest that is.
    let power = f32::from_bits(magnitude.to_bits() & 0x7F80_0000).max(SMALLEST_NORMAL);
    let rounded = (magnitude + 8192.0 * power) - 8192.0 * power;
    let bits = if magnitude >= 65_520.0 {
        0x7C00
    } else if rounded < SMALLEST_NORMAL {
        (rounded / SMALLEST) as u16
    } else {
        // 8 digits of exponent become 5: its middle moves from 127 to 15.
        ((rounded.to_bits() - (112 << 23)) >> 13) as u16
    };
    sign | bits
}

/// The number that an f16 of these bits is.
pub fn from_f16_bits(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7FFF);
    let value = match magnitude {
        0..0x0400 => magnitude as f32 * SMALLEST,
        0x0400..0x7C00 => f32::from_bits((magnitude << 13) + (112 << 23)),
        0x7C00 => f32::INFINITY,
        _ => f32::NAN,
    };
    if bits & 0x8000 == 0 { value } else { -value }
}

/// The smallest f16 with all its digits.
const SMALLEST_NORMAL: f32 = 1.0 / 16_384.0;

/// The smallest f16 above 0.
const SMALLEST: f32 = 1.0 / 16_777_216.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_and_back_is_the_same() {
        for bits in 0..=u16::MAX {
            let value = from_f16_bits(bits);
            if value.is_nan() {
                assert!(from_f16_bits(f16_bits(value)).is_nan());
            } else {
                assert_eq!(f16_bits(value), bits, "{value}");
            }
        }
    }

    #[test]
    fn f16_is_the_nearest_with_ties_to_even() {
        for below in (0..0x7BFF).chain([0x7BFE]) {
            let (low, high) = (from_f16_bits(below), from_f16_bits(below + 1));
            let middle = (low + high) / 2.0;
            let even = below + (below & 1);
            for (value, nearest) in [
                (f32::from_bits(middle.to_bits() - 1), below),
                (middle, even),
                (f32::from_bits(middle.to_bits() + 1), below + 1),
            ] {
                assert_eq!(f16_bits(value), nearest, "{value}");
                assert_eq!(f16_bits(-value), nearest | 0x8000, "-{value}");
            }
        }
        for (value, bits) in [
            (65_519.996, 0x7BFF),
            (65_520.0, 0x7C00),
            (f32::MAX, 0x7C00),
            (f32::INFINITY, 0x7C00),
            (f32::MIN_POSITIVE, 0),
            (f32::from_bits(1), 0),
        ] {
            assert_eq!(f16_bits(value), bits, "{value}");
        }
    }

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
