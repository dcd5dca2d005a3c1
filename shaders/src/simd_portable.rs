//! Vectors for any processor: arrays, which compilers turn into what vectors the architecture
//! promises.

use crate::vector::Simd;
use crate::word::numbers;

/// Instructions that every processor of the architecture has.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    type Vector = [f32; 4];
    const LANES: usize = 4;
    const ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        [value; 4]
    }

    #[inline(always)]
    fn multiply_add(
        self,
        left: Self::Vector,
        right: Self::Vector,
        sum: Self::Vector,
    ) -> Self::Vector {
        std::array::from_fn(|i| {
            if cfg!(target_arch = "aarch64") {
                left[i].mul_add(right[i], sum[i])
            } else {
                // Without an instruction for it a fused one would be a function call.
                left[i] * right[i] + sum[i]
            }
        })
    }

    #[inline(always)]
    fn inverse_root(self, value: Self::Vector) -> Self::Vector {
        value.map(|value| 1.0 / value.sqrt())
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::Vector {
        // SAFETY: the caller promises 4 numbers; an array asks for no more than their alignment.
        unsafe { from.cast::<[f32; 4]>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, value: Self::Vector, to: *mut f32) {
        // SAFETY: as for `load`.
        unsafe { to.cast::<[f32; 4]>().write(value) }
    }
}

/// The same with words that are pairs.
#[derive(Clone, Copy)]
pub(crate) struct PortablePairs;

impl Simd for PortablePairs {
    type Vector = <Portable as Simd>::Vector;
    const LANES: usize = Portable::LANES;
    const ROWS: usize = Portable::ROWS;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        Portable.splat(value)
    }

    #[inline(always)]
    fn multiply_add(
        self,
        left: Self::Vector,
        right: Self::Vector,
        sum: Self::Vector,
    ) -> Self::Vector {
        Portable.multiply_add(left, right, sum)
    }

    #[inline(always)]
    fn add_products(
        self,
        left: Self::Vector,
        right: Self::Vector,
        sum: Self::Vector,
    ) -> Self::Vector {
        let halves = |half: usize, words: Self::Vector| words.map(|word| numbers(word)[half]);
        let sum = self.multiply_add(halves(0, left), halves(0, right), sum);
        self.multiply_add(halves(1, left), halves(1, right), sum)
    }

    #[inline(always)]
    fn inverse_root(self, value: Self::Vector) -> Self::Vector {
        Portable.inverse_root(value)
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::Vector {
        // SAFETY: the caller's promise.
        unsafe { Portable.load(from) }
    }

    #[inline(always)]
    unsafe fn store(self, value: Self::Vector, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { Portable.store(value, to) }
    }
}
