//! What is other on a `wgpu` adapter in f16: what there is per image is stored in 16 bits, and its
//! gradients are scaled so that they are not too small for that. Nothing outside the adapter sees
//! either: what is written is converted, and what is read is converted back.

use std::borrow::Cow;

use super::Lowering;
use crate::graph::{Role, Tensor};
use crate::kernel::{Dtype, Extent};
use crate::precision::{Precision, f16_bits, from_f16_bits};

/// The line of a kernel that says what it stores per image.
const ELEMENT: &str = "alias Element = f32;";

/// The same in 16 bits.
const HALF: &str = "alias Element = f16;";

/// What a text with 16-bit numbers begins with, before any declaration.
const ENABLE: &str = "enable f16;\n";

/// A kernel's text in this precision.
pub fn text(wgsl: &str, precision: Precision) -> Cow<'_, str> {
    match precision {
        Precision::F16 if wgsl.contains(ELEMENT) => {
            (ENABLE.to_owned() + &wgsl.replacen(ELEMENT, HALF, 1)).into()
        }
        _ => wgsl.into(),
    }
}

/// How a tensor is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Storage {
    /// 4 bytes each, as they are.
    Whole,
    /// 2 bytes each, this many times what they are.
    Half(f32),
}

impl Storage {
    pub(super) fn of(tensor: &Tensor, how: &Lowering) -> Self {
        let is_half = how.precision == Precision::F16
            && tensor.dtype == Dtype::Real
            && tensor.extent == Extent::PerImage;
        match tensor.role {
            Role::ActivationGradient if is_half => Self::Half(how.loss_scale),
            _ if is_half => Self::Half(1.0),
            _ => Self::Whole,
        }
    }

    /// The bytes of so many numbers, in whole words, as buffers are copied.
    pub(super) fn bytes(self, len: usize) -> usize {
        match self {
            Self::Whole => 4 * len,
            Self::Half(_) => (2 * len).next_multiple_of(4),
        }
    }
}

/// Puts numbers into the words that a buffer takes, `scale` times as large; an odd one out is
/// beside a 0.
pub(super) fn pack(values: &[f32], scale: f32, words: &mut Vec<u32>) {
    words.clear();
    let bits = |value: &f32| u32::from(f16_bits(scale * value));
    let pairs = values.chunks(2);
    words.extend(pairs.map(|pair| bits(&pair[0]) | pair.get(1).map_or(0, bits) << 16));
}

/// The first `len` numbers in these bytes of a buffer.
pub(super) fn unpack(bytes: &[u8], scale: f32, len: usize) -> Vec<f32> {
    let numbers = bytes.chunks_exact(2).take(len);
    numbers.map(|half| from_f16_bits(u16::from_le_bytes([half[0], half[1]])) / scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_enables_what_it_uses_before_it_declares_anything() {
        let wgsl = "struct Step { images: u32 }\nalias Element = f32;\n";
        assert_eq!(text(wgsl, Precision::F32), wgsl);
        let half = "enable f16;\nstruct Step { images: u32 }\nalias Element = f16;\n";
        assert_eq!(text(wgsl, Precision::F16), half);
        // Weights and sums over images alone have 32 bits.
        assert_eq!(
            text("struct Step { images: u32 }", Precision::F16),
            "struct Step { images: u32 }"
        );
    }

    #[test]
    fn numbers_come_back_from_words() {
        let mut words = Vec::new();
        for values in [&[1.5, -0.25, 3.0][..], &[2.0, 0.0], &[]] {
            pack(values, 1024.0, &mut words);
            assert_eq!(4 * words.len(), Storage::Half(1024.0).bytes(values.len()));
            assert_eq!(unpack(bytemuck::cast_slice(&words), 1024.0, values.len()), values);
        }
    }
}
