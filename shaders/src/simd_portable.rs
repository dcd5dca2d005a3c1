//! Vectors for any processor: arrays, which compilers turn into what vectors the architecture
//! promises.

use crate::simd::Simd;

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
