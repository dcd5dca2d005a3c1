//! A pair of bf16 in a word of 32 bits, which lies in memory as the f32 of its bits.

use compute::precision::bf16_bits;

/// Two numbers, rounded, in a word.
#[inline(always)]
pub(crate) fn word(first: f32, second: f32) -> f32 {
    f32::from_bits(bf16_bits(first) | bf16_bits(second) << 16)
}

/// The numbers of a word.
#[inline(always)]
pub(crate) fn numbers(word: f32) -> [f32; 2] {
    [f32::from_bits(word.to_bits() << 16), f32::from_bits(word.to_bits() & 0xFFFF_0000)]
}
