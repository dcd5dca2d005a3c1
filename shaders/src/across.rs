//! Tiles whose lanes are what other tiles have rows of, for channels that fill no vector.
//!
//! A tile with [channels in its lanes](crate::tile) wastes the lanes that the last vector of
//! channels leaves empty: with 17 channels nearly half of them. Those channels are taken two by two
//! instead, and what would be the rows of a tile is laid across the lanes.

use crate::simd::{MOST_LANES, Simd};

/// Sums that a tile needs at least: the processor starts two additions while the last is under way
/// for four cycles.
const FEWEST_SUMS: usize = 8;

/// How many of the last channels are better taken two by two, with `runs` rows of `length` across
/// the lanes: those that fill no vector, if that takes a third fewer products of vectors, which
/// makes up for the numbers being written one by one, and if there are enough to fill a tile.
pub(crate) fn channels_across(
    channels: usize,
    (runs, length): (usize, usize),
    lanes: usize,
) -> usize {
    let rest = channels % lanes;
    let vectors = runs * length.div_ceil(lanes);
    let is_cheaper = 3 * rest * vectors <= 2 * runs * length;
    if is_cheaper && vectors * rest.min(2) >= FEWEST_SUMS { rest } else { 0 }
}

/// The words at hand are numbers or [pairs](crate::pairs) of them:
/// `sums[r][v] += left[r][s * left_stride] * right[s * right_stride + v]` over the steps `s`, where
/// the left factor is a vector and the right one a number.
///
/// # Safety
/// A vector from each step's `left`, and `V` numbers from each step's `right`, can be read.
#[inline(always)]
pub(crate) unsafe fn accumulate_across<S: Simd, const R: usize, const V: usize>(
    simd: S,
    sums: &mut [[S::Vector; V]; R],
    (left, left_stride): ([*const f32; R], usize),
    (right, right_stride): (*const f32, usize),
    steps: usize,
) {
    for step in 0..steps {
        // SAFETY: the caller's promise.
        unsafe {
            let right = right.add(step * right_stride);
            let mut factors = [simd.splat(0.0); V];
            for (v, factor) in factors.iter_mut().enumerate() {
                *factor = simd.splat(right.add(v).read());
            }
            for (sums, left) in sums.iter_mut().zip(left) {
                let vector = simd.load(left.add(step * left_stride));
                for (sum, factor) in sums.iter_mut().zip(factors) {
                    *sum = simd.add_products(factor, vector, *sum);
                }
            }
        }
    }
}

/// A vector's numbers in memory, `stride` apart; what they lie in has `V` of them side by side.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    /// The first number.
    pub(crate) first: *mut f32,
    /// From a number to the next.
    pub(crate) stride: usize,
    /// How many there are: the last lanes may be cut off.
    pub(crate) length: usize,
}

impl Column {
    /// The numbers in vectors, with 0 beyond the length.
    ///
    /// # Safety
    /// They can be read.
    #[inline(always)]
    pub(crate) unsafe fn load<S: Simd, const V: usize>(self, simd: S) -> [S::Vector; V] {
        let mut vectors = [simd.splat(0.0); V];
        for (v, vector) in vectors.iter_mut().enumerate() {
            let mut lanes = [0.0; MOST_LANES];
            for (lane, number) in lanes[..S::LANES].iter_mut().take(self.length).enumerate() {
                // SAFETY: the caller's promise.
                *number = unsafe { self.first.add(lane * self.stride + v).read() };
            }
            // SAFETY: the array holds the longest vector.
            *vector = unsafe { simd.load(lanes.as_ptr()) };
        }
        vectors
    }

    /// Writes vectors, as far as the length goes.
    ///
    /// # Safety
    /// The numbers can be written.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd, const V: usize>(self, simd: S, vectors: [S::Vector; V]) {
        for (v, vector) in vectors.into_iter().enumerate() {
            let mut lanes = [0.0; MOST_LANES];
            // SAFETY: the array holds the longest vector.
            unsafe { simd.store(vector, lanes.as_mut_ptr()) };
            for (lane, number) in lanes[..S::LANES].iter().take(self.length).enumerate() {
                // SAFETY: the caller's promise.
                unsafe { self.first.add(lane * self.stride + v).write(*number) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use compute::isa::Isa;

    use super::*;
    use crate::simd::{self, Vectorized};

    #[test]
    fn channels_lie_across_where_that_saves_vectors() {
        assert_eq!(channels_across(17, (32, 32), 16), 1);
        assert_eq!(channels_across(3, (32, 32), 16), 3);
        assert_eq!(channels_across(70, (15, 15), 16), 6);
        // Nearly as many vectors of positions as the one of channels takes, or more.
        assert_eq!(channels_across(70, (7, 7), 16), 0);
        assert_eq!(channels_across(15, (17, 17), 16), 0);
        // Nothing is left.
        assert_eq!(channels_across(64, (24, 24), 16), 0);
        // One vector, or two, would wait for themselves.
        assert_eq!(channels_across(3, (1, 9), 16), 0);
        assert_eq!(channels_across(70, (1, 51), 16), 6);
        assert_eq!(channels_across(17, (1, 51), 16), 0);
    }

    /// Two columns of 3 numbers each in rows of 4.
    struct Columns<'a>(&'a mut [f32; 12]);

    impl Vectorized for Columns<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let left: [f32; 2 * MOST_LANES] = std::array::from_fn(|i| (i % MOST_LANES) as f32);
            let right = [2.0, 3.0, 20.0, 30.0];
            let column = Column { first: self.0.as_mut_ptr(), stride: 4, length: 3 };
            // SAFETY: both steps have a vector and two numbers; the columns lie in the numbers.
            unsafe {
                let mut sums: [[S::Vector; 2]; 1] = [column.load(simd)];
                let left = ([left.as_ptr()], MOST_LANES);
                accumulate_across(simd, &mut sums, left, (right.as_ptr(), 2), 2);
                column.store(simd, sums[0]);
            }
        }
    }

    #[test]
    fn columns_take_their_sums_and_nothing_beside_them() {
        for isa in Isa::all() {
            let mut numbers = [1.0; 12];
            simd::run(isa, Columns(&mut numbers));
            let expected = [1.0, 1.0, 1.0, 1.0, 23.0, 34.0, 1.0, 1.0, 45.0, 67.0, 1.0, 1.0];
            assert_eq!(numbers, expected, "{}", isa.name());
        }
    }
}
