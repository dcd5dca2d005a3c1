//! Vectors of numbers that stay in registers.

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
