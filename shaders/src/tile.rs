//! The inner loop of convolutions: a tile of sums that stays in registers.

use crate::simd::{MOST_LANES, Simd};

/// Something to do with a tile of `R` rows of `V` vectors, at most [`Simd::ROWS`] and 2.
pub(crate) trait Tile {
    /// Does it. Must be `#[inline(always)]`.
    ///
    /// # Safety
    /// As for what makes the tile.
    unsafe fn run<S: Simd, const R: usize, const V: usize>(&self, simd: S);
}

/// Does it with a tile of this many rows and vectors.
///
/// # Safety
/// That of the tile.
#[inline(always)]
pub(crate) unsafe fn with_size<S: Simd>(simd: S, rows: usize, vectors: usize, tile: &impl Tile) {
    debug_assert!(rows <= S::ROWS && vectors <= 2);
    macro_rules! choose {
        ($($rows:literal)*) => {
            match (rows, vectors) {
                $(
                    // What the registers cannot hold is not compiled: constants decide.
                    // SAFETY: the caller's promise.
                    ($rows, 1) if const { $rows <= S::ROWS } => unsafe {
                        tile.run::<S, $rows, 1>(simd)
                    },
                    // SAFETY: the caller's promise.
                    ($rows, _) if const { $rows <= S::ROWS } => unsafe {
                        tile.run::<S, $rows, 2>(simd)
                    },
                )*
                _ => {}
            }
        };
    }
    choose!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// The words at hand are numbers or [pairs](crate::pairs) of them:
/// `sums[r][v] += left[s * left_stride + r] * right[s * right_stride + v]` over the steps `s`, with
/// `v` counted in vectors.
///
/// # Safety
/// `R` numbers from each step's `left`, and `V` vectors from each step's `right`, can be read.
#[inline(always)]
pub(crate) unsafe fn accumulate<S: Simd, const R: usize, const V: usize>(
    simd: S,
    sums: &mut [[S::Vector; V]; R],
    (left, left_stride): (*const f32, usize),
    right: (*const f32, usize),
    steps: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { accumulate_rows(simd, sums, (left, left_stride, 1), right, steps) };
}

/// The same for rows that are no neighbours:
/// `sums[r][v] += left[s * left_stride + r * row_stride] * right[s * right_stride + v]`.
///
/// # Safety
/// The numbers on the left, and `V` vectors from each step's `right`, can be read.
#[inline(always)]
pub(crate) unsafe fn accumulate_rows<S: Simd, const R: usize, const V: usize>(
    simd: S,
    sums: &mut [[S::Vector; V]; R],
    (left, left_stride, row_stride): (*const f32, usize, usize),
    (right, right_stride): (*const f32, usize),
    steps: usize,
) {
    for step in 0..steps {
        // SAFETY: the caller's promise.
        unsafe {
            let left = left.add(step * left_stride);
            let right = right.add(step * right_stride);
            let mut factors = [simd.splat(0.0); V];
            for (v, factor) in factors.iter_mut().enumerate() {
                *factor = simd.load(right.add(v * S::LANES));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let number = simd.splat(left.add(r * row_stride).read());
                for (sum, factor) in sums.iter_mut().zip(factors) {
                    *sum = simd.add_products(number, factor, *sum);
                }
            }
        }
    }
}

/// A tile of numbers in memory.
#[derive(Clone, Copy)]
pub(crate) struct Numbers {
    /// The first number of the first row.
    pub(crate) first: *mut f32,
    /// From a row to the next.
    pub(crate) stride: usize,
    /// The numbers of a row: the last vector may be cut off.
    pub(crate) width: usize,
}

/// The most numbers in a row of a tile.
const MOST_WIDTH: usize = 2 * MOST_LANES;

impl Numbers {
    /// The numbers in vectors, with anything beyond the width.
    ///
    /// # Safety
    /// They can be read.
    #[inline(always)]
    pub(crate) unsafe fn load<S: Simd, const R: usize, const V: usize>(
        self,
        simd: S,
    ) -> [[S::Vector; V]; R] {
        let mut rows = [[0.0; MOST_WIDTH]; R];
        let (first, stride) = if self.width == V * S::LANES {
            (self.first.cast_const(), self.stride)
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.read(&mut rows) };
            (rows.as_ptr().cast(), MOST_WIDTH)
        };
        let mut vectors = [[simd.splat(0.0); V]; R];
        for (r, row) in vectors.iter_mut().enumerate() {
            for (v, vector) in row.iter_mut().enumerate() {
                // SAFETY: whole vectors, there or here.
                *vector = unsafe { simd.load(first.add(r * stride + v * S::LANES)) };
            }
        }
        vectors
    }

    /// Writes vectors, as far as the width goes.
    ///
    /// # Safety
    /// The numbers can be written.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd, const R: usize, const V: usize>(
        self,
        simd: S,
        vectors: [[S::Vector; V]; R],
    ) {
        let mut rows = [[0.0; MOST_WIDTH]; R];
        let is_whole = self.width == V * S::LANES;
        let (first, stride) = if is_whole {
            (self.first, self.stride)
        } else {
            (rows.as_mut_ptr().cast(), MOST_WIDTH)
        };
        for (r, row) in vectors.iter().enumerate() {
            for (v, vector) in row.iter().enumerate() {
                // SAFETY: whole vectors, there or here.
                unsafe { simd.store(*vector, first.add(r * stride + v * S::LANES)) };
            }
        }
        if !is_whole {
            // SAFETY: the caller's promise.
            unsafe { self.write(&rows) };
        }
    }

    /// # Safety
    /// As for [`Numbers::load`].
    #[inline(never)]
    unsafe fn read(self, rows: &mut [[f32; MOST_WIDTH]]) {
        for (r, row) in rows.iter_mut().enumerate() {
            // SAFETY: the caller's promise; the width is no more than a row has.
            unsafe {
                let from = self.first.add(r * self.stride);
                row.as_mut_ptr().copy_from_nonoverlapping(from, self.width.min(MOST_WIDTH));
            }
        }
    }

    /// # Safety
    /// As for [`Numbers::store`].
    #[inline(never)]
    unsafe fn write(self, rows: &[[f32; MOST_WIDTH]]) {
        for (r, row) in rows.iter().enumerate() {
            // SAFETY: the caller's promise; the width is no more than a row has.
            unsafe {
                let to = self.first.add(r * self.stride);
                to.copy_from_nonoverlapping(row.as_ptr(), self.width.min(MOST_WIDTH));
            }
        }
    }
}

/// Cuts a length into the fewest equal parts of at most so many, and gives where each begins and
/// ends.
pub(crate) fn cut(length: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = length.div_ceil(most);
    (0..parts).map(move |part| (part * length / parts, (part + 1) * length / parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_length_and_differ_by_one_at_most() {
        for (length, most) in [(0, 3), (1, 12), (12, 12), (13, 12), (320, 12), (7, 1)] {
            let parts: Vec<_> = cut(length, most).collect();
            let mut end = 0;
            for (from, to) in &parts {
                assert_eq!(*from, end);
                assert!((1..=most).contains(&(to - from)));
                end = *to;
            }
            assert_eq!(end, length);
            assert_eq!(parts.len(), length.div_ceil(most));
        }
    }
}
