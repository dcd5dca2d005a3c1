//! Vectors of `f32` in the instructions that the processor has, for the `cpu` forms.
//!
//! A form is written once and compiled for each set of instructions. Loops over slices become vector
//! instructions by themselves, see [`vectorized`]; what has to stay in registers names vectors, over
//! [`Simd`].

use compute::isa::{Isa, Level};

use crate::simd_portable::{Portable, PortablePairs};
#[cfg(target_arch = "x86_64")]
use crate::simd_x86::{Avx2, Avx512, Avx512Pairs};

/// A set of vector instructions. All methods are inlined into code compiled for them.
pub(crate) trait Simd: Copy {
    /// A vector register.
    type Vector: Copy;
    /// Numbers in a vector.
    const LANES: usize;
    /// Rows of a tile two vectors wide that the registers hold, beside what is multiplied.
    const ROWS: usize;

    /// A vector of equal numbers.
    fn splat(self, value: f32) -> Self::Vector;
    /// `left * right + sum`.
    fn multiply_add(
        self,
        left: Self::Vector,
        right: Self::Vector,
        sum: Self::Vector,
    ) -> Self::Vector;

    /// `sum` plus the products of what the lanes hold: of numbers, or of [pairs](crate::pairs).
    fn add_products(
        self,
        left: Self::Vector,
        right: Self::Vector,
        sum: Self::Vector,
    ) -> Self::Vector {
        self.multiply_add(left, right, sum)
    }

    /// `1 / sqrt(value)` for finite numbers above 0, to a few units in the last place.
    fn inverse_root(self, value: Self::Vector) -> Self::Vector;

    /// The numbers from here on.
    ///
    /// # Safety
    /// [`Simd::LANES`] numbers can be read.
    unsafe fn load(self, from: *const f32) -> Self::Vector;

    /// Writes the numbers from here on.
    ///
    /// # Safety
    /// [`Simd::LANES`] numbers can be written.
    unsafe fn store(self, value: Self::Vector, to: *mut f32);
}

/// Numbers that lie in registers, whatever their vectors.
pub(crate) type Strip = [f32; MOST_LANES];

/// The longest vectors that there are.
pub(crate) const MOST_LANES: usize = 16;

/// `1 / sqrt(value)` of each number, see [`Simd::inverse_root`].
#[inline(always)]
pub(crate) fn inverse_roots<S: Simd>(simd: S, mut strip: Strip) -> Strip {
    for vector in strip.chunks_exact_mut(S::LANES) {
        // SAFETY: the chunk is as long as a vector.
        unsafe {
            let value = simd.load(vector.as_ptr());
            simd.store(simd.inverse_root(value), vector.as_mut_ptr());
        }
    }
    strip
}

/// Work that is compiled for each set of instructions. Its `run` must be `#[inline(always)]`, and
/// so must everything that names vectors.
pub(crate) trait Vectorized {
    /// Does it.
    fn run<S: Simd>(self, simd: S);
}

/// Does work with these instructions.
pub(crate) fn run(isa: Isa, work: impl Vectorized) {
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` is only given out where the processor has the instructions.
        Level::Avx512 => unsafe { avx512(work) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { avx2(work) },
        _ => work.run(Portable),
    }
}

/// Does work whose words are [pairs](crate::pairs) with these instructions.
pub(crate) fn run_pairs(isa: Isa, work: impl Vectorized) {
    match isa.multiplies_bf16() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the instructions.
        true => unsafe { avx512_pairs(work) },
        _ => work.run(PortablePairs),
    }
}

/// Words in a vector of pairs.
pub(crate) fn lanes_of_pairs(isa: Isa) -> usize {
    match isa.multiplies_bf16() {
        #[cfg(target_arch = "x86_64")]
        true => Avx512Pairs::LANES,
        _ => PortablePairs::LANES,
    }
}

/// Numbers in a vector.
pub(crate) fn lanes(isa: Isa) -> usize {
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => Avx512::LANES,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => Avx2::LANES,
        _ => Portable::LANES,
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn avx512(work: impl Vectorized) {
    work.run(Avx512::new());
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16,avx2,fma")]
fn avx512_pairs(work: impl Vectorized) {
    work.run(Avx512Pairs::new());
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(work: impl Vectorized) {
    work.run(Avx2::new());
}

/// Defines functions whose loops are compiled for each set of instructions; they get the one to use
/// as their first argument.
macro_rules! vectorized {
    ($($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $body:block)+) => {$(
        $(#[$doc])*
        $visibility fn $name(isa: compute::isa::Isa, $($argument: $kind),*) {
            #[inline(always)]
            fn portable($($argument: $kind),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            fn avx512($($argument: $kind),*) {
                portable($($argument),*);
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $kind),*) {
                portable($($argument),*);
            }

            match isa.level() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: an `Isa` is only given out where the processor has the instructions.
                compute::isa::Level::Avx512 => unsafe { avx512($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                compute::isa::Level::Avx2 => unsafe { avx2($($argument),*) },
                _ => portable($($argument),*),
            }
        }
    )+};
}

pub(crate) use vectorized;

#[cfg(test)]
mod tests {
    use super::*;

    struct Lines<'a> {
        left: &'a [f32],
        out: &'a mut Vec<f32>,
    }

    impl Vectorized for Lines<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            self.out.resize(self.left.len(), 0.0);
            let chunks = self.left.chunks_exact(S::LANES);
            for (left, out) in chunks.zip(self.out.chunks_exact_mut(S::LANES)) {
                // SAFETY: both chunks hold LANES numbers.
                unsafe {
                    let value = simd.load(left.as_ptr());
                    let value = simd.multiply_add(value, simd.splat(2.0), simd.splat(1.0));
                    simd.store(value, out.as_mut_ptr());
                }
            }
        }
    }

    struct Roots<'a>(Strip, &'a mut Strip);

    impl Vectorized for Roots<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            *self.1 = inverse_roots(simd, self.0);
        }
    }

    #[test]
    fn inverse_roots_are_exact_to_a_few_units() {
        let values: Strip = std::array::from_fn(|i| 1e-6 * 7.3_f32.powi(i as i32));
        for isa in Isa::all() {
            let mut roots = [0.0; MOST_LANES];
            run(isa, Roots(values, &mut roots));
            for (value, root) in values.iter().zip(roots) {
                let exact = 1.0 / f64::from(*value).sqrt();
                assert!((f64::from(root) / exact - 1.0).abs() < 3e-7, "{}: {value}", isa.name());
            }
        }
    }

    #[test]
    fn every_set_of_instructions_computes_the_same() {
        let left: Vec<f32> = (0..32).map(|i| i as f32).collect();
        let expected: Vec<f32> = left.iter().map(|x| 2.0 * x + 1.0).collect();
        for isa in Isa::all() {
            let mut out = Vec::new();
            run(isa, Lines { left: &left, out: &mut out });
            assert_eq!(out, expected, "{}", isa.name());
        }
    }
}
