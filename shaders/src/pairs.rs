//! Pairs of bf16 in words of 32 bits, which the processor multiplies and adds up in f32.
//!
//! A convolution over pairs of channels is a convolution with half the channels whose words hold
//! two numbers each: tiles, planes and panels are those of numbers. A word lies in memory as the
//! f32 of its bits, and is only moved, never computed with as that.

use compute::precision::bf16_bits;

use crate::simd::vectorized;

/// Two numbers, rounded, in a word.
#[inline(always)]
fn word(first: f32, second: f32) -> f32 {
    f32::from_bits(bf16_bits(first) | bf16_bits(second) << 16)
}

/// The numbers of a word.
#[inline(always)]
pub(crate) fn numbers(word: f32) -> [f32; 2] {
    [f32::from_bits(word.to_bits() << 16), f32::from_bits(word.to_bits() & 0xFFFF_0000)]
}

/// Words that hold so many numbers; the last may hold one beside 0.
pub(crate) fn words(numbers: usize) -> usize {
    numbers.div_ceil(2)
}

vectorized! {
    /// Puts neighbours in rows of `length` numbers together.
    pub(crate) fn pair_neighbours(from: &[f32], length: usize, to: &mut [f32]) {
        if length.is_multiple_of(2) {
            for (to, from) in to.iter_mut().zip(from.chunks_exact(2)) {
                *to = word(from[0], from[1]);
            }
            return;
        }
        for (to, from) in to.chunks_exact_mut(words(length)).zip(from.chunks_exact(length)) {
            for (to, from) in to.iter_mut().zip(from.chunks(2)) {
                *to = word(from[0], from.get(1).copied().unwrap_or(0.0));
            }
        }
    }

    /// Puts each number of a row of `length` together with the one below it in the next row. Rows
    /// of words are `stride` apart; what a row has beyond its length is left alone.
    pub(crate) fn pair_rows(from: &[f32], length: usize, stride: usize, to: &mut [f32]) {
        for (to, from) in to.chunks_exact_mut(stride).zip(from.chunks(2 * length)) {
            let (first, second) = from.split_at(length);
            if second.is_empty() {
                to.iter_mut().zip(first).for_each(|(to, first)| *to = word(*first, 0.0));
            } else {
                let numbers = first.iter().zip(second);
                to.iter_mut().zip(numbers).for_each(|(to, (a, b))| *to = word(*a, *b));
            }
        }
    }

    /// Puts each number together with the one `ahead` of it.
    pub(crate) fn pair_ahead(from: &[f32], ahead: usize, to: &mut [f32]) {
        let numbers = from.iter().zip(&from[ahead..]);
        to.iter_mut().zip(numbers).for_each(|(to, (a, b))| *to = word(*a, *b));
    }
}

#[cfg(test)]
mod tests {
    use compute::isa::Isa;

    use super::*;

    fn told(words: &[f32]) -> Vec<[f32; 2]> {
        words.iter().map(|word| numbers(*word)).collect()
    }

    #[test]
    fn numbers_meet_their_neighbours() {
        let from: Vec<f32> = (1..=6).map(|i| i as f32).collect();
        for isa in Isa::all() {
            let mut to = [0.0; 4];
            pair_neighbours(isa, &from, 3, &mut to);
            assert_eq!(told(&to), [[1.0, 2.0], [3.0, 0.0], [4.0, 5.0], [6.0, 0.0]]);
            pair_neighbours(isa, &from, 2, &mut to[..3]);
            assert_eq!(told(&to[..3]), [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
            let mut to = [7.0; 6];
            pair_rows(isa, &from, 2, 3, &mut to);
            assert_eq!(told(&to[..2]), [[1.0, 3.0], [2.0, 4.0]]);
            assert_eq!((to[2], to[5]), (7.0, 7.0));
            assert_eq!(told(&to[3..5]), [[5.0, 0.0], [6.0, 0.0]]);
            let mut to = [0.0; 4];
            pair_ahead(isa, &from, 2, &mut to);
            assert_eq!(told(&to), [[1.0, 3.0], [2.0, 4.0], [3.0, 5.0], [4.0, 6.0]]);
        }
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest() {
        let mut to = [0.0];
        pair_neighbours(Isa::best(), &[1.0 + 1.1 / 256.0, -3.0 - 1.0 / 128.0], 2, &mut to);
        assert_eq!(told(&to), [[1.0 + 1.0 / 128.0, -3.0]]);
    }
}
