//! Vectors of x86 processors.

use std::arch::x86_64::{
    __m256, __m512, __m512bh, _mm256_div_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps,
    _mm256_sqrt_ps, _mm256_storeu_ps, _mm512_div_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_set1_ps, _mm512_sqrt_ps, _mm512_storeu_ps,
};
use std::mem::transmute;

use crate::vector::Simd;

/// One set of instructions. A value of it is the proof that the processor has them: it can be made
/// only where they are enabled.
macro_rules! instructions {
    ($name:ident, $features:literal, $vector:ident, $lanes:literal, $rows:literal, $splat:ident,
 $multiply_add:ident, $add_products:ident, $inverse_root:ident, $load:ident, $store:ident) => {
        #[doc = concat!("Vectors of ", $lanes, " numbers.")]
        #[derive(Clone, Copy)]
        pub(crate) struct $name(());

        impl $name {
            #[target_feature(enable = $features)]
            pub(crate) fn new() -> Self {
                Self(())
            }
        }

        impl Simd for $name {
            type Vector = $vector;
            const LANES: usize = $lanes;
            const ROWS: usize = $rows;

            #[inline(always)]
            fn splat(self, value: f32) -> $vector {
                // SAFETY: `self` proves that the processor has the instruction.
                unsafe { $splat(value) }
            }

            #[inline(always)]
            fn multiply_add(self, left: $vector, right: $vector, sum: $vector) -> $vector {
                // SAFETY: as above.
                unsafe { $multiply_add(left, right, sum) }
            }

            #[inline(always)]
            fn add_products(self, left: $vector, right: $vector, sum: $vector) -> $vector {
                // SAFETY: as above.
                unsafe { $add_products(left, right, sum) }
            }

            #[inline(always)]
            fn inverse_root(self, value: $vector) -> $vector {
                // SAFETY: as above.
                unsafe { $inverse_root(value) }
            }

            #[inline(always)]
            unsafe fn load(self, from: *const f32) -> $vector {
                // SAFETY: as above, and the caller promises the numbers; any alignment will do.
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn store(self, value: $vector, to: *mut f32) {
                // SAFETY: as for `load`.
                unsafe { $store(to, value) }
            }
        }
    };
}

// Of 16 registers 12 hold sums, of 32 it is 24; two more hold what all rows are multiplied by.
instructions!(
    Avx2,
    "avx2,fma",
    __m256,
    8,
    6,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_fmadd_ps,
    inverse_root_256,
    _mm256_loadu_ps,
    _mm256_storeu_ps
);
instructions!(
    Avx512,
    "avx512f",
    __m512,
    16,
    12,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_fmadd_ps,
    inverse_root_512,
    _mm512_loadu_ps,
    _mm512_storeu_ps
);
instructions!(
    Avx512Pairs,
    "avx512f,avx512bf16",
    __m512,
    16,
    12,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    add_products_of_pairs,
    inverse_root_512,
    _mm512_loadu_ps,
    _mm512_storeu_ps
);

/// Takes numbers that are too small to be normal for 0, whatever the processor's settings.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn add_products_of_pairs(left: __m512, right: __m512, sum: __m512) -> __m512 {
    // SAFETY: the same bits in vectors of the same size; any bits make a pair.
    let pairs = unsafe { transmute::<[__m512; 2], [__m512bh; 2]>([left, right]) };
    _mm512_dpbf16_ps(sum, pairs[0], pairs[1])
}

#[inline]
#[target_feature(enable = "avx2")]
fn inverse_root_256(value: __m256) -> __m256 {
    _mm256_div_ps(_mm256_set1_ps(1.0), _mm256_sqrt_ps(value))
}

/// Not by the processor's estimate of it, which each maker rounds in another way: the same
/// instructions give the same bits everywhere.
#[inline]
#[target_feature(enable = "avx512f")]
fn inverse_root_512(value: __m512) -> __m512 {
    _mm512_div_ps(_mm512_set1_ps(1.0), _mm512_sqrt_ps(value))
}
